"""Files as a whole: written in one step or not at all, and known by their digest.

This module knows paths and bytes; it must not know what is in a file or who asks for it.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.base.errors import BenchError


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file in the same folder, then rename it into place.

    When this returns, content and name survive a crash of the machine.  The file gets the
    permissions of any new file of this process.

    Raises:
        BenchError: There is something else in the place of a folder.
    """
    _make_folder(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    part = Path(name)
    try:
        write(part)
        # Content before name: a name must never survive a crash without what it stands for.
        _sync(part)
        # mkstemp's own are for private files: colleagues share caches and results.
        part.chmod(0o666 & ~_umask())
        part.replace(path)
        sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text in one step."""
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))


def write_json(path: Path, content: object) -> None:
    """Write plain values in one step, the same text for equal ones."""
    write_text(path, json.dumps(content, indent=1, sort_keys=True) + "\n")


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """What is done inside needs a folder that can be written.

    Raises:
        BenchError: It cannot.
    """
    try:
        yield
    except OSError as error:
        raise BenchError(
            f"{folder}: expected a folder that can be written, found {error.strerror}."
        ) from error


def _make_folder(folder: Path) -> None:
    """The folder of a new file, e.g. of a cache that an environment variable names.

    Raises:
        BenchError: A file is in its place or above it, or nothing may be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise BenchError(
            f"{error.filename}: expected a folder, or nothing yet, found a file."
        ) from error
    except OSError as error:
        raise BenchError(
            f"{folder}: expected a folder that can be written, found: {error.strerror}."
        ) from error


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable (a no-op where folders cannot be opened)."""
    if os.name == "posix":
        _sync(folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    """The process's mask; there is no way to read it without setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def file_sha256(path: str | Path) -> str:
    """Digest of a file's content.

    Raises:
        BenchError: The file cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BenchError(f"{path}: expected a readable file, found {error.strerror}.") from error
