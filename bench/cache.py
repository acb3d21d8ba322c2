"""Content-keyed cache of what is expensive to make: trained parts and backbone features.

This module knows keys, files and atomic writes; it must not know how the content is made.  A file
appears only complete (written aside, then renamed), so two processes never see half of one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.files import write_atomically


def content_key(**parts: Any) -> str:
    """SHA-256 over the canonical JSON of the parts.

    >>> content_key(a=1, b="x") == content_key(b="x", a=1)
    True
    """
    text = json.dumps(parts, sort_keys=True, default=str, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def source_sha256(*modules: str) -> str:
    """SHA-256 of the source files of modules, so changed code never meets old content."""
    import importlib.util

    digest = hashlib.sha256()
    for name in sorted(set(modules)):
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            digest.update(Path(spec.origin).read_bytes())
        else:
            digest.update(name.encode())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Cache:
    """Two kinds of content under one folder: safetensors states and numpy arrays."""

    folder: Path

    def array(self, key: str, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """The array stored under ``key``, memory-mapped; made and stored if it is not there.

        Raises:
            BenchError: The stored file cannot be read.
        """
        path = self.folder / "arrays" / f"{key}.npy"
        if not path.exists():
            made = make()
            write_atomically(path, lambda part: _save_array(part, made))
        try:
            stored: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError) as error:
            raise BenchError(
                f"{path}: expected a numpy array, found {error}; delete the file to remake it."
            ) from error
        return stored

    def state_path(self, key: str) -> Path:
        """Where the trained part of ``key`` is or will be."""
        return self.folder / "parts" / f"{key}.safetensors"

    def checkpoint_path(self, key: str, phase: str) -> Path:
        """Where the unfinished training of ``key`` keeps the state of one of its phases."""
        return self.folder / "checkpoints" / f"{key}-{phase}.pt"

    def save_state(self, key: str, state: Mapping[str, Any], notes: Mapping[str, Any]) -> Path:
        """Store a trained part and its notes (curves, seconds); returns the weights file."""
        from safetensors.torch import save_file

        path = self.state_path(key)
        tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
        # Notes first: whoever finds the weights also finds how they were made.
        text = json.dumps(dict(notes), sort_keys=True)
        write_atomically(path.with_suffix(".json"), lambda part: _write_text(part, text))
        write_atomically(path, lambda part: save_file(tensors, part))
        return path

    def notes(self, key: str) -> dict[str, Any]:
        """What was stored beside a trained part."""
        loaded: dict[str, Any] = json.loads(self.state_path(key).with_suffix(".json").read_text())
        return loaded


def _save_array(path: Path, values: NDArray[Any]) -> None:
    with path.open("wb") as stream:
        np.save(stream, values, allow_pickle=False)


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
