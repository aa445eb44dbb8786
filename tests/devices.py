"""Where tests of a GPU run: there, or, with ACTSWEEP_GPU_TESTS=cpu, all that a CPU can do of them, as a trial."""

import os

import pytest
import torch

HAS_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda", 0) if HAS_GPU else torch.device("cpu")
needs_a_gpu = pytest.mark.skipif(
    not HAS_GPU and os.environ.get("ACTSWEEP_GPU_TESTS") != "cpu", reason="there is no GPU here"
)
