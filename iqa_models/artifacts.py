"""Which files the published edition is made of, and where they lie on this machine.

This module reads a table and looks at folders; it never touches the network (that is
``python -m bench prefetch``) and never opens a weights file.  Files are looked for in

1. ``BENCH_WEIGHTS``: a folder, or a TOML file that maps artifact names to local files;
2. the cache folder: ``BENCH_CACHE``, else the user's.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from iqa_models.folders import cache_folder
from iqa_models.names import unknown_name
from iqa_models.weights import WeightsError

SUFFIXES = (".safetensors", ".pth", ".pt", ".h5")
"""Endings under which a given folder may hold ``<artifact name><ending>``."""
METRIC = "pyiqa-"
"""How names of pyiqa metrics' files begin."""
SUMS = "SHA256SUMS"
"""Hashes of the files of a folder: given with them, or recorded where nobody publishes any."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """One downloadable (or locally made) file; see ``artifacts.toml`` for the fields."""

    name: str
    file: str
    urls: tuple[str, ...]
    licence: str
    needed_by: tuple[str, ...]
    sha256: str | None = None
    megabytes: float | None = None
    archive: bool = False
    note: str = ""
    random: bool = False
    fallback: str | None = None

    @property
    def stored_as(self) -> str:
        """File name in the cache, or folder name for an unpacked archive."""
        return self.name if self.archive else self.file


@dataclass(frozen=True, slots=True)
class Located:
    """An artifact on this machine.

    Attributes:
        artifact: Which one.
        path: Its file, or its folder if it is an unpacked archive.
        sha256: What the file's hash must begin with, where anybody has said so.
    """

    artifact: Artifact
    path: Path
    sha256: str | None


def artifacts() -> Mapping[str, Artifact]:
    """The table of ``artifacts.toml``, by name; rows of ``BENCH_ARTIFACTS`` replace its own.

    Raises:
        WeightsError: That file is not such a table.
    """
    return _table(os.environ.get("BENCH_ARTIFACTS") or None)


@cache
def _table(other: str | None) -> Mapping[str, Artifact]:
    text = (files("iqa_models") / "artifacts.toml").read_text(encoding="utf-8")
    table = {row["name"]: _artifact(row) for row in tomllib.loads(text)["artifact"]}
    if other is None:
        return table
    try:
        rows = tomllib.loads(Path(other).expanduser().read_text(encoding="utf-8"))["artifact"]
        return table | {row["name"]: _artifact(row) for row in rows}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise WeightsError(
            f"BENCH_ARTIFACTS={other}: expected a table like iqa_models/artifacts.toml, "
            f"found a mistake: {error}."
        ) from error


def _artifact(row: Mapping[str, Any]) -> Artifact:
    lists = {key: tuple(row[key]) for key in ("urls", "needed_by")}
    return Artifact(**{**row, **lists})


def artifact(name: str) -> Artifact:
    """One artifact.

    Raises:
        WeightsError: There is none of this name.
    """
    table = artifacts()
    if name not in table and name.startswith(METRIC):
        return metric_artifact(name)
    if name not in table:
        raise WeightsError(unknown_name("artifact", name, table))
    return table[name]


def metric_artifact(name: str) -> Artifact:
    """The file of a pyiqa metric that no table knows: its network's whole state."""
    return Artifact(
        name,
        f"{name}.pth",
        (),
        "pyiqa's weights: CC-BY-NC-SA-4.0",
        (),
        note=f"is the state of the metric's network: python -m bench prefetch --models "
        f"{name.replace('-', ':', 1)} gets it where pyiqa has one file, else see docs/weights.md",
    )


def needed_by(names: Iterable[str]) -> list[Artifact]:
    """What the default variants of some models, and some data sets, are made of."""
    wanted = set(names)
    return [entry for entry in artifacts().values() if wanted & set(entry.needed_by)]


def artifact_folder() -> Path:
    """Where downloaded artifacts are kept."""
    return cache_folder() / "artifacts"


