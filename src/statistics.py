"""Estimates from runs: pure functions of numbers.

Flow: results → **statistics** → report.
"""


def trained(accuracy: float, classes: int) -> bool:
    """Whether a network learnt anything: it closed a tenth of the gap between chance and perfection.

    >>> trained(0.10, classes=10), trained(0.60, classes=10)
    (False, True)
    """
    chance = 1 / classes
    return accuracy > chance + 0.1 * (1 - chance)
