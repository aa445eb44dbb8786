"""A stack of networks computes what its members compute alone."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch.func import functional_call, grad, stack_module_state, vmap

from actsweep.config.schema import Settings, Target
from actsweep.data import datamodule
from actsweep.data.batches import TrainingBatches
from actsweep.network.build import build_network
from actsweep.network.classifier import Classifier
from actsweep.network.losses import LOSSES, Sums
from actsweep.places import REPOSITORY
from actsweep.training.stack.network import Stack
from actsweep.training.stack.steps import Feed, Optimiser, Steps, clip
from tests.conftest import SMALL, names_in

Make = Callable[..., Settings]
CPU = torch.device("cpu")
DOUBLE = "trainer.precision=64-true"


def several(settings_for: Make, *overrides: str, acts: Sequence[str], seeds: Sequence[int] = (0, 1)) -> list[Settings]:
    """What one composition per member would give, from one composition."""
    base, found = settings_for(*SMALL, *overrides), []
    for act in acts:
        part = OmegaConf.to_container(OmegaConf.load(REPOSITORY / "conf" / "act" / f"{act}.yaml"))
        own = {"act": Target.model_validate(part), "names": base.names.model_copy(update={"act": act})}
        found += [base.model_copy(update=own | {"seed": seed}) for seed in seeds]
    return found


def networks(settings: Sequence[Settings]) -> list[Classifier]:
    return [build_network(each, 64, 10) for each in settings]


def stacked_steps(settings: Sequence[Settings], members: list[Classifier] | None = None) -> Steps:
    data = datamodule.open_data(settings[0].data, settings[0].seed)
    stack = Stack(members or networks(settings))
    optimiser = Optimiser(stack, [each.optim.plain() for each in settings])
    feed = Feed(data, data.train, [each.seed for each in settings])
    sums = Sums(len(stack), CPU, lambda outputs: outputs.argmax(1))
    clipping = settings[0].trainer.clipping
    return Steps(stack, optimiser, feed, LOSSES[settings[0].loss].of_each, sums, clipping=clipping)


def train_stacked(steps: Steps, count: int) -> torch.Tensor:
    """Losses before each step, (steps, K)."""
    losses = []
    for done in range(count):
        if done % steps.feed.steps == 0:
            steps.feed.load(done // steps.feed.steps)
        losses.append(steps.eager())
    return torch.stack(losses)


def train_alone(settings: Settings, count: int) -> tuple[torch.Tensor, Classifier]:
    """The plain path's network, optimiser, clipping and batches, without Lightning around them."""
    data, classifier = datamodule.open_data(settings.data, settings.seed), networks([settings])[0]
    optimizer = classifier.configure_optimizers()
    losses: list[torch.Tensor] = []
    clip_with: dict[str, Callable[..., Any]] = {
        "norm": torch.nn.utils.clip_grad_norm_,
        "value": torch.nn.utils.clip_grad_value_,
    }
    loader, epoch = TrainingBatches(data.train, data.dataset.scale, data.sampling), 0
    while len(losses) < count:
        loader.set_epoch(epoch)
        for batch in loader:
            if len(losses) == count:
                break
            loss = classifier.loss(batch)
            loss.backward()
            if settings.trainer.gradient_clip_val:
                clip_with[settings.trainer.gradient_clip_algorithm](
                    classifier.parameters(), settings.trainer.gradient_clip_val
                )
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.detach())
        epoch += 1
    return torch.stack(losses), classifier


def assert_equal_to_alone(settings: Sequence[Settings], count: int, relative: float) -> None:
    steps = stacked_steps(settings)
    losses = train_stacked(steps, count)
    for row, each in enumerate(settings):
        alone, classifier = train_alone(each, count)
        torch.testing.assert_close(losses[:, row], alone, rtol=relative, atol=0)
        for name, weights in classifier.state_dict().items():
            found, weights = steps.stack.state_dict(row)[name].double(), weights.double()
            assert (found - weights).norm() <= relative * weights.norm(), (each.names.act, name)


@pytest.mark.parametrize("norm", ["none", "layer", "batch"])
@pytest.mark.parametrize("init", sorted({*names_in("init")} - {"matching", "notebook"}))
def test_members_start_from_the_weights_they_would_have_alone(settings_for: Make, init: str, norm: str) -> None:
    settings = several(settings_for, f"init={init}", f"norm={norm}", acts=["relu", "prelu", "tanh"])
    stack = Stack(networks(settings))
    for row, each in enumerate(settings):
        alone = networks([each])[0].state_dict()
        assert list(stack.state_dict(row)) == list(alone)
        for name, weights in alone.items():
            assert torch.equal(stack.state_dict(row)[name], weights)
            assert torch.equal(stack.members[row].state_dict()[name], weights)


