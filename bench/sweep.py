"""What a sweep costs: member-epochs per second of one run after another, of single runs in processes, and of stacks.

A member-epoch is one network's epoch with all that it entails. The contenders take turns; medians count.

    a  the tutorials' loop: PIL image, ToTensor, Normalize for every example; one network after another
    b  single runs, all default diagnostics, one network after another
    c  b in processes, one for each core, a thread each: hydra.launcher.max_members=1
    d  stacks of M networks in one process: six activations × seeds, all default diagnostics; "d bare": without
    d processes  the same M networks as stacks in processes, one for each core, as a sweep trains them on CPUs
    e  torch.func: stack_module_state and vmap, a call per activation; steps only
    f  the matrix products of M members' steps alone, batched

    python -m bench.sweep [--quick] [--members 1 2 6 18 60 180 600] [--rounds 3] [--precision 32-true]
                          [--data fashion_mnist] [--sweep] [--json bench/results/sweep.json]

`--sweep` also times `+sweeps=main` from first import to last file. bench/sweep_plot.py draws.
"""

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch

from actsweep import composition, one_run
from actsweep.config.command_line import quiet_libraries
from actsweep.data import datamodule
from actsweep.network.build import build_network
from actsweep.network.mlp import threads_for
from actsweep.places import REPOSITORY
from actsweep.results import run_folder
from actsweep.results.provenance import provenance
from actsweep.results.tables import Tables
from actsweep.sweep.units import pieces
from actsweep.training.stack.grouping import device_for
from actsweep.training.stack.training import Training
from bench.epoch import EpochTimes, machine
from bench.grid import ACTS, Contender, grid, now, settings_for, sizes_of
from bench.rivals import floor, torch_func, tutorial


def plain(folder: Path, overrides: Sequence[str], epochs: int) -> Contender:
    settings = settings_for(*overrides, "patience=null", f"trainer.max_epochs={epochs + 2}")

    def measure() -> float:
        times = EpochTimes()
        run_folder.prepare(folder, settings)
        data = datamodule.open_data(settings.data, settings.seed)
        network = build_network(settings, *sizes_of(data))
        torch.set_num_threads(settings.threads or threads_for(network, data.examples_per_step))
        trainer = one_run.build_trainer(settings, folder, Tables(folder), network.monitor)
        trainer.callbacks.insert(0, times)  # type: ignore[attr-defined]
        trainer.fit(network, data)
        steady = times.starts[1:]  # the first epoch holds the measurement at initialisation
        return 1 / median(after - before for before, after in pairwise(steady))

    return measure


def _process(make: Callable[[], Contender], barrier: Any, rates: Any) -> None:
    warnings.simplefilter("ignore")
    quiet_libraries()
    composition.register()
    run = make()
    barrier.wait()
    rates.put(run())


def at_once(contenders: Sequence[Callable[[], Contender]]) -> Contender:
    """What these reach together, each in a process of its own."""

    def measure() -> float:
        context = multiprocessing.get_context("spawn")
        barrier, rates = context.Barrier(len(contenders)), context.Queue()
        for make in contenders:
            context.Process(target=_process, args=(make, barrier, rates)).start()
        return sum(rates.get() for _ in contenders)

    return measure


def singles_in_processes(folder: Path, overrides: Sequence[str], epochs: int, count: int) -> Contender:
    own = [*overrides, "threads=1"]
    return at_once([partial(plain, folder / str(number), own, epochs) for number in range(count)])


def stacks_in_processes(members: int, folder: Path, overrides: Sequence[str], epochs: int, count: int) -> Contender:
    own = [*overrides, "threads=1"]
    return at_once([partial(stacked, members, folder, own, epochs, (number, count)) for number in range(count)])


def stacked(
    members: int, folder: Path, overrides: Sequence[str], epochs: int, part: tuple[int, int] = (0, 1)
) -> Contender:
    """Of so many members a part, (which, of how many), as one stack."""
    which, parts = part
    numbers = pieces(range(members), parts)[which]
    whole = grid(members, [*overrides, f"trainer.max_epochs={epochs + 2}"])
    settings = sorted(whole, key=lambda each: ACTS.index(each.names.act))[numbers[0] : numbers[-1] + 1]

    def measure() -> float:
        device = device_for(settings[0])
        training = Training([(each, folder / f"{which}-{number}") for number, each in enumerate(settings)], device)
        training.each(lambda _, member: member.open())
        training.diagnoses.start()
        training.epoch(0)
        seconds = []
        for epoch in range(1, epochs + 1):
            started = now(device)
            training.epoch(epoch)
            seconds.append(now(device) - started)
        return len(settings) / median(seconds)

    return measure


