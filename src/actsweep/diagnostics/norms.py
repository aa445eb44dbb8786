"""Euclidean norms of what may have vanished or exploded.

Flow: **diagnostics**. Squares of float32 leave its range long before the numbers do: below 1e-19 and above 1e19.
"""

import torch
from torch import Tensor
from torch.linalg import vector_norm

SAFE = 2.0**-40, 2.0**60  # between these, the squares that make up a norm of a million numbers are in range


def norm(values: Tensor) -> Tensor:
    """Of each row's numbers: (K, …) → (K,), as `Tensor.norm` has it, but of halves float32."""
    each = values.flatten(1)
    each = each if each.dtype.itemsize > 2 else each.float()
    found = each.norm(dim=1)
    if ((found >= SAFE[0]) & (found <= SAFE[1])).all():
        return found
    exact = vector_norm(each.cpu(), dim=1, dtype=torch.float64)  # which not every device has
    return exact.to(each.device, found.dtype)