@pytest.mark.parametrize("seeds", [(3, 3), (3, 4), (3, 4, 3)])
@pytest.mark.parametrize(
    "sampling", ["data.batch_size=64", "data.batch_size=all", "data.replacement=true", "data.steps_per_epoch=5"]
)
def test_every_member_sees_the_batches_it_would_see_alone(settings_for: Make, sampling: str, seeds: Any) -> None:
    settings = several(settings_for, sampling, acts=["relu"], seeds=seeds)
    data = datamodule.open_data(settings[0].data, 3)
    feed = Feed(data, data.train, seeds)
    for epoch in (0, 1):
        feed.load(epoch)
        alone = [datamodule.open_data(each.data, each.seed).train_dataloader() for each in settings]
        for loader in alone:
            loader.set_epoch(epoch)
        steps = [list(loader) for loader in alone]
        for number in range(feed.steps):
            inputs, labels = feed.batch()
            for member, batches in enumerate(steps):
                assert torch.equal(inputs if inputs.ndim == 2 else inputs[member], batches[number][0])
                assert torch.equal(labels[member], batches[number][1])
        assert feed.steps == len(steps[0])


@pytest.mark.parametrize("depth", [2, 5])
def test_200_steps_in_float64_give_each_member_its_own_losses_and_weights(settings_for: Make, depth: int) -> None:
    overrides = [DOUBLE, f"depth={depth}", "width=8"]
    acts = [act for act in names_in("act") if act != "maxout"]
    for together in (acts[:: depth - 1], ["maxout"]):  # of the deeper networks some: each has been tried
        assert_equal_to_alone(several(settings_for, *overrides, acts=together, seeds=(0,)), 200, 1e-10)


@pytest.mark.parametrize(
    "overrides",
    [
        ["norm=batch"],
        ["norm=batch", "optim=adam", "+optim.eps=1e-3"],  # a bias before batch norm has no gradient but rounding errors
        ["optim=rmsprop"],
    ],
)
def test_200_steps_in_float64_with_batch_norm_and_rmsprop_equal_the_lone_networks(
    settings_for: Make, overrides: list[str]
) -> None:
    settings = several(settings_for, DOUBLE, "width=8", *overrides, acts=["relu", "prelu", "tanh"])
    assert_equal_to_alone(settings, 200, 1e-10)


@pytest.mark.parametrize("optim", ["sgd", "adam", "adamw", "rmsprop"])
def test_20_steps_in_float32_give_each_member_its_own_losses(settings_for: Make, optim: str) -> None:
    settings = several(settings_for, f"optim={optim}", acts=["relu", "tanh"])
    losses = train_stacked(stacked_steps(settings), 20)
    for row, each in enumerate(settings):
        torch.testing.assert_close(losses[:, row], train_alone(each, 20)[0], rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    "optim",
    [
        ["optim.momentum=0,0.9", "optim.lr=0.1,0.01"],
        ["optim.nesterov=true", "optim.momentum=0.5,0.9", "optim.weight_decay=0,0.01"],
        ["optim=adam", "optim.lr=0.01,0.001", "optim.weight_decay=0,0.1"],
        ["optim=adamw", "optim.lr=0.01,0.001", "optim.weight_decay=0.1,0.5"],
        ["optim=rmsprop", "optim.lr=0.01,0.001", "optim.weight_decay=0,0.1", "optim.momentum=0,0.9"],
        ["optim=rmsprop", "optim.lr=0.01,0.001", "optim.alpha=0.9", "+optim.eps=1e-6"],
        ["trainer.gradient_clip_val=0.2", "optim.lr=0.1,0.01"],
        ["trainer.gradient_clip_val=0.01", "trainer.gradient_clip_algorithm=value", "optim.lr=0.1,0.01"],
    ],
)
def test_optimisers_and_clipping_equal_torchs_with_numbers_per_member(settings_for: Make, optim: list[str]) -> None:
    of_member = [[part.partition(",")[0] for part in optim], []]
    of_member[1] = [f"{key}={value.split(',')[-1]}" for key, _, value in (part.partition("=") for part in optim)]
    acts = ["prelu", "relu", "tanh"]
    settings = [each for part in of_member for each in several(settings_for, DOUBLE, "norm=layer", *part, acts=acts)]
    assert_equal_to_alone(settings, 40, 1e-10)


