"""How steps become a CUDA graph, with what stands for a GPU: what no graph can hold, and captures that fail."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from actsweep.training.stack.steps import WARM_UP_STEPS, Steps
from tests.training.stack.test_stack import Make, several, stacked_steps


class Stream:
    def __init__(self, *_: object) -> None:
        self.waited_for: list[Stream] = []

    def wait_stream(self, other: "Stream") -> None:
        self.waited_for.append(other)


class Gpu:
    """torch.cuda, as far as a capture asks for it. Like torch's, a capture that fails leaves its stream current."""

    def __init__(self) -> None:
        self.current, self.mode, self.fails, self.captures = Stream(), 0, False, 0

    @contextmanager
    def stream(self, stream: Stream) -> Iterator[None]:
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    @contextmanager
    def graph(self, graph: object, capture_error_mode: str) -> Iterator[None]:
        assert capture_error_mode == "thread_local"
        before, self.current = self.current, Stream()
        self.captures += 1
        yield
        if self.fails:
            raise RuntimeError("operation failed due to a previous error during capture")
        self.current = before

    def set_mode(self, mode: int | str) -> None:
        self.mode = {"error": 2}.get(str(mode), mode)  # type: ignore[assignment]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    gpu = Gpu()
    stands_for: dict[str, Any] = {
        "Stream": Stream, "current_stream": lambda _: gpu.current, "stream": gpu.stream, "graph": gpu.graph,
        "CUDAGraph": lambda: "a graph", "get_sync_debug_mode": lambda: gpu.mode, "set_sync_debug_mode": gpu.set_mode,
    }  # fmt: skip
    for name, part in stands_for.items():
        monkeypatch.setattr(torch.cuda, name, part)
    return gpu


@pytest.fixture
def steps(settings_for: Make) -> Steps:
    found = stacked_steps(several(settings_for, "norm=batch", "optim=adam", acts=["relu", "tanh"]))
    found.feed.load(0)
    return found


def all_of(steps: Steps) -> list[Tensor]:
    blocks = steps.stack.everything()
    tensors = [*(block.values for block in blocks), *steps.optimiser.tensors(), steps.feed.step, steps.sums.loss]
    return [each.detach().clone() for each in tensors]


def assert_nothing_has_changed(steps: Steps, before: list[Tensor], gpu: Gpu, here: Stream) -> None:
    assert all(torch.equal(one, other) for one, other in zip(before, all_of(steps), strict=True))
    assert gpu.current is here
    assert gpu.mode == 0


def test_steps_are_captured_and_none_of_them_counts(gpu: Gpu, steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    before, here, modes = all_of(steps), gpu.current, list[int]()
    eager = Steps.eager
    monkeypatch.setattr(Steps, "eager", lambda self: (modes.append(gpu.mode), eager(self))[1])
    steps.capture()
    assert str(steps.graph) == "a graph"
    assert modes == [0] * (WARM_UP_STEPS - 1) + [2, 0]  # the last before the capture may not wait
    assert len(here.waited_for) == 1
    assert_nothing_has_changed(steps, before, gpu, here)


def test_what_waits_for_the_gpu_is_not_captured_at_all(
    gpu: Gpu, steps: Steps, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before, here, eager = all_of(steps), gpu.current, Steps.eager

    def waits(self: Steps) -> Tensor:
        if gpu.mode:
            raise RuntimeError("called a synchronizing CUDA operation")
        return eager(self)

    monkeypatch.setattr(Steps, "eager", waits)
    steps.capture()
    assert steps.graph is None
    assert gpu.captures == 0
    assert len(here.waited_for) == 1  # for the steps before, which are undone
    assert "no CUDA graph, every operation is launched by itself: called a synchronizing" in caplog.text
    assert_nothing_has_changed(steps, before, gpu, here)


def test_a_capture_that_fails_leaves_the_stream_that_was_current(
    gpu: Gpu, steps: Steps, caplog: pytest.LogCaptureFixture
) -> None:
    before, here, gpu.fails = all_of(steps), gpu.current, True
    steps.capture()
    assert steps.graph is None
    assert gpu.captures == 1
    assert "due to a previous error during capture" in caplog.text
    assert_nothing_has_changed(steps, before, gpu, here)
