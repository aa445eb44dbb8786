"""What the callbacks must leave alone: torch's fast paths, generators of one's own, the loss."""

import io
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import BaseTorchFunctionMode, TorchFunctionMode, has_torch_function
from torch.utils.data import TensorDataset

from actsweep.callbacks import EveryStep, GradientNorm, Tables, observe, watched
from actsweep.diagnostics.gradients import grad_norm
from actsweep.diagnostics.observation import is_compiled
from actsweep.diagnostics.trace import Trace, tensors_in
from tests.diagnostics.test_odd_trainings import DATA, Small
from tests.diagnostics.test_zoo import EVERY, Counts, fit, trained_as_without
from tests.diagnostics.zoo_parts import Of, Own

TOKENS = TensorDataset(torch.randn(24, 6, 16, generator=torch.Generator().manual_seed(0)), torch.arange(24) % 3)


class Headed(Counts):
    """A head behind something that learns nothing."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body, self.head = body.requires_grad_(False), nn.Linear(16, 3)

    def training_step(self, batch: list[Tensor]) -> Tensor:
        with torch.no_grad():
            seen = self.body.eval()(batch[0]).mean(dim=1)
        return self.noted(F.cross_entropy(self.head(seen), batch[1]))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.head.parameters(), lr=0.1)


def encoder() -> nn.Module:
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2)


def padded(self: Any, x: Tensor) -> Tensor:
    padding = torch.arange(x.shape[1]).expand(x.shape[:2]) >= 4
    return self.body(x, src_key_padding_mask=padding)  # type: ignore[no-any-return]


BODIES: dict[str, Callable[[], nn.Module]] = {
    "encoder": encoder,
    "padded": lambda: Of(padded, body=encoder()),
    "attention": lambda: Of(
        lambda self, x: self.att(x, x, x, need_weights=False)[0], att=nn.MultiheadAttention(16, 2, batch_first=True)
    ),
}


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("name", BODIES)
def test_an_evaluated_transformer_takes_its_fast_path_as_without_the_callbacks(name: str) -> None:
    trained_as_without(lambda: Headed(BODIES[name]()), TOKENS, {"every_n_steps": 1})


def test_only_this_mode_goes_unnoticed_and_only_while_it_is_active() -> None:
    asked = torch.overrides.has_torch_function
    tensors = torch.zeros(1), nn.Parameter(torch.zeros(1)), None
    with Trace([]), Trace([]):
        assert has_torch_function(tensors)
        assert not torch.overrides.has_torch_function(tensors)
        assert torch.overrides.has_torch_function((*tensors, torch.zeros(1).as_subclass(type("T", (Tensor,), {}))))
    with BaseTorchFunctionMode(), Trace([]):
        assert torch.overrides.has_torch_function(tensors)
    assert torch.overrides.has_torch_function is asked


def test_a_module_that_another_thread_applies_meanwhile_hides_none() -> None:
    begun, done = threading.Event(), threading.Event()
    slow = Of(lambda self, x: (begun.set(), done.wait(60), x)[-1])

    class Meanwhile(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            pool.submit(slow, torch.zeros(1))
            begun.wait(60)
            return x.relu()

    module = Headed(nn.Sequential(nn.Linear(16, 16), Meanwhile()))
    with ThreadPoolExecutor(1) as pool:
        try:
            fit(module, TOKENS, [GradientNorm()], limit_train_batches=1)
        finally:
            done.set()
    assert {row["layer"]: row["activation"] for row in watched(module)} == {"body.0": "Meanwhile", "head": "none"}


def test_a_generator_of_ones_own_draws_what_it_draws_without_the_callbacks() -> None:
    class Drops(Headed):
        def __init__(self) -> None:
            super().__init__(nn.Identity())
            self.first, self.generator = nn.Linear(16, 16), torch.Generator().manual_seed(3)

        def training_step(self, batch: list[Tensor]) -> Tensor:
            pre = self.first(batch[0].mean(dim=1))
            kept = torch.bernoulli(torch.full_like(pre, 0.5), generator=self.generator)
            return self.noted(F.cross_entropy(self.head(F.relu(pre * kept)), batch[1]))

    trained_as_without(Drops, TOKENS, {"every_n_steps": 1})


def test_a_loss_within_a_forward_that_takes_labels_by_name_is_no_activation() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(16, 8), Own(torch.tanh), nn.Linear(8, 1))

        def forward(self, x: Tensor, labels: Tensor) -> Tensor:
            return (self.net(x)[:, 0] - labels).square().mean()

    class Predicts(Headed):
        def training_step(self, batch: list[Tensor]) -> Tensor:
            return self.noted(self.body(batch[0].mean(dim=1), labels=batch[1].float()) + self.head.weight.sum())

    fit(module := Predicts(Model()), TOKENS, [GradientNorm()])
    said = {row["layer"]: row["activation"] for row in watched(module)}
    assert (said["body.net.0"], said["body.net.2"]) == ("Own", "none")


def test_a_gradient_of_complex_zeros_has_a_norm_of_0() -> None:
    assert grad_norm(torch.zeros(1, 2, 3, dtype=torch.complex64)).tolist() == [0.0]
    assert grad_norm(torch.full((1, 4), 3e-30 + 4e-30j)).tolist() == pytest.approx([1e-29])


class Named(nn.Module):
    """Has a layer called `log`, and a buffer of which nothing can be written in place."""

    def __init__(self) -> None:
        super().__init__()
        self.log, self.last = nn.Linear(3, 4), nn.Linear(4, 1)
        self.log_dict = {"mine": 1}
        self.register_buffer("mask", torch.ones(1).expand(5, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.log(x).relu() * self.mask)  # type: ignore[no-any-return]


def test_a_look_leaves_what_is_called_log_and_buffers_that_are_expanded() -> None:
    module = Named()
    with torch.inference_mode():  # as in a validation of Lightning's
        layers = observe(module, lambda: module(torch.ones(5, 3)).mean())
    assert [layer.name for layer in layers if layer.gradient is not None] == ["log", "last"]
    assert module.log_dict == {"mine": 1}
    assert module.mask.stride() == (0, 0)  # type: ignore[operator]


class Copied(Headed):
    """Is copied, and written to a file, within its training step."""

    def __init__(self) -> None:
        super().__init__(nn.Identity())
        self.copies: list[Any] = []

    def training_step(self, batch: list[Tensor], batch_idx: int = 0) -> Tensor:
        if not self.copies:
            torch.save(self, file := io.BytesIO())
            file.seek(0)
            self.copies = [deepcopy(self), torch.load(file, weights_only=False)]
        return super().training_step(batch)


def test_a_copy_that_is_made_in_a_watched_step_trains_by_itself() -> None:
    fit(module := Copied(), TOKENS, [GradientNorm()])
    for copy in module.copies:
        before, untrained = ({name: each.clone() for name, each in of.state_dict().items()} for of in (module, copy))
        fit(copy, TOKENS, [])
        assert copy.calls == 3
        assert module.calls == 3
        assert not torch.equal(copy.head.weight, untrained["head.weight"])
        torch.testing.assert_close(module.state_dict(), before, rtol=0, atol=0)


def test_a_method_of_a_class_that_is_compiled_is_not_followed() -> None:
    class Compiled(nn.Linear):
        @torch.compile(backend="eager")
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input)

    assert is_compiled(Compiled(2, 2))
    assert not is_compiled(nn.Linear(2, 2))


def test_a_compiled_network_is_observed_as_far_as_it_can_be() -> None:
    net, inputs = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)), torch.ones(4, 2)
    compiled = torch.compile(net, backend="eager")
    plain, found = (observe(each, lambda each=each: each(inputs).sum()) for each in (net, compiled))
    for one, other in zip(plain, found, strict=True):
        assert one.name == other.name
        assert other.pre is None
        torch.testing.assert_close(one.gradient, other.gradient)


def test_a_compiled_modules_table_is_the_modules() -> None:
    module = Small()
    fit(module, DATA, [GradientNorm()])
    assert watched(torch.compile(module, backend="eager")) == watched(module)  # type: ignore[arg-type]


def test_compiled_parts_have_their_kinds_those_of_tied_weights_too() -> None:
    body = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 9))
    body[1].weight = body[0].weight
    net = nn.ModuleDict({"body": torch.compile(body, backend="eager"), "head": torch.compile(nn.Bilinear(2, 2, 2))})
    found = {row["layer"]: row["kind"] for row in watched(net)}
    assert found == {"body.0": "Embedding", "head": "Bilinear"}


class Apples(TorchFunctionMode):
    """Takes all tensors for some of a device without double precision, but those that were moved to the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.moved: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        is_moved = any(args and args[0] is each for each in self.moved)
        if func == Tensor.is_mps.__get__:  # type: ignore[attr-defined]
            return not is_moved
        if func is Tensor.double and not is_moved:
            raise TypeError("the MPS framework doesn't support float64")
        result = func(*args, **(kwargs or {}))
        if func is Tensor.cpu:
            self.moved.append(result := result.clone())
        return result


def test_a_callback_that_has_been_used_holds_nothing_of_the_module(tmp_path: Path) -> None:
    callbacks = [EveryStep(), *(kind() for kind in EVERY)]
    fit(module := Small(), DATA, callbacks, logger=Tables(tmp_path))
    weights = {id(each) for each in module.parameters()}
    held = [each for callback in callbacks for part in vars(callback).values() for each in tensors_in(part)]
    assert weights.isdisjoint(map(id, held))


def test_the_callbacks_need_no_double_precision_of_the_device(tmp_path: Path) -> None:
    tables, callbacks = Tables(tmp_path), [EveryStep(), *(kind() for kind in EVERY)]
    with Apples():
        fit(Small(), DATA, callbacks, logger=tables)
    assert {"layers.csv", "histograms.csv", "steps.csv"} <= {path.name for path in tmp_path.iterdir()}
