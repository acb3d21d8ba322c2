"""Measured speed of earlier runs on this machine, for the estimate that ``plan`` prints."""

from __future__ import annotations

import json
from pathlib import Path

from bench.cache import default_cache, write_atomically


def _file() -> Path:
    return default_cache() / "rates.json"


def _read() -> dict[str, float]:
    """All rates; a file that cannot be read is as good as none, for an estimate."""
    try:
        content = json.loads(_file().read_text(encoding="utf-8"))
        return {str(name): float(value) for name, value in content.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def load_rates(*, edition: str, device: str) -> dict[str, float]:
    """Seconds per forward pass of each stage that was measured before."""
    prefix = f"{edition}/{device}/"
    return {k.removeprefix(prefix): v for k, v in _read().items() if k.startswith(prefix)}


def save_rate(stage: str, rate: float, *, edition: str, device: str) -> None:
    """Remember a stage's seconds per forward pass; an estimate is not worth an error."""
    rates = {**_read(), f"{edition}/{device}/{stage}": rate}
    text = json.dumps(rates, indent=1, sort_keys=True)

    def fill(part: Path) -> None:
        part.write_text(text, encoding="utf-8")

    try:
        write_atomically(_file(), fill)
    except OSError:
        return
