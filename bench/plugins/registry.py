"""Finds defences, models and data sets: ours, installed packages', and single files.

This module knows names, origins and how to import; it must not know what a part does.  A part
that cannot be imported is kept aside with its traceback and hurts only those who ask for it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from bench.base.errors import BenchError, unknown, weights_asked_for
from bench.plugins.sources import digest, files_of_entry, files_of_file
from iqa_models.plugin import ENTRY_POINTS, METRICS

Kind = Literal["defense", "model", "dataset"]
GROUPS: Mapping[Kind, str] = {
    "defense": "certified_iqa_bench.defenses",
    "model": "certified_iqa_bench.iqa_models",
    "dataset": "certified_iqa_bench.datasets",
}
BUILT_IN: Mapping[Kind, Mapping[str, str]] = {
    "defense": {
        "rs-reg": "defenses.rs_reg:DEFENSE",
        "cert-reg": "defenses.cert_reg:DEFENSE",
        "ms": "defenses.ms:DEFENSE",
        "dms": "defenses.dms:DEFENSE",
        "dms-iqa": "defenses.dms_iqa:DEFENSE",
        "fs-iqa": "defenses.fs_iqa:DEFENSE",
        "fs-iqa-guarded": "defenses.fs_iqa_guarded:DEFENSE",
        "fs-iqa-proved": "defenses.fs_iqa_proved:DEFENSE",
        "lipschitz": "defenses.lipschitz:DEFENSE",
        "fs-iqa-lipschitz": "defenses.lipschitz_fs_iqa:DEFENSE",
    },
    "model": ENTRY_POINTS,
    "dataset": {
        "embedded": "bench.datasets.embedded:DATASET",
        "koniq10k": "bench.datasets.koniq10k:DATASET",
        "koniq10k-seeded": "bench.datasets.koniq10k:SEEDED_DATASET",
        "kadid10k": "bench.datasets.kadid10k:DATASET",
    },
}
"""Our own entry points, so that a source tree that was never installed works as well."""

REQUIRED: Mapping[Kind, tuple[str, ...]] = {
    "defense": ("name", "title", "smoother", "statistic", "card"),
    "model": ("card", "build"),
    "dataset": ("name",),
}
"""Attributes without which a part is refused at the door."""


NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Found:
    """A part that can be used: its object and where it came from.

    Attributes:
        entry: Entry point of an installed package; None for our own parts and those of files.
    """

    kind: Kind
    name: str
    origin: str
    value: Any
    entry: metadata.EntryPoint | None = None


@dataclass(frozen=True, slots=True)
class Broken:
    """A part, or a whole plugin file, that could not be imported."""

    kind: Kind | Literal["file"]
    name: str
    origin: str
    error: str
    """``ErrorClass: message``."""
    traceback: str


@dataclass(frozen=True, slots=True)
class Registry:
    """Everything that was found, passed along as a value."""

    parts: Mapping[tuple[Kind, str], Found]
    broken: tuple[Broken, ...] = ()
    files: tuple[str, ...] = ()
    """Plugin files, as given: enough for a worker to build the same registry."""
    data_root: Path | None = None
    """Folder of data sets; None leaves it to each data set, ours look at BENCH_DATA."""

    @classmethod
    def open(
        cls,
        files: Iterable[str | Path] = (),
        *,
        kinds: Iterable[Kind] = tuple(GROUPS),
        data_root: Path | None = None,
    ) -> Registry:
        """Find everything: built-in parts, installed packages, then the given files.

        Args:
            files: Plugin files.
            kinds: What is wanted of the packages; nothing else of them is imported.
            data_root: Folder where data sets are looked for.

        Raises:
            BenchError: A file does not exist, or two parts of a kind have the same name.
        """
        paths = tuple(dict.fromkeys(str(file) for file in files))
        results = [
            *_from_entry_points(kinds),
            *(r for path in paths for r in _from_file(Path(path))),
        ]
        parts: dict[tuple[Kind, str], Found] = {}
        for part in (r for r in results if isinstance(r, Found)):
            other = parts.setdefault((part.kind, part.name), part)
            if other is not part:
                raise BenchError(
                    f"two {part.kind}s are named {part.name!r}: one from {other.origin}, "
                    f"one from {part.origin}; rename one of them."
                )
        broken = tuple(r for r in results if isinstance(r, Broken))
        return cls(parts, broken, paths, data_root)

    def names(self, kind: Kind) -> list[str]:
        """Names of a kind, in the order in which they were found."""
        return [name for found, name in self.parts if found == kind]

    def known_names(self, kind: Kind) -> list[str]:
        """Names of a kind, and those of what could not be loaded."""
        broken = [part.name for part in self.broken if part.kind in (kind, "file")]
        return [*self.names(kind), *broken]

    def get(self, kind: Kind, name: str) -> Any:
        """The part of this name.

        Raises:
            BenchError: There is none (did you mean ...?), or it is broken.
        """
        found = self.parts.get((kind, name))
        if found is not None:
            return found.value
        for broken in self.broken:
            if broken.name == name and broken.kind in (kind, "file"):
                raise BenchError(
                    f"{kind} {name!r} from {broken.origin} cannot be loaded: {broken.error}."
                )
        error = str(unknown(kind, name, self.names(kind)))
        files = [broken for broken in self.broken if broken.kind == "file"]
        lost = [
            f"{file.origin}, which may define it, cannot be loaded: {file.error}." for file in files
        ]
        raise BenchError(" ".join([error, *lost]))

    def code(self, used: Iterable[tuple[Kind, str]]) -> dict[str, str]:
        """Digest of each plugin file, and of each installed package that a used part is from.

        Files are known by their bare names, two of one name by a number: where they lie is
        nobody's business.  Our own parts are not plugins (``bench.base.provenance``).

        Args:
            used: Kinds and names; unknown ones are left out.
        """
        packages: dict[str, dict[str, Path]] = {}
        for part in (self.parts[key] for key in used if key in self.parts):
            if part.entry is not None:
                name = part.entry.dist.name if part.entry.dist else part.entry.module
                packages.setdefault(name, {}).update(files_of_entry(part.entry))
        found = [
            *((Path(file).name, files_of_file(Path(file))) for file in self.files),
            *packages.items(),
        ]
        digests: dict[str, str] = {}
        for name, files in found:
            same = sum(known.split(" (")[0] == name for known in digests)
            digests[f"{name} ({same + 1})" if same else name] = digest(files)
        return digests

    def check_code(
        self, recorded: Mapping[str, str], used: Iterable[tuple[Kind, str]], *, source: str
    ) -> None:
        """The parts must be made of the very plugins that a plan recorded.

        Args:
            recorded: Digests by name, as :meth:`code` gave them.
            used: Parts that are needed, by kind and name.
            source: Whose plan it is.

        Raises:
            BenchError: A plugin changed, is missing, or is one that the plan does not know.
        """
        wanted = list(used)
        for name, sha256 in self.code_of(wanted).items():
            if name in recorded and sha256 not in recorded.values():
                raise BenchError(
                    f"plugin {name} changed: {source} was made with {recorded[name][:8]}, "
                    f"found {sha256[:8]}."
                )
            if sha256 not in recorded.values():
                raise BenchError(f"plugin {name}: expected one that {source} was made with.")
        known = {*self.parts, *((broken.kind, broken.name) for broken in self.broken)}
        lacking = [
            name
            for kind, name in wanted
            if (kind, name) not in known and not name.startswith(METRICS)
        ]
        if lacking and recorded:
            raise BenchError(
                f"{source} needs {', '.join(map(repr, lacking))}, and was made with plugins that "
                f"are not loaded by themselves: name {', '.join(sorted(recorded))} with --plugin, "
                "or install the package, if you trust it."
            )

    def code_of(self, used: Iterable[tuple[Kind, str]]) -> dict[str, str]:
        """:meth:`code` of the given parts alone: files that serve none of them do not count."""
        wanted = list(used)
        origins = {self.parts[key].origin for key in wanted if key in self.parts}
        files = tuple(file for file in self.files if str(Path(file)) in origins)
        return replace(self, files=files).code(wanted)

    def defense(self, name: str) -> Any:
        """A ``defenses.base.Defense``."""
        return self.get("defense", name)

    def model(self, name: str) -> Any:
        """An ``iqa_models.plugin.ModelPlugin``; ``pyiqa:NAME`` is any of pyiqa's metrics."""
        if not name.startswith(METRICS):
            return self.get("model", name)
        from iqa_models.pyiqa_metrics import metric_plugin

        with weights_asked_for():
            return metric_plugin(name.removeprefix(METRICS))

    def dataset(self, name: str, *, train: str | None = None) -> Any:
        """An open data set: a plugin's name, or the path of a ``dataset.toml``.

        A plugin may be the data set itself, or make it when opened or called.

        Args:
            name: The data set.
            train: Another one whose training part takes the place of its own.
        """
        if train not in (None, name):
            from bench.datasets.across import Across

            return Across(test=self.dataset(name), train=self.dataset(str(train)))
        if name.endswith(".toml"):
            from bench.datasets.table import find_table, open_table

            return open_table(find_table(name, self.data_root))
        value = self.get("dataset", name)
        if self.data_root is not None and getattr(value, "below", None) is not None:
            return value.below(self.data_root)
        if hasattr(value, "items"):
            return value
        return value.open() if hasattr(value, "open") else value()


