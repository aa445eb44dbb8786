"""Do two sweeps of the same runs find the same? A stacked one and a plain one should, up to rounding and luck.

Per activation (and depth, where several were run): mean test accuracy of each sweep, the difference's paired test over
seeds, Holm-corrected, and the difference in standard errors √(s₁²/n + s₂²/n). Exit code 1 if any p ≤ 0.05, any
difference exceeds 3 standard errors, or a run is missing from one of the sweeps.

    python bench/equal.py outputs/plain outputs/stacked [--quantity test_accuracy]

The full comparison: `python -m src.train +sweeps=main hydra/launcher=basic hydra.sweep.dir=outputs/plain`, the same
with `hydra/launcher=sweep hydra.sweep.dir=outputs/stacked`, then the line above.
"""

import argparse
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean, stdev

from actsweep.report import writing
from actsweep.statistics.inference import compare, holm

LEVEL, MOST_ERRORS = 0.05, 3.0
Values = dict[str, dict[int, float]]  # setting → seed → value


def values_of(folder: Path, quantity: str) -> Values:
    found: Values = {}
    for run in writing.read_runs([folder]):
        if run.get(quantity) is not None:
            found.setdefault(f"{run['act']}, depth {run['depth']}", {})[run["seed"]] = run[quantity]
    return found


def in_errors(first: Mapping[int, float], second: Mapping[int, float]) -> float:
    """The difference of two means in standard errors; 0 where both are the same, whatever their spread."""
    difference = fmean(first.values()) - fmean(second.values())
    if difference == 0:
        return 0.0
    error = math.sqrt(sum(stdev(group.values()) ** 2 / len(group) for group in (first, second) if len(group) > 1))
    return difference / error if error else math.inf


def check(plain: Values, stacked: Values) -> tuple[list[str], bool]:
    """The table's lines, and whether nothing distinguishes the sweeps."""
    same_runs = {name: set(of) for name, of in plain.items()} == {name: set(of) for name, of in stacked.items()}
    names = sorted(plain.keys() & stacked.keys())
    p_values = holm([compare(plain[name], stacked[name]).p_value for name in names])
    lines = ["| setting | runs | plain | stacked | difference | in standard errors | p (Holm) |", "|---" * 7 + "|"]
    fine = same_runs and bool(names)
    for name, p in zip(names, p_values, strict=True):
        one, other = fmean(plain[name].values()), fmean(stacked[name].values())
        errors = in_errors(stacked[name], plain[name])
        numbers = f"{one:.4f} | {other:.4f} | {other - one:+.4f} | {errors:+.2f} | {p:.3f}"
        lines.append(f"| {name} | {len(plain[name])} | {numbers} |")
        fine = fine and not p <= LEVEL and abs(errors) <= MOST_ERRORS
    if not same_runs:
        lines.append("the sweeps don't hold the same settings and seeds")
    return lines, fine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plain", type=Path)
    parser.add_argument("stacked", type=Path)
    parser.add_argument("--quantity", default="test_accuracy")
    arguments = parser.parse_args()
    lines, fine = check(*(values_of(folder, arguments.quantity) for folder in (arguments.plain, arguments.stacked)))
    print("\n".join([*lines, "equal" if fine else "NOT equal"]))
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
