"""Other ways to train the same networks: the tutorials' loop, torch.func's vmap, and the matrix products alone."""

import time
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap
from torch.utils.data import DataLoader, TensorDataset
from torchvision import transforms

from actsweep.config import schema
from actsweep.data import datamodule
from actsweep.data.dataset import Examples
from actsweep.network.build import build_network
from bench.grid import Contender, grid, now, sizes_of


class OneByOne(TensorDataset):
    """Examples as torchvision's MNIST classes give them: each image from PIL through the transforms."""

    def __init__(self, examples: Examples, shape: tuple[int, ...]) -> None:
        super().__init__(examples.labels)
        self.images, self.labels = examples.inputs.view(-1, *shape).numpy(), examples.labels.tolist()
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])

    def __getitem__(self, index: Any) -> Any:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def tutorial(settings: schema.Settings, device: torch.device) -> Contender:
    data = datamodule.open_data(settings.data, 0)
    training, validation = (OneByOne(part, data.dataset.shape) for part in (data.train, data.val))
    batches = partial(DataLoader[Any], batch_size=data.examples_per_step, shuffle=True, drop_last=True)
    network = nn.Sequential(nn.Flatten(), build_network(settings, *sizes_of(data)).network.layers).to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-2, momentum=0.9)

    def measure() -> float:
        started, correct = time.perf_counter(), 0
        for images, labels in batches(training):
            optimizer.zero_grad()
            outputs = network(images.to(device))
            F.cross_entropy(outputs, labels.to(device)).backward()
            optimizer.step()
            correct += int((outputs.argmax(1) == labels.to(device)).sum())
        with torch.no_grad():
            correct += sum(int((network(x.to(device)).argmax(1) == y.to(device)).sum()) for x, y in batches(validation))
        return 1 / (time.perf_counter() - started)

    return measure


def torch_func(members: int, overrides: Sequence[str], device: torch.device) -> Contender:
    """The same members, a vmapped call per activation, SGD with momentum in torch's foreach functions."""
    settings = grid(members, overrides)
    data = datamodule.open_data(settings[0].data, 0)
    inputs, labels = data.train.inputs.to(device), data.train.labels.to(device)
    stacks = []
    for act in dict.fromkeys(each.names.act for each in settings):
        mine = [each for each in settings if each.names.act == act]
        networks = [build_network(each, *sizes_of(data)).network.to(device) for each in mine]
        weights, _ = stack_module_state(networks)

        def loss(own: dict[str, Tensor], x: Tensor, y: Tensor, network: nn.Module = networks[0]) -> Tensor:
            return F.cross_entropy(functional_call(network, own, (x,)), y)

        detached = {name: values.detach() for name, values in weights.items()}
        buffers = {name: torch.zeros_like(values) for name, values in detached.items()}
        stacks.append((vmap(grad_and_value(loss)), detached, buffers, [each.seed for each in mine]))

    def measure() -> float:
        started = now(device)
        for step in range(data.sampling.steps(len(inputs))):
            rows = slice(step * data.examples_per_step, (step + 1) * data.examples_per_step)
            batch = data.dataset.scale(inputs[rows])
            for function, weights, buffers, seeds in stacks:
                x, y = batch.expand(len(seeds), -1, -1), labels[rows].expand(len(seeds), -1)
                gradients, _ = function(weights, x, y)
                torch._foreach_mul_(list(buffers.values()), 0.9)
                torch._foreach_add_(list(buffers.values()), [gradients[name] for name in buffers])
                torch._foreach_add_(list(weights.values()), list(buffers.values()), alpha=-0.01)
        return members / (now(device) - started)

    return measure


def floor(members: int, settings: schema.Settings, device: torch.device) -> Contender:
    data = datamodule.open_data(settings.data, 0)
    inputs, outputs = sizes_of(data)
    sizes = [inputs, *settings.layer_sizes, outputs]
    weights = [torch.randn(members, a, b, device=device) for a, b in pairwise(sizes)]
    hidden = [torch.randn(members, data.examples_per_step, size, device=device) for size in sizes]

    def measure() -> float:
        started = now(device)
        for _ in range(data.sampling.steps(len(data.train))):
            for place, weight in enumerate(weights):
                torch.bmm(hidden[place], weight)
                torch.bmm(hidden[place].mT, hidden[place + 1])
                if place:
                    torch.bmm(hidden[place + 1], weight.mT)
        return members / (now(device) - started)

    return measure