@dataclass(frozen=True, slots=True)
class Shelf:
    """The files of this machine.

    Attributes:
        cache: Folder that ``prefetch`` fills.
        given: What ``BENCH_WEIGHTS`` names; a set one is never added to.
        mapped: Files of a TOML mapping, by artifact name.
        variants: Variant to build, by model name, as the mapping says.
    """

    cache: Path
    given: Path | None = None
    mapped: Mapping[str, Located] = field(default_factory=dict)
    variants: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def open(cls, given: str | Path | None = None) -> Shelf:
        """Read what the environment, or the caller, names.

        Args:
            given: A folder or a TOML mapping; ``None`` takes ``BENCH_WEIGHTS`` if that is set.

        Raises:
            WeightsError: The folder or mapping is not there or not valid.
        """
        chosen = given or os.environ.get("BENCH_WEIGHTS") or None
        where = artifact_folder()
        if chosen is None:
            return cls(where)
        path = Path(chosen).expanduser()
        if path.is_dir():
            return cls(where, path, _folder(path))
        if path.suffix != ".toml" or not path.is_file():
            raise WeightsError(
                f"BENCH_WEIGHTS={chosen}: expected a folder or a TOML file, found neither."
            )
        settings = _read_toml(path)
        return cls(where, path, _mapping(path, settings), dict(settings.get("variants", {})))

    def find(self, name: str) -> Located | None:
        """Where an artifact lies, or ``None``."""
        entry = artifact(name)
        if name in self.mapped:
            return self.mapped[name]
        path = self.cache / entry.stored_as
        exists = path.is_dir() if entry.archive else path.is_file()
        if not exists:
            return None
        return Located(entry, path, None if entry.archive else self.hash_of(entry))

    def hash_of(self, entry: Artifact) -> str | None:
        """What an artifact's file must hash to: as published, or as at its first download."""
        return entry.sha256 or _sums(self.cache / SUMS).get(entry.file)

    def missing(self, names: Iterable[str]) -> list[str]:
        """Those of some artifacts that are not on this machine."""
        return [name for name in names if self.find(name) is None]


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise WeightsError(f"{path}: expected TOML, found a mistake: {error}.") from error
    extra = sorted(set(settings) - {"weights", "variants"})
    if extra or not isinstance(settings.get("weights"), dict):
        found = ", ".join(extra) or "no such table"
        raise WeightsError(f"{path}: expected tables [weights] and [variants], found {found}.")
    return settings


def _mapping(source: Path, settings: Mapping[str, Any]) -> dict[str, Located]:
    """Artifact name -> ``"file"`` or ``{file = "...", sha256 = "..."}``, relative to the TOML."""
    mapped = {}
    for name, value in settings["weights"].items():
        entry = artifact(name)
        row = value if isinstance(value, dict) else {"file": value}
        if not isinstance(row.get("file"), str) or set(row) - {"file", "sha256"}:
            raise WeightsError(f"{source}: {name}: expected a file name, found {value!r}.")
        path = (source.parent / Path(row["file"]).expanduser()).resolve()
        if not (path.is_dir() if entry.archive else path.is_file()):
            kind = "folder" if entry.archive else "file"
            raise WeightsError(f"{source}: {name}: expected the {kind} {path}, found none.")
        mapped[name] = Located(entry, path, row.get("sha256") or _published_hash(entry, path))
    return mapped


def _folder(folder: Path) -> dict[str, Located]:
    """Artifacts that a folder holds under their own or their official file name."""
    sums = _sums(folder / SUMS)
    mapped = {}
    metrics = {path.stem for path in folder.glob(f"{METRIC}*") if path.suffix in SUFFIXES}
    for entry in [*artifacts().values(), *map(artifact, sorted(metrics))]:
        names = [entry.stored_as, *(entry.name + suffix for suffix in SUFFIXES)]
        for path in (folder / name for name in names):
            if path.is_dir() if entry.archive else path.is_file():
                expected = sums.get(path.name) or _published_hash(entry, path)
                mapped[entry.name] = Located(entry, path, expected)
                break
    return mapped


def _published_hash(entry: Artifact, path: Path) -> str | None:
    """The published hash counts for the official file only, not for a converted copy."""
    return entry.sha256 if path.name == entry.file else None


def _sums(path: Path) -> dict[str, str]:
    """File name -> hash of a ``SHA256SUMS`` file, if there is one."""
    if not path.is_file():
        return {}
    pairs = (line.split(maxsplit=1) for line in path.read_text(encoding="utf-8").splitlines())
    return {pair[1].lstrip("*"): pair[0] for pair in pairs if len(pair) == 2}


def record_sum(folder: Path, file: str, sha256: str) -> None:
    """Note what a file hashed to when it first came, in a form that ``sha256sum -c`` reads."""
    known = _sums(folder / SUMS)
    lines = [f"{digest}  {name}\n" for name, digest in sorted({**known, file: sha256}.items())]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")
