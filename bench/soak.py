"""A thousand tiny runs in one multirun: does memory grow, do files stay open, what does a run cost beyond its training?

Training is the time in the Classifier's training, validation and test steps; all the rest of a run is overhead: Hydra,
Lightning, diagnostics, tables, checkpoints. Memory growth is that after the first 50 runs, which fill caches. Times are
given twice: of the clock, and of the processor, which other programs don't lengthen much.

    python -m bench.soak [--runs 1000] [--json bench/results/soak.json]

Last line: JSON.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import psutil

from actsweep import jobs
from actsweep.network.classifier import Classifier
from actsweep.report import writing
from actsweep.results import run_folder
from bench.epoch import machine

WARM_UP = 50
RUN = ["data=digits", "trainer=cpu", "trainer.enable_progress_bar=false", "trainer.max_epochs=1", "depth=2", "width=8",
       "threads=1"]  # fmt: skip


class Seconds(NamedTuple):
    """Of the clock, and of the processor."""

    clock: float
    processor: float

    def __add__(self, other: "Seconds") -> "Seconds":  # type: ignore[override]
        return Seconds(self.clock + other.clock, self.processor + other.processor)

    def __sub__(self, other: "Seconds") -> "Seconds":
        return Seconds(self.clock - other.clock, self.processor - other.processor)


def now() -> Seconds:
    return Seconds(time.perf_counter(), time.process_time())


def medians(spans: Sequence[Seconds]) -> dict[str, float]:
    return {name: round(median(span[place] for span in spans), 4) for place, name in enumerate(Seconds._fields)}


class Watch:
    """Notes time, memory and open files each time a result is written, and the time spent in training."""

    def __init__(self) -> None:
        self.process = psutil.Process()
        self.trained = Seconds(0.0, 0.0)
        self.seen: list[tuple[Seconds, Seconds, int, int]] = []  # so far, of them training; bytes; open files
        for name in ("training_step", "validation_step", "test_step"):
            setattr(Classifier, name, self._timed(getattr(Classifier, name)))
        write = run_folder.write_result

        def noted(*arguments: Any) -> None:
            write(*arguments)
            memory, files = self.process.memory_info().rss, self.process.num_fds()
            self.seen.append((now(), self.trained, memory, files))

        run_folder.write_result = noted  # type: ignore[assignment]

    def _timed(self, step: Any) -> Any:
        def timed(*arguments: Any) -> Any:
            began = now()
            try:
                return step(*arguments)
            finally:
                self.trained += now() - began

        return timed


def soak(folder: Path, runs: int, overrides: list[str]) -> dict[str, Any]:
    watch = Watch()
    sys.argv = ["train", "-m", *RUN, *overrides, f"seed=range({runs})", f"hydra.sweep.dir={folder}"]
    began = now()
    jobs.main()
    ended = now()
    seen = watch.seen
    pairs = list(zip(seen[WARM_UP:], seen[WARM_UP + 1 :], strict=False))
    overheads = [(after[0] - before[0]) - (after[1] - before[1]) for before, after in pairs]
    memory, files = [each[2] for each in seen], [each[3] for each in seen]
    return {
        "runs": len(writing.read_runs([folder])), "page": (folder / "report.html").exists(),
        "rss_MiB": {str(place): round(memory[place] / 2**20, 1) for place in (0, WARM_UP, len(seen) // 2, -1)},
        "rss_growth_after_50": round(memory[-1] / memory[WARM_UP] - 1, 4),
        "open_files": {"run 50": files[WARM_UP], "last run": files[-1], "most": max(files)},
        "overhead_s": {"all": medians(overheads), "first 50": medians(overheads[:50]),
                       "last 50": medians(overheads[-50:])},
        "training_s": medians([after[1] - before[1] for before, after in pairs]),
        "before_the_first_result_s": round(seen[0][0].clock - began.clock, 1),
        "after_the_last_result_s": round(ended.clock - seen[-1][0].clock, 1),
        "whole_s": (ended - began)._asdict(),
        "machine": machine(),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Many tiny runs in one sweep.")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--json", type=Path, help="also write the figures there")
    parser.add_argument("overrides", nargs="*", help="for instance diagnostics=[]")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        found = soak(Path(work, "sweep"), arguments.runs, arguments.overrides)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
