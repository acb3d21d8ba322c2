"""Arrays on disk that are made once: named by their key, written atomically, checked on opening."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.files import write_atomically

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Stored:
    """An array and the digest of its content.

    Attributes:
        array: uint8, any shape, read-only and memory-mapped.
        sha256: digest of the array's bytes.
    """

    array: Bytes
    sha256: str


def digest(array: Bytes) -> str:
    """Digest of an array's shape and bytes."""
    shape = json.dumps(list(array.shape)).encode()
    found = hashlib.sha256(shape)
    found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def stored(folder: Path, name: str, key: str, make: Callable[[], Bytes]) -> Stored:
    """Open a stored array, making it first where it is missing or damaged.

    Safe with several processes: each writes its own temporary file and moves it into place,
    and all of them make the same bytes.

    Args:
        folder: where the files lie; created if missing.
        name: readable beginning of the file names.
        key: digest of everything the content depends on.
        make: builds the array.

    Returns:
        The array, memory-mapped, and its digest.
    """
    stem = f"{name}-{key[:16]}"
    found = _open(folder, stem, key)
    if found is not None:
        return found
    folder.mkdir(parents=True, exist_ok=True)
    array = make()
    sha256 = digest(array)
    write_atomically(folder / f"{stem}.npy", lambda path: _write_array(path, array))
    manifest = {"name": name, "key": key, "sha256": sha256, "shape": list(array.shape)}
    text = json.dumps(manifest, indent=1) + "\n"
    write_atomically(folder / f"{stem}.json", lambda path: path.write_text(text, encoding="utf-8"))
    return _open(folder, stem, key) or Stored(array, sha256)


def _open(folder: Path, stem: str, key: str) -> Stored | None:
    """The stored array if it is there and whole, else None."""
    try:
        manifest = json.loads((folder / f"{stem}.json").read_text(encoding="utf-8"))
        array = np.load(folder / f"{stem}.npy", mmap_mode="r", allow_pickle=False)
        whole = manifest["key"] == key and manifest["sha256"] == digest(array)
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None
    return Stored(array, str(manifest["sha256"])) if whole else None


def _write_array(path: Path, array: Bytes) -> None:
    """Write in NumPy's own format."""
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)
