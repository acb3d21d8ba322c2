"""Measured speed of earlier runs, for the estimate that ``plan`` prints.

This module reads what runs noted of themselves; it must not know how it was measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def load_rates(results: Path, *, edition: str, device: str) -> dict[str, float]:
    """Seconds per forward pass of each stage, from the latest run of this kind.

    Args:
        results: Folder of all runs.
        edition: Edition of the models.
        device: Device type.
    """
    rates: dict[str, float] = {}
    files = sorted(results.glob("*/run.json"), key=lambda file: file.stat().st_mtime)
    for noted in map(_noted, files):
        if (noted.get("edition"), noted.get("device_type")) == (edition, device):
            rates.update(_numbers(noted.get("rates")))
    return rates


def _noted(file: Path) -> Mapping[str, Any]:
    """What a run noted; a file that cannot be read is as good as none, for an estimate."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _numbers(content: object) -> dict[str, float]:
    """The positive numbers of a mapping."""
    pairs = content.items() if isinstance(content, dict) else ()
    return {str(k): float(v) for k, v in pairs if isinstance(v, int | float) and v > 0}
