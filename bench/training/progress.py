"""A training that can be cut at any moment and goes on after its last whole epoch.

It knows files and states; it must not know what is trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.base.files import write_atomically


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the state of one training lies, and what it consists of.

    Attributes:
        path: the file; its name has a digest of everything the training depends on.
        parts: what is put back: networks, optimisers and schedules.
    """

    path: Path
    parts: Mapping[str, Any]

    def load(self) -> dict[str, Any]:
        """Put the parts back; returns the notes of the last whole epoch, none for a fresh start."""
        if not self.path.exists():
            return {}
        stored = torch.load(self.path, weights_only=True)
        for name, part in self.parts.items():
            part.load_state_dict(stored["parts"][name])
        return dict(stored["notes"])

    def save(self, notes: Mapping[str, Any]) -> None:
        """Keep the parts and what is to be known about them (numbers, lists, tensors)."""
        states = {name: part.state_dict() for name, part in self.parts.items()}
        stored = {"parts": states, "notes": dict(notes)}
        write_atomically(self.path, lambda part: torch.save(stored, part))
