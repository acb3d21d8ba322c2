"""Content-keyed cache of what is expensive to make: arrays, and trained parts with their notes.

This module knows keys, files and atomic writes; it must not know how the content is made.  A file
appears only complete (written aside, then renamed), so two processes never see half of one; an
array is checked by its digest whenever it is opened, and made again where it is damaged.
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

from bench.base.files import file_sha256, write_atomically, write_json

Bytes = NDArray[np.uint8]


# --- keys ---------------------------------------------------------------------------------------


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


# --- arrays -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stored:
    """An array and the digest of its content.

    Attributes:
        array: Any shape, read-only and memory-mapped.
        sha256: Digest of its shape and bytes.
    """

    array: NDArray[Any]
    sha256: str


def digest(array: NDArray[Any]) -> str:
    """Digest of an array's shape and bytes."""
    found = hashlib.sha256(json.dumps(list(array.shape)).encode())
    found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def stored(folder: Path, name: str, key: str, make: Callable[[], NDArray[Any]]) -> Stored:
    """Open a stored array, making it first where it is missing or damaged.

    Safe with several processes: each writes its own temporary file and moves it into place,
    and all of them make the same bytes.

    Args:
        folder: Where the files lie; created if missing.
        name: Readable beginning of the file names.
        key: Digest of everything the content depends on.
        make: Builds the array.
    """
    stem = f"{name}-{key[:16]}"
    found = _opened(folder, stem, key)
    if found is not None:
        return found
    array = make()
    sha256 = digest(array)
    path = folder / f"{stem}.npy"
    write_atomically(path, lambda part: _write_array(part, array))
    manifest = {"name": name, "key": key, "sha256": sha256, "shape": list(array.shape)}
    write_json(folder / f"{stem}.json", manifest)
    return Stored(np.load(path, mmap_mode="r", allow_pickle=False), sha256)


def _opened(folder: Path, stem: str, key: str) -> Stored | None:
    """The stored array if it is there and whole, else None."""
    try:
        manifest = json.loads((folder / f"{stem}.json").read_text(encoding="utf-8"))
        array = np.load(folder / f"{stem}.npy", mmap_mode="r", allow_pickle=False)
        whole = manifest["key"] == key and manifest["sha256"] == digest(array)
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None
    return Stored(array, str(manifest["sha256"])) if whole else None


# --- the user's cache ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cache:
    """Features, words, trained parts and unfinished trainings under one folder."""

    folder: Path

    def array(self, key: str, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """The array stored under ``key``, memory-mapped; made where it is missing or damaged."""
        return stored(self.folder / "arrays", "array", key, make).array

    def text(self, key: str, make: Callable[[], str]) -> str:
        """The words stored under ``key``; made where they are missing or damaged."""
        path = self.folder / "texts" / f"{key}.json"
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept["key"] == key and isinstance(kept["text"], str):
                return str(kept["text"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        text = make()
        write_json(path, {"key": key, "text": text})
        return text

    def state_path(self, key: str) -> Path:
        """Where the trained part of ``key`` is or will be."""
        return self.folder / "parts" / f"{key}.safetensors"

    def checkpoint_path(self, key: str, phase: str) -> Path:
        """Where the unfinished training of ``key`` keeps the state of one of its phases."""
        return self.folder / "checkpoints" / f"{key}-{phase}.pt"

    def save_state(self, key: str, state: Mapping[str, Any], notes: Mapping[str, Any]) -> Path:
        """Store a trained part and its notes (curves, seconds); returns the weights file."""
        from safetensors.torch import save

        path = self.state_path(key)
        tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
        content = save(tensors)
        # Notes first: whoever finds the weights also finds how they were made.
        known = {**notes, "sha256": hashlib.sha256(content).hexdigest()}
        write_json(path.with_suffix(".json"), known)
        write_atomically(path, lambda part: part.write_bytes(content))
        return path

    def whole(self, key: str) -> bool:
        """Whether a trained part and its notes are there as they were stored."""
        path = self.state_path(key)
        try:
            return path.is_file() and self.notes(key)["sha256"] == file_sha256(path)
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def notes(self, key: str) -> dict[str, Any]:
        """What was stored beside a trained part."""
        loaded: dict[str, Any] = json.loads(self.state_path(key).with_suffix(".json").read_text())
        return loaded


def _write_array(path: Path, values: NDArray[Any]) -> None:
    with path.open("wb") as stream:  # given a path, numpy would append its suffix
        np.save(stream, values, allow_pickle=False)
