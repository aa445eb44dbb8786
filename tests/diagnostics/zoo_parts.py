"""What the networks of tests/diagnostics/zoo.py are made of."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import MobileNetV2, ResNet
from torchvision.models.resnet import BasicBlock
from torchvision.models.vgg import make_layers

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Entry:
    """`follows`: by layer the activation as a formula, None where none follows. `unwatched`: layers of which no
    activation can be seen. What is in neither isn't asked about."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...] = (4,)  # of one example
    follows: Mapping[str, Function | None] = field(default_factory=dict)
    unwatched: tuple[str, ...] = ()
    words: int = 0  # inputs are numbers of words below that


class Of(nn.Module):
    """Parts and a forward, given as a function of the module and its input."""

    def __init__(self, forward: Callable[[Any, Tensor], Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.apply_to = forward
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.apply_to(self, x)


def two(function: Function) -> nn.Module:
    """Two linear layers with a function between them."""
    return Of(lambda self, x: self.b(function(self.a(x))), a=nn.Linear(4, 6), b=nn.Linear(6, 3))


class Own(nn.Module):
    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def swish(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


def gelu_by_hand(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(0.79788456 * (x + 0.044715 * x**3)))


def sorted_in_pairs(x: Tensor) -> Tensor:
    return x.unflatten(-1, (-1, 2)).sort(dim=-1).values.flatten(-2)


def masked_in_place(x: Tensor) -> Tensor:
    x = x.clone()
    x[x < 0] = 0
    return x


class StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.sign(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


class Raw(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Parameter(torch.randn(4, 6)), nn.Parameter(torch.randn(6, 3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x @ self.first) @ self.second


class Lora(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(4, 6)
        self.base.requires_grad_(requires_grad=False)
        self.down, self.up = nn.Parameter(torch.randn(2, 4)), nn.Parameter(torch.randn(6, 2))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.base.weight + self.up @ self.down, self.base.bias)


def routed(self: Any, x: Tensor) -> Tensor:
    """Each example to one of two experts."""
    h = torch.relu(self.a(x))
    to_second = self.router(x).argmax(dim=1) == 1
    out = torch.zeros(len(x), 3)
    out[~to_second] = self.one(h[~to_second])
    out[to_second] = self.two(h[to_second])
    return out * self.router(x).softmax(dim=1).amax(dim=1, keepdim=True)


def tied(self: Any, x: Tensor) -> Tensor:
    decoded: Tensor = F.linear(torch.relu(self.encoder(x)), self.encoder.weight.t())
    return torch.sigmoid(decoded)


def unet(self: Any, x: Tensor) -> Tensor:
    first = F.relu(self.down(x))
    second = F.relu(self.bottom(F.max_pool2d(first, 2)))
    both = torch.cat([first, self.up(second)], dim=1)
    return self.out(both).mean(dim=(2, 3))


def unrolled(self: Any, x: Tensor) -> Tensor:
    h = torch.zeros(len(x), 5)
    for step in x.unbind(dim=1):
        h = torch.tanh(self.of_input(step) + self.of_state(h))
    return self.head(h)


def through_cell(self: Any, x: Tensor) -> Tensor:
    h, c = self.cell(x)
    return self.head(h + c)


def frozen() -> nn.Module:
    net = two(torch.relu)
    net.get_submodule("a").requires_grad_(requires_grad=False)
    return net


def quantisation_aware(self: Any, x: Tensor) -> Tensor:
    def rounded(values: Tensor) -> Tensor:
        return torch.fake_quantize_per_tensor_affine(values, 0.05, 0, -128, 127)

    return F.linear(torch.relu(F.linear(x, rounded(self.a.weight), self.a.bias)), rounded(self.b.weight), self.b.bias)


def normed(kind: Callable[[nn.Module], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(kind(nn.Linear(4, 6)), nn.ReLU(), nn.Linear(6, 3))


def resnet() -> nn.Module:
    net = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=3)
    net.layer2, net.layer3 = nn.Identity(), nn.Identity()  # type: ignore[assignment]
    net.layer4, net.fc = nn.Identity(), nn.Linear(64, 3)  # type: ignore[assignment]
    return net


def mobilenet() -> nn.Module:
    return MobileNetV2(num_classes=3, width_mult=0.1, inverted_residual_setting=[[1, 8, 1, 1], [2, 8, 2, 1]], dropout=0)


def vgg() -> nn.Module:
    features = make_layers([4, "M", 6], batch_norm=True)
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))


def transformer() -> nn.Module:
    return nn.TransformerEncoderLayer(8, 2, 12, dropout=0.1, batch_first=True)


def averaged(**parts: nn.Module) -> nn.Module:
    """Tokens to one output by their mean."""
    return Of(lambda self, x: self.head(self.body(x).mean(dim=1)), **parts)


def relu(x: Tensor) -> Tensor:
    return torch.relu(x)


def gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.erf(x / 2**0.5))


class Matrix(nn.Module):
    """A layer of somebody's own, whose weights have a name of their own."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(inputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.matrix


def rms_norm_by_hand(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


def layer_norm_by_hand(x: Tensor) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(((x - mean) ** 2).mean(-1, keepdim=True) + 1e-6)


def batch_norm_by_hand(x: Tensor) -> Tensor:
    return (x - x.mean(0)) / torch.sqrt(((x - x.mean(0)) ** 2).mean(0) + 1e-6)


def penalised(self: Any, x: Tensor) -> Tensor:
    """The square of what enters the ReLU is in the loss, and that of what leaves it."""
    h = self.a(x)
    penalty = h.square().mean()
    after = F.relu(h)
    return self.b(after) + penalty + after.square().mean()


def beside_inference(self: Any, x: Tensor) -> Tensor:
    with torch.inference_mode():
        wanted = self.teacher(x)
    return self.b(F.relu(self.a(x))) + wanted.clone()


def nested(self: Any, x: Tensor) -> Tensor:
    tokens = torch.nested.as_nested_tensor([x[:3], x[3:]], layout=torch.jagged)
    return self.b(F.relu(self.a(tokens))).values()


def in_many_steps(x: Tensor) -> Tensor:
    """More than Python calls deep."""
    for _ in range(1100):
        x = x + 1
    return x
