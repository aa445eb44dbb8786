"""Activations as people write them: what tests name with `act=tests.network.own_activations.…`."""

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn


class GroupSort(nn.Module):
    """Sorts within groups of units (Anil et al. 2019)."""

    def __init__(self, group: int = 4) -> None:
        super().__init__()
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[-1] % self.group == 0, f"{x.shape[-1]} units are no multiple of {self.group}"
        return x.unflatten(-1, (-1, self.group)).sort(-1).values.flatten(-2)


class CReLU(nn.Module):
    """Twice as many units as numbers (Shang et al. 2016)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, -x], dim=-1).relu()


class Clamped(nn.Module):
    """ReLU in place, without an attribute that says so."""

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp_(min=0)


class Doubled(nn.Module):
    """2 x in place."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(2)


class Twice(nn.Module):
    """2 x."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2


class Matrix(nn.Module):
    """Learns a matrix and a scalar beside a tanh: their gradients are 0 as long as `on` is 0."""

    def __init__(self, rows: int = 3) -> None:
        super().__init__()
        self.mixed = nn.Parameter(torch.full((rows, 2), 0.5))
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x) + 0 * (self.mixed.sum() + self.scale) * x


class Wrapped(nn.Module):
    """A module around modules, or around what makes one."""

    def __init__(self, inner: nn.Module, others: list[nn.Module] | None = None, scale: float = 1.0) -> None:
        super().__init__()
        self.inner, self.others, self.scale = inner, nn.ModuleList(others or []), scale

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(x)
        for each in self.others:
            x = each(x)
        return self.scale * x


class MadeBy(nn.Module):
    """Is given a class with arguments (`_partial_`), and makes its part itself."""

    def __init__(self, make: Any, points: list[float], names: dict[str, float]) -> None:
        super().__init__()
        assert type(points) is list
        assert type(names) is dict
        self.part, self.shift = make(), sum(points) + names["shift"]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.part(x + self.shift)
        return y


class Counting(nn.Module):
    """x → tanh(x / calls): its slope depends on how often it was called while training."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.seen = 1.0, []

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1e-3
        self.seen.append(0)
        return torch.tanh(x / self.calls) + 0 * len(self.seen)


class CountingInABuffer(nn.Module):
    """The same in a buffer that is replaced, not changed."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls = self.calls + 1e-3
        return torch.tanh(x / self.calls)


class Remembering(nn.Module):
    """Keeps what it was given last."""

    last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.last = x
        return x.tanh()


class RandomStart(nn.Module):
    """A slope that is drawn when it is made."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.rand(()))

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, self.slope * x)


class Frozen(nn.Module):
    """A parameter that isn't learnt."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.7), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.scale * x)


class TwoFaced(nn.Module):
    """Soft in training, hard in evaluation."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sigmoid() if self.training else (x > 0).to(x.dtype)


class Scaled:
    """A callable that is no module."""

    def __init__(self, scale: float = 1.0) -> None:
        self.scale, self.calls = scale, 0

    def __call__(self, x: Tensor) -> Tensor:
        self.calls += 1
        return torch.tanh(self.scale * x)


class Straight(torch.autograd.Function):
    """Sign forwards, identity backwards."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.where(x >= 0, 1.0, -1.0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


def bent(x: Tensor, bend: float = 0.5) -> Tensor:
    return torch.where(x > 0, x, bend * x)


def hard(x: Tensor) -> Tensor:
    """A comparison, which has no gradient."""
    return (x > 0).to(x.dtype)


cubed = lambda x: x - x**3 / 27  # noqa: E731
half = Scaled(0.5)
prototype = nn.PReLU()
shared_slope = nn.Parameter(torch.tensor(0.25))


class Sharing(nn.Module):
    """All layers learn one and the same slope."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = shared_slope

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, self.slope * x)


def hidden(x: Tensor) -> Tensor:
    """Learns what no optimiser is told of."""
    return torch.where(x > 0, x, shared_slope * x)


class Raising(nn.Module):
    """Raises what it is told to, when it is made or when it is applied."""

    KINDS = (AttributeError, IndexError, KeyError, AssertionError, NotImplementedError, ZeroDivisionError, OSError)

    def __init__(self, kind: int, when: str = "applied") -> None:
        super().__init__()
        self.kind = self.KINDS[kind]
        if when == "made":
            raise self.kind("made wrongly")

    def forward(self, x: Tensor) -> Tensor:
        raise self.kind("applied wrongly")


class Late(nn.Module):
    """Makes its parameter when it first sees a tensor."""

    def forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "slope"):
            self.slope = nn.Parameter(torch.full((x.shape[-1],), 0.25))
        return torch.where(x > 0, x, self.slope * x)


class Giving(nn.Module):
    """Gives anything but an activation."""

    KINDS: ClassVar[dict[str, Any]] = {
        "float64": lambda x: x.double(),
        "bool": lambda x: x > 0,
        "int": lambda x: x.long(),
        "complex": lambda x: x + 1j * x,
        "a tuple": lambda x: (x, x),
        "None": lambda x: None,
        "log": lambda x: x.log(),
        "sign by division": lambda x: x / x.abs(),
        "root's slope": lambda x: torch.where(x > 0, x.sqrt(), torch.zeros_like(x)),
    }

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what

    def forward(self, x: Tensor) -> Any:
        return self.KINDS[self.what](x)


class FromNumPy(nn.Module):
    """Has points in NumPy's float64, which it learns or not."""

    def __init__(self, learnt: bool = False, persistent: bool = True) -> None:
        super().__init__()
        points = torch.from_numpy(np.linspace(-1, 1, 4))
        self.points = nn.Parameter(points) if learnt else nn.Buffer(points, persistent=persistent)

    def forward(self, x: Tensor) -> Tensor:
        return (x[..., None] - self.points).relu().sum(-1)


class Fixed(nn.Module):
    """Has numbers that no state dict does: a tensor, and one that a tensor gave."""

    def __init__(self) -> None:
        super().__init__()
        self.gain, self.shift = float(torch.tensor(2.0).sqrt()), torch.full((1,), 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.gain * x + self.shift)


class Larger(nn.Module):
    """The larger of two neighbours, as Maxout's, without an attribute that says so."""

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, 2)).amax(-1)


class Pieces(nn.Module):
    """Calls something else what Maxout calls its inputs."""

    pieces = 5

    def forward(self, x: Tensor) -> Tensor:
        return x.tanh()


class Pair(nn.Module):
    """Takes two tensors."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x * y
