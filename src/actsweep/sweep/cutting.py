"""A grid is cut: which runs train as a stack, how large the stacks are, how many processes share the work.

Flow: config → launcher → **cutting** → units → an executor → training.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from actsweep.config.schema import Settings
from actsweep.sweep.limits import Limits
from actsweep.sweep.units import pieces
from actsweep.threads import all_threads, forkable
from actsweep.training.stack import grouping
from actsweep.training.stack.grouping import Shape

Begun = Sequence[tuple[torch.device, float]]  # stacks that are there already: where each trains, for about how long
FORK_SECONDS, SPAWN_SECONDS = 1.0, 10.0  # processes that save less are not started; a fork takes 0.04 s of a core
# Stacks for each process, so that none waits for another, if that makes them so much longer. Measured, three stacks for
# one: default network 1.04 times, as reckoned; 2 × 32 units on digits 1.34, reckoned 1.21.
FINER, CUTTING = 3, 1.05


class ToCut(NamedTuple):
    """One of the runs that are cut into units. `done`: epochs, None where only its test may be missing."""

    settings: Settings
    done: int | None = 0

    @property
    def reason(self) -> str | None:
        """Why no stack takes it."""
        return grouping.reason_against(self.settings) or ("trained already" if self.done is None else None)


class Piece(NamedTuple):
    """What becomes a unit: the places of its runs, about how many seconds they take, why it is a single run."""

    places: Sequence[int]
    seconds: float = 0.0
    reason: str | None = None


class Cut(NamedTuple):
    """Runs in pieces, and the processes that shall share the work."""

    pieces: list[Piece]
    processes: int


def cut(runs: Sequence[ToCut], limits: Limits, begun: Begun = (), is_away: bool = False) -> Cut:
    """`is_away`: other machines do the work, of which this one knows nothing."""
    alike: dict[tuple[str, int | None, str | None], list[int]] = {}
    for place, run in enumerate(runs):
        alike.setdefault((grouping.signature(run.settings), run.done, run.reason), []).append(place)
    together: list[tuple[list[int], str | None]] = []
    shapes: list[Shape] = []
    for (*_, reason), places in alike.items():
        parts = [[place] for place in places] if reason else [places]
        together += [(part, reason) for part in parts]
        shapes += [] if is_away else [grouping.shape(runs[places[0]].settings)] * len(parts)
    members = [len(places) for places, _ in together]
    if is_away:
        shares = Shares(1, [-(-number // (limits.max_members or number)) for number in members])
    else:
        shares = share_out(shapes, members, limits, begun)
    found = []
    for number, ((places, reason), count) in enumerate(zip(together, shares.parts, strict=True)):
        alone = reason or ("no other run of its shape" if count == 1 else "a stack holds no more than one")
        for part in pieces(places, count):
            seconds = shapes[number].seconds(len(part)) if shapes else 0.0
            found.append(Piece(part, seconds, alone if len(part) == 1 else None))
    return Cut(found, shares.processes)


class Shares(NamedTuple):
    """How work is shared out: over so many processes; each shape in so many stacks."""

    processes: int
    parts: list[int]


def share_out(shapes: Sequence[Shape], members: Sequence[int], limits: Limits, begun: Begun = ()) -> Shares:
    """Cut so many members of each shape into stacks, such that all that can work at once has something to do."""
    seconds = [shape.seconds(number) for shape, number in zip(shapes, members, strict=True)]
    whole = sum(seconds) + sum(left for _, left in begun)
    least = 1 if limits.max_members == 1 else 2  # one member alone is no stack
    most = sum(max(1, number // least) for number in members) + len(begun)
    on_gpu = any(device.type == "cuda" for device in [*(shape.device for shape in shapes), *(at for at, _ in begun)])
    count = processes_for(limits, most, whole, on_gpu, shapes[0].settings.threads or 1 if shapes else 1)
    parts = []
    for shape, number, own in zip(shapes, members, seconds, strict=True):
        fitting = shape.fitting(count)
        wanted = min(_pieces_of(shape, number, count, own / whole), max(1, number // 2)) if whole else 1
        parts.append(max(wanted, -(-number // min(fitting, limits.max_members or fitting))))
    return Shares(count, parts)


def _pieces_of(shape: Shape, members: int, processes: int, share: float) -> int:
    """In how many stacks these take all processes' time, and end about together."""
    if processes == 1:
        return 1
    few, many = (math.ceil(finer * processes * share) for finer in (1, FINER))
    is_cheap = many * shape.seconds(members / many) <= CUTTING * few * shape.seconds(members / few)
    return many if is_cheap and members >= 2 * many else few


def processes_for(limits: Limits, most: int, seconds: float, on_gpu: bool, threads: int) -> int:
    """How many processes share work which one would do in so many seconds, in at most so many units."""
    gpus = len(limits.gpus()) if on_gpu else 0
    if given := (limits.devices and gpus) or (None if on_gpu else limits.processes):
        return max(1, min(given, most))
    count = max(1, min(gpus or all_threads() // threads, grouping.most_processes(), most))
    least = FORK_SECONDS if forkable() and not on_gpu else SPAWN_SECONDS
    return count if seconds - seconds / count >= least else 1
