"""The paper's printed numbers.

This module reads them; it must not know what this project measured.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

MINUS = "\N{MINUS SIGN}"
_MILLISECONDS_BELOW = 0.1


@dataclass(frozen=True, slots=True)
class Published:
    """Numbers of Tables 1-2 and of the text, with their source."""

    source: str
    content: dict[str, Any]

    def correlation(self, metric: str, mode: str, defense: str, sigma: float) -> float | None:
        """Published mean SRCC or PLCC; None where the paper has none."""
        values = self.content.get(mode, {}).get(defense, {}).get(metric)
        if values is None or sigma not in self.content["sigmas"]:
            return None
        return float(values[self.content["sigmas"].index(sigma)])

    def seconds(self, mode: str, defense: str, *, certified: bool) -> float | None:
        """Published seconds per image."""
        values = self.content.get(mode, {}).get(defense, {}).get("seconds")
        return None if values is None else float(values[0 if certified else 1])

    def pair(self, mode: str, defense: str, sigma: float) -> str:
        """SRCC and PLCC as the paper prints them; empty where it has none."""
        values = (self.correlation(metric, mode, defense, sigma) for metric in ("srcc", "plcc"))
        return " / ".join(f"{v:.2f}".replace("-", MINUS) for v in values if v is not None)

    def time(self, mode: str, defense: str, *, certified: bool) -> str:
        """Seconds as the paper prints them, small ones in milliseconds; empty where it has none."""
        value = self.seconds(mode, defense, certified=certified)
        if value is None:
            return ""
        return f"{value:.1f}" if value >= _MILLISECONDS_BELOW else f"{1000 * value:g} ms"

    def claim(self, name: str) -> float:
        """A number that the paper's text claims, as a share."""
        return float(self.content["claims"][name])


@lru_cache(maxsize=1)
def published() -> Published:
    """The numbers shipped with this package."""
    text = resources.files("bench.analysis").joinpath("published.toml").read_text("utf-8")
    content = tomllib.loads(text)
    return Published(source=content["source"], content=content)
