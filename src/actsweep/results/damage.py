"""Is what a `result.json` holds a run's summary? Somebody may have edited it.

Flow: around **results**.
"""

from collections.abc import Mapping
from typing import Any

ENDINGS = ("completed", "diverged", "failed")
# What nothing can be told of a run without: of each, and of one that has been tested.
ASKED: dict[str, Any] = {
    "name": str, "act": str, "seed": int, "depth": int, "hidden_sizes": list, "config": dict
}  # fmt: skip
FOUND: dict[str, Any] = {"epochs": int, "classes": int, "test_accuracy": float | int | None}
SECTIONS = ("act", "atlas", "data", "data.source", "diagnostics")  # of its configuration, where it says them


def fault(result: Mapping[str, Any]) -> str | None:
    """Why a result can't be a run's summary, such as a key that was lost when somebody edited it; None if it can."""
    if result["status"] not in ENDINGS:
        return f"status={result['status']}: must be one of {', '.join(ENDINGS)}"
    kinds = ASKED if result["status"] == "failed" else ASKED | FOUND
    wrong = [key for key, kind in kinds.items() if not isinstance(result.get(key, ...), kind)]
    wrong = wrong or [f"config.{key}" for key in SECTIONS if not _is_section(result["config"], key)]
    return f"{', '.join(wrong)}: missing, or no such value" if wrong else None


def _is_section(found: Any, key: str) -> bool:
    """Whether a dotted key is not said, or holds keys."""
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else found
    return not found or isinstance(found, Mapping)
