"""Is an activation a function of one number, so that it has a slope? Found out by applying it.

Softmax, sorting within groups, Maxout and gated units are not: what is defined by the slope (dead and saturated units,
the curve) says nothing of them.
"""

from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

EXAMPLES = 16

_known: WeakKeyDictionary[nn.Module, dict[tuple[bool, int], bool]] = WeakKeyDictionary()


def is_elementwise(activation: nn.Module, like: Tensor) -> bool:
    """Whether each number that comes out depends on the one that came in at its place alone, for inputs (N, H, …) such
    as `like`; as the module is now, in training or in evaluation. Tried once.

    >>> [is_elementwise(each, torch.zeros(1, 4)) for each in (nn.Tanh(), nn.PReLU(4), nn.Softmax(-1), nn.GLU())]
    [True, True, False, False]
    """
    found = _known.setdefault(activation, {})
    key = activation.training, like.shape[1]
    if key not in found:
        found[key] = _try(activation, like)
    return found[key]


@torch.no_grad()
def _try(activation: nn.Module, like: Tensor) -> bool:
    """Hold some numbers while the others grow threefold: those held must give the same, but for rounding, which may
    depend on a vector's neighbours.

    No number changes its sign: functions with a random part then draw the same for each.
    """
    generator = torch.Generator().manual_seed(0)
    shape = (EXAMPLES, *like.shape[1:])
    x = torch.randn(shape, generator=generator).to(like)
    held = (torch.rand(shape, generator=generator) < 0.5).to(like.device)

    def apply(x: Tensor) -> Tensor:
        with torch.random.fork_rng(devices=[like.device] if like.is_cuda else []):
            y: Tensor = activation(x.clone())
        return y

    try:
        y = apply(x)
        for those in (held, ~held):
            torch.testing.assert_close(apply(torch.where(those, x, 3 * x))[those], y[those], equal_nan=True)
        return y.shape == x.shape
    except Exception:  # a forward may raise anything: it was not made for this shape
        return False