@pytest.mark.parametrize(("loss", "data"), [("bce", "classification"), ("mse", "sine")])
def test_other_losses_equal_the_plain_ones(settings_for: Make, loss: str, data: str) -> None:
    settings = several(settings_for, f"data={data}", f"loss={loss}", DOUBLE, acts=["relu"])
    opened = datamodule.open_data(settings[0].data, 0)
    members = [build_network(each, opened.dataset.input_size, 1) for each in settings]
    batch = (opened.train.inputs, opened.train.labels)
    expected = torch.stack([member.loss(batch).detach() for member in members])
    stack = Stack(members)
    found = LOSSES[loss].of_each(stack.forward(batch[0]), batch[1].expand(2, -1))
    torch.testing.assert_close(found.detach(), expected, rtol=1e-12, atol=0)


def test_gradients_equal_those_of_torch_func(settings_for: Make) -> None:
    settings = several(settings_for, DOUBLE, acts=["tanh"], seeds=(0, 1, 2))
    members = networks(settings)
    parameters, buffers = stack_module_state([member.network for member in members])  # type: ignore[arg-type]
    data = datamodule.open_data(settings[0].data, 0)
    inputs, labels = data.probe(50)

    def loss(weights: dict[str, torch.Tensor], state: dict[str, torch.Tensor]) -> torch.Tensor:
        outputs = functional_call(members[0].network, (weights, state), (inputs,))
        return torch.nn.functional.cross_entropy(outputs, labels)

    detached = {name: values.detach().clone() for name, values in parameters.items()}
    oracle = vmap(grad(loss))(detached, buffers)
    layers = Stack(members).observe(inputs, labels, LOSSES["cross_entropy"].of_each)
    for layer, name in zip(layers, ("layers.0.weight", "layers.2.weight", "layers.4.weight"), strict=True):
        torch.testing.assert_close(layer.gradient, oracle[name], rtol=1e-11, atol=1e-15)


def test_nan_in_one_member_leaves_the_others_equal_bit_for_bit(settings_for: Make) -> None:
    settings = several(settings_for, "trainer.gradient_clip_val=1.0", acts=["relu", "tanh"])
    found = []
    for poisoned in (False, True):
        members = networks(settings)
        if poisoned:
            members[1].network.get_parameter("layers.0.weight").data.fill_(float("nan"))
        steps = stacked_steps(settings, members)
        found.append((train_stacked(steps, 30), [steps.stack.state_dict(row) for row in range(4)]))
    (clean, weights), (poisoned_losses, poisoned_weights) = found
    assert poisoned_losses[:, 1].isnan().all()
    for row in (0, 2, 3):
        assert torch.equal(clean[:, row], poisoned_losses[:, row])
        assert all(torch.equal(weights[row][name], poisoned_weights[row][name]) for name in weights[row])


def test_permuting_the_members_permutes_what_they_do(settings_for: Make) -> None:
    settings, order = several(settings_for, DOUBLE, acts=["relu", "prelu"]), [3, 0, 2, 1]
    losses = train_stacked(stacked_steps(settings), 20)
    permuted = train_stacked(stacked_steps([settings[row] for row in order]), 20)
    torch.testing.assert_close(permuted, losses[:, order], rtol=1e-12, atol=0)


def test_members_that_are_dropped_leave_the_others_as_they_would_be(settings_for: Make) -> None:
    settings = several(settings_for, DOUBLE, "optim=adam", acts=["prelu", "relu"])
    steps = stacked_steps(settings)
    whole = train_stacked(steps, 36)[18:, [0, 3]]
    steps = stacked_steps(settings)
    train_stacked(steps, 18)
    steps.stack.keep([0, 3])
    steps.optimiser.keep([0, 3])
    steps.feed.choose([0, 1])
    steps.sums = Sums(2, CPU, lambda outputs: outputs.argmax(1))
    steps.feed.load(1)
    dropped = torch.stack([steps.eager() for _ in range(18)])
    torch.testing.assert_close(dropped, whole, rtol=1e-12, atol=0)


def test_clipping_by_norm_takes_each_member_for_itself(settings_for: Make) -> None:
    stack = Stack(networks(several(settings_for, acts=["relu"])))
    gradients = [torch.ones_like(values) for values in stack.parameters()]
    for gradient in gradients:
        gradient[1] *= 1e-6
    clip(stack, gradients, 1.0, "norm")
    lengths = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients]).norm(dim=0)
    assert lengths[0] == pytest.approx(1.0, rel=1e-4)
    assert lengths[1] == pytest.approx(1e-6 * sum(values[0].numel() for values in stack.parameters()) ** 0.5, rel=1e-5)