def _from_entry_points(kinds: Iterable[Kind]) -> Iterator[Found | Broken]:
    """Built-in and installed parts; ours may be both, which is no clash."""
    for kind in kinds:
        group = GROUPS[kind]
        ours = [metadata.EntryPoint(*place, group) for place in BUILT_IN[kind].items()]
        entries: dict[tuple[str, str], metadata.EntryPoint] = {}
        for entry in (*ours, *metadata.entry_points(group=group)):
            entries.setdefault((entry.name, entry.value), entry)
        for entry in entries.values():
            yield _loaded(kind, entry)


def _loaded(kind: Kind, entry: metadata.EntryPoint) -> Found | Broken:
    """Import one entry point."""
    package = f" of {entry.dist.name}" if entry.dist is not None else ""
    origin = f"entry point {entry.value}{package}"
    try:
        part = _checked(kind, entry.load(), origin=origin, expected_name=entry.name)
        ours = (entry.name, entry.value) in BUILT_IN[kind].items()
        return part if ours else replace(part, entry=entry)
    except (Exception, SystemExit) as error:  # a plugin may do anything; the others go on
        return _broken(kind, entry.name, origin, error)


def _from_file(path: Path) -> Iterator[Found | Broken]:
    """Parts that a plugin file defines under the agreed names."""
    if not path.is_file():
        raise BenchError(f"{path}: expected a plugin's Python file, found none.")
    try:
        module = import_file(path)
        values = list(_declared(module))
        if not values:
            raise LookupError("it defines none of DEFENSE, DEFENSES, MODEL, DATASET")
        found = [_checked(kind, value, origin=str(path)) for kind, value in values]
    except (Exception, SystemExit) as error:  # a plugin may do anything; the others go on
        yield _broken("file", path.stem, str(path), error)
    else:
        yield from found


