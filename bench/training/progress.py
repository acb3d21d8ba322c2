"""A training that can be cut at any moment and goes on after its last whole epoch.

It knows files, states and what is noted of a training; it must not know what is trained.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from bench.base.cache import content_key
from bench.base.files import write_atomically
from iqa_models.folders import cache_folder


@dataclass(frozen=True, slots=True)
class Resumable:
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


def state_folder(name: str, **recipe: Any) -> Path:
    """Where the unfinished trainings of one recipe keep their states."""
    key = content_key(torch=version("torch"), **recipe)
    return cache_folder() / "training" / f"{name}-{key[:16]}"


def note_provenance(folder: Path, kind: str, entries: Mapping[str, Any], **facts: Any) -> None:
    """Put entries of a kind, and facts of all of them, into the provenance beside weights."""
    path = folder / "provenance.json"
    record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    record |= {**facts, kind: {**record.get(kind, {}), **entries}}
    path.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
