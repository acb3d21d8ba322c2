"""Where numbers come from: digests of code and files, versions, platform; nothing private.

This module knows how to describe code and machine; it never records the host's name, the user or
an absolute path.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.base.files import file_sha256

_ROOT = Path(__file__).resolve().parents[2]
MEASURING = (
    "defenses",
    "iqa_models",
    "bench/datasets",
    "bench/measure",
    "bench/records/schema.py",
)
"""What a record's numbers depend on.  Reports, progress and the command line are left out, so a
better figure does not make measured records stale."""

_PACKAGES = (
    "certified-iqa-bench",
    "torch",
    "numpy",
    "scipy",
    "pandas",
    "pyarrow",
    "joblib",
    "pydantic",
    "scikit-image",
    "pillow",
    "pyiqa",
    "timm",
)


def code_sha256(root: Path = _ROOT, parts: Iterable[str] = MEASURING) -> str:
    """Digest of the code and shipped weights that records depend on.

    >>> len(code_sha256())
    64
    """
    digest = hashlib.sha256()
    for path in sorted(file for part in parts for file in _files(root / part)):
        digest.update(f"{path.relative_to(root).as_posix()}\0{file_sha256(path)}\n".encode())
    return digest.hexdigest()


def _files(place: Path) -> Iterator[Path]:
    """The file itself, or all files below a folder that are part of the package."""
    if place.is_file():
        yield place
        return
    for path in place.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith("."):
            yield path


def weights_sha256(root: Path = _ROOT) -> dict[str, str]:
    """Digest of every shipped weights file, by name."""
    found = [
        path
        for package in ("defenses", "iqa_models")
        for path in sorted((root / package / "weights").glob("*.safetensors"))
    ]
    return {path.name: file_sha256(path) for path in found}


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def describe_machine() -> dict[str, Any]:
    """Versions and platform, without anything that names the machine or its user."""
    return {
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "system": platform.system(),
        "release": platform.release().split("-")[0],
        "machine": platform.machine(),
        "cores": cores(),
        "packages": {name: found for name in _PACKAGES if (found := version(name))},
    }


def processor(listing: Path = Path("/proc/cpuinfo")) -> str:
    """What the processor calls itself: kinds of processors round differently.

    Args:
        listing: Where Linux tells it; other systems say it, or less, themselves.
    """
    try:
        lines = listing.read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def cores() -> int:
    """Processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def version(name: str) -> str | None:
    """Installed version of a package, None if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def dotted(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested mappings as dotted names.

    >>> dict(dotted({"a": {"b": 1}, "c": [1]}))
    {'a.b': 1, 'c': [1]}
    """
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
