"""What a stack measures, kept until the members' files are written: when one ends, when a save is due.

Flow: training → diagnostics → **results**. A member's loggers get what is its own in the order, and with the time, in
which it was recorded, and so leave what a lone run's leave.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from actsweep.training.stack.member import Member, Record

MOST_NUMBERS = 2**21


class Records:
    """Gives each of the stack's `members` what is recorded of it; `numbers`: about how many since files were written.

    `epoch`: completed ones, or as loggers count them; `step`: optimiser steps so far.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members, self.numbers = members, 0

    def keep(
        self, send: Callable[..., None], of_each: Sequence[Mapping[str, Any]], epoch: int, step: int, size: int = 1
    ) -> None:
        """`send` will be called with a member, its own of `of_each` and the epoch. `size`: numbers by a name."""
        now = time.time()
        for member, own in zip(self.members, of_each, strict=False):  # of each there is nothing, or something
            if not (member.ended or member.unseen):
                member.records.append(Record(partial(send, member, own, epoch), epoch, step, now))
                self.numbers += len(own) * size