def contenders(arguments: argparse.Namespace, folder: Path) -> Iterator[tuple[str, Contender]]:
    base = [f"data={arguments.data}", "trainer.enable_progress_bar=false", *arguments.overrides]
    precise, epochs = [*base, f"trainer.precision={arguments.precision}"], arguments.epochs
    device = device_for(settings := settings_for(*base))
    yield "a", tutorial(settings, device)
    yield "b", plain(folder / "b", precise, epochs)
    yield "c", singles_in_processes(folder / "c", precise, epochs, os.cpu_count() or 1)
    for members in arguments.members:
        yield f"d {members}", stacked(members, folder / f"d{members}", precise, epochs)
    most = max(number for number in arguments.members if number <= 18)
    cores = os.cpu_count() or 1
    for members in arguments.members if device.type == "cpu" else ():
        if members >= 2 * cores:
            yield f"d processes {members}", stacks_in_processes(members, folder / f"p{members}", precise, epochs, cores)
    yield f"d bare {most}", stacked(most, folder / "bare", [*precise, "diagnostics=[]"], epochs)
    yield f"e {most}", torch_func(most, base, device)
    yield f"f {most}", floor(most, settings, device)


def whole_sweep(folder: Path) -> float:
    given, started = ["+sweeps=main", f"hydra.sweep.dir={folder}"], time.perf_counter()
    subprocess.run([sys.executable, "-m", "src.train", *given], cwd=REPOSITORY, check=True)
    return time.perf_counter() - started


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a dry run: digits, few members, one round")
    parser.add_argument("--members", type=int, nargs="+", default=[1, 2, 6, 18, 60, 180, 600])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3, help="timed epochs a round, of ours")
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--data", default="fashion_mnist")
    parser.add_argument("--sweep", action="store_true", help="also time the whole 6 × 3 sweep, stacked")
    parser.add_argument("--json", type=Path)
    parser.add_argument("overrides", nargs="*", help="further ones for every contender, such as width=32 depth=2")
    arguments = parser.parse_args()
    quick = {"data": "digits", "members": [1, 6, 18], "rounds": 1}
    return argparse.Namespace(**vars(arguments) | quick) if arguments.quick else arguments


def main() -> None:
    arguments, on_gpu = parsed(), torch.cuda.is_available()
    warnings.simplefilter("ignore")
    quiet_libraries()
    composition.register()
    peaks: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        runners = dict(contenders(arguments, Path(folder)))
        rates: dict[str, list[float]] = {name: [] for name in runners}
        for number in range(arguments.rounds):
            for name, run in runners.items():
                torch.cuda.reset_peak_memory_stats() if on_gpu else None
                rates[name].append(run())
                in_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # since the start
                peaks[name] = torch.cuda.max_memory_allocated() if on_gpu else in_memory
                print(f"round {number + 1}: {name}: {rates[name][-1]:.2f} member-epochs/s", flush=True)
        seconds = whole_sweep(Path(folder) / "main") if arguments.sweep else None
    middle = {name: median(values) for name, values in rates.items()}
    report = {
        **provenance(), "machine": machine(), "precision": arguments.precision, "data": arguments.data,
        "overrides": arguments.overrides, "tf32": torch.backends.cuda.matmul.allow_tf32,
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
        "member_epochs_per_second": rates, "peak_bytes": peaks, "sweep_seconds": seconds,
        "over_b": {name: round(rate / middle["b"], 3) for name, rate in middle.items()},
    }  # fmt: skip
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    print("\n| contender | member-epochs/s | ÷ a | ÷ b |\n|---|---|---|---|")
    for name, rate in middle.items():
        print(f"| {name} | {rate:.2f} | {rate / middle['a']:.1f} | {rate / middle['b']:.1f} |")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
