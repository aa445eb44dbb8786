"""What `trainer.precision=auto` means here: bf16-mixed where products are faster in it, and make up most of a step."""

from functools import cache
from pathlib import Path

from actsweep.config.schema import Settings

LARGE = 128  # units of a layer, from which on casts cost less than products in bfloat16 save


@cache
def _has_fast_bf16(accelerator: str) -> str | None:
    """What computes fast in bfloat16. AVX-512's instructions don't: products are 0.6 times as fast."""
    import torch

    if accelerator != "cpu" and torch.cuda.is_available():
        return torch.cuda.get_device_name() if torch.cuda.is_bf16_supported(including_emulation=False) else None
    try:
        return "AMX" if " amx_bf16" in Path("/proc/cpuinfo").read_text(encoding="utf-8") else None
    except OSError:
        return None


@cache
def _say(chosen: str, why: str) -> None:
    print(f"trainer.precision=auto: {chosen}, {why}", flush=True)


def resolved(settings: Settings) -> Settings:
    """The settings with a precision in place of `auto`; says once which one, and why."""
    if settings.trainer.precision != "auto":
        return settings
    fast, largest = _has_fast_bf16(settings.trainer.accelerator), max(settings.layer_sizes, default=0)
    chosen = "bf16-mixed" if fast and largest >= LARGE else "32-true"
    small = f"layers of at most {largest} units are too small for bf16"
    _say(chosen, (f"by {fast}" if largest >= LARGE else small) if fast else "nothing here is faster in bf16")
    return settings.model_copy(update={"trainer": settings.trainer.model_copy(update={"precision": chosen})})
