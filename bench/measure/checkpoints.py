"""Checkpoints of a long training, in the cache under the key of the part that is being trained.

This module knows files and when to write them; it must not know what a state holds.  The key is the
part's content key, so a checkpoint can only be continued with the same data, settings and code.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from bench.base.cache import Cache
from bench.base.files import write_atomically

EVERY = 20.0
"""Seconds between two states: an epoch on images takes longer, so each is kept; one on cached
features takes less than writing its state would."""


@dataclass
class CachedCheckpoints:
    """Fulfils ``defenses.base.Checkpoints``.

    Attributes:
        store: Where files lie.
        key: Content key of the part.
        every: Least seconds between two states.
    """

    store: Cache
    key: str
    every: float = EVERY
    _last: float = field(default_factory=time.monotonic)

    def load(self, phase: str) -> Mapping[str, Any] | None:
        """The kept state; an unreadable one counts as none, so that training starts over."""
        path = self.store.checkpoint_path(self.key, phase)
        if not path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, OSError, ValueError, pickle.UnpicklingError):
            return None
        return state

    def save(self, phase: str, state: Callable[[], Mapping[str, Any]]) -> None:
        """Write the state if the last one is old enough."""
        if time.monotonic() - self._last < self.every:
            return
        path = self.store.checkpoint_path(self.key, phase)
        write_atomically(path, lambda part: torch.save(dict(state()), part))
        self._last = time.monotonic()

    def clear(self) -> None:
        """Remove every phase's state: the part is trained."""
        for path in self.store.checkpoint_path(self.key, "any").parent.glob(f"{self.key}-*.pt"):
            path.unlink(missing_ok=True)