def import_file(path: Path) -> ModuleType:
    """Import a Python file once per process, under a name that no other file has."""
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    name = f"certified_iqa_bench_plugin_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path.name} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    # Registered before it runs: dataclasses and pickle look their module up by name.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _declared(module: ModuleType) -> Iterator[tuple[Kind, Any]]:
    """Kinds and objects under the names a plugin may define."""
    for kind in GROUPS:
        if hasattr(module, kind.upper()):
            yield kind, getattr(module, kind.upper())
        for value in getattr(module, f"{kind.upper()}S", ()):
            yield kind, value


def _checked(kind: Kind, value: Any, *, origin: str, expected_name: str | None = None) -> Found:
    """Refuse an object that lacks what its kind must have."""
    if isinstance(value, type) and kind != "dataset":
        raise TypeError(
            f"a {kind} is an object, found the class {value.__name__}: "
            f"{kind.upper()} = {value.__name__}(...)"
        )
    missing = [field for field in REQUIRED[kind] if not hasattr(value, field)]
    if missing:
        raise TypeError(
            f"a {kind} needs {', '.join(missing)}, found a {type(value).__name__} without"
        )
    name: object = value.card.name if kind == "model" else value.name
    # Names become parts of unit keys, comma-separated options and file names.
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(
            f"a {kind}'s name is lower-case letters, digits, hyphens, dots and underscores, "
            f"found {name!r}"
        )
    if kind == "model":
        _check_card(value.card)
    if expected_name is not None and name != expected_name:
        raise ValueError(f"it is announced as {expected_name!r} but calls itself {name!r}")
    return Found(kind, name, origin, value)


def _check_card(card: Any) -> None:
    """Refuse a model's card that would only be noticed in the middle of a run."""
    low, high = card.score_range
    if not -math.inf < low < high < math.inf:
        raise ValueError(f"score_range: expected two ascending numbers, found {card.score_range}")
    if card.mode not in ("NR", "FR"):
        raise ValueError(f"mode: expected 'NR' or 'FR', found {card.mode!r}")


def _broken(kind: Kind | Literal["file"], name: str, origin: str, error: BaseException) -> Broken:
    """Keep what is needed to repair it."""
    text = "".join(traceback.format_exception(error))
    return Broken(kind, name, origin, f"{type(error).__name__}: {error}".rstrip("."), text)
