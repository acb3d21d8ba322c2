"""A data set of image files: items, where their files lie, and a digest of all of it.

What every data set on disk shares, whatever its labels look like; it knows no format of labels.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import stat
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from bench.base.errors import BenchError
from bench.base.files import file_sha256, write_json
from bench.datasets.base import DatasetCard, ImageError, Item, Pair, Split
from bench.datasets.images import Decoding
from iqa_models.folders import cache_folder

SPLIT_SEED = 2025
"""Seed of the 80/20 splits; in every data set's digest and label kind."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An item and its files, by their names below the data set's folders."""

    item: Item
    image: Path
    reference: Path | None = None


@dataclass
class FolderDataset:
    """Scored image files. Fulfils `Dataset`; a file is first opened when it is loaded.

    Attributes:
        name: short name.
        card: provenance and meaning of the scores.
        entries: every scored image, in the order of the labels; absent files stay listed.
        decoding: how files become arrays.
        digests: folder of remembered file digests; None takes the cache folder.
    """

    name: str
    card: DatasetCard
    entries: Sequence[Entry]
    decoding: Decoding = field(default_factory=Decoding)
    digests: Path | None = None

    def __post_init__(self) -> None:
        """Index the entries.

        Raises:
            BenchError: an image is listed twice, or a group is in two splits.
        """
        self._entries = {entry.item.image_id: entry for entry in self.entries}
        if len(self._entries) < len(self.entries):
            counts = Counter(entry.item.image_id for entry in self.entries)
            twice, _ = counts.most_common(1)[0]
            raise BenchError(f"{self.name}: expected each image once, found {twice} twice.")
        _check_groups(self.name, [entry.item for entry in self.entries])

    def items(self, split: Split) -> list[Item]:
        """Every item of a split, in the order of the labels."""
        return [entry.item for entry in self.entries if entry.item.split == split]

    def load(self, item: Item) -> Pair:
        """Pixels of an item and, in a full-reference set, of its reference.

        Raises:
            ImageError: a file is missing, damaged, or the two sizes differ.
        """
        entry = self._entries.get(item.image_id)
        if entry is None:
            raise ImageError(item.image_id, f"an image of {self.name}", "an unknown one")
        image = self.decoding.read(entry.image, name=item.image_id)
        if entry.reference is None:
            return Pair(image, None)
        reference = self.decoding.read(entry.reference, name=item.reference_id or "reference")
        if reference.shape != image.shape:
            raise ImageError(
                item.image_id,
                f"the size of its reference, {reference.shape[1]} x {reference.shape[2]}",
                f"{image.shape[1]} x {image.shape[2]}",
            )
        return Pair(image, reference)

    @cached_property
    def sha256(self) -> str:
        """Digest of labels, splits, decoding and the content of every file.

        Content is read once: digests are remembered in the cache folder by name, size and time
        of change, so later openings only ask the file system (10,000 files: under a second).
        A missing file counts as missing, so adding it later is another data set.
        """
        paths = sorted({p for e in self.entries for p in (e.image, e.reference) if p is not None})
        content = file_digests(self.name, paths, folder=self.digests)
        rows = [
            [
                *(e.item.image_id, e.item.reference_id, e.item.group, e.item.split, e.item.mos),
                *(content.get(path) for path in (e.image, e.reference) if path is not None),
            ]
            for e in self.entries
        ]
        size = self.decoding.size
        how = [self.decoding.policy, size and list(size), self.decoding.exif_orientation]
        text = json.dumps([how, list(self.card.mos_range), rows])
        return hashlib.sha256(text.encode()).hexdigest()


def _check_groups(name: str, items: Iterable[Item]) -> None:
    splits: dict[str, Split] = {}
    for item in items:
        if splits.setdefault(item.group, item.split) != item.split:
            raise BenchError(
                f"{name}: expected every group in one split, found {item.group} in "
                f"{splits[item.group]} and {item.split}."
            )


def file_digests(name: str, paths: Sequence[Path], *, folder: Path | None) -> dict[Path, str]:
    """Content digest of every file that exists, remembered between calls.

    Args:
        name: the data set's.
        paths: files; absent ones are left out of the answer.
        folder: where digests are remembered; None takes the cache folder.
    """
    where = hashlib.sha256("\n".join(map(str, paths)).encode()).hexdigest()[:16]
    memory = (folder or cache_folder()) / "digests" / f"{name}-{where}.json"
    known: dict[str, list[object]] = {}
    with suppress(OSError, ValueError):
        known = json.loads(memory.read_text(encoding="utf-8"))
    found: dict[str, list[object]] = {}
    for path in paths:
        # Missing, or of a name that no file can have: loading it says so.
        with suppress(OSError, ValueError):
            state = path.stat()
            if not stat.S_ISREG(state.st_mode):
                continue
            stamp = [state.st_size, state.st_mtime_ns]
            row = known.get(str(path), [])
            found[str(path)] = row if row[:2] == stamp else [*stamp, file_sha256(path)]
    if found != known:
        write_json(memory, found)
    return {Path(path): str(row[2]) for path, row in found.items()}


def split_groups(
    groups: Iterable[str], *, seed: int = SPLIT_SEED, test_share: float = 0.2
) -> dict[str, Split]:
    """Train or test for every group: a keyed hash orders them, the first share is the test part.

    The order depends on the seed and the group's own name only, so it is the same on every
    machine and for every order of the labels.

    >>> sorted(split_groups(["a", "b", "c", "d", "e"]).values())
    ['test', 'train', 'train', 'train', 'train']
    """
    unique = sorted(set(groups), key=lambda g: hashlib.sha256(f"{seed}|{g}".encode()).digest())
    tests = math.floor(len(unique) * test_share + 0.5)
    return {group: "test" if rank < tests else "train" for rank, group in enumerate(unique)}


def default_root() -> Path | None:
    """Folder of data sets that the user's environment names, `BENCH_DATA`."""
    root = os.environ.get("BENCH_DATA")
    return Path(root).expanduser() if root else None


def data_folders(name: str, artifacts: Sequence[str] = (), root: Path | None = None) -> list[Path]:
    """Folders where a data set may lie: that of its name below the root, then `prefetch`'s.

    Args:
        name: the data set's.
        artifacts: what `prefetch` unpacked of it.
        root: folder of data sets; None takes `BENCH_DATA`.

    Raises:
        BenchError: none of them exists.
    """
    from iqa_models.artifacts import artifact_folder

    root = root or default_root()
    named = [root / name] if root else []
    found = [p for p in (*named, *(artifact_folder() / a for a in artifacts)) if p.is_dir()]
    if not found:
        place = str(root) if root else "BENCH_DATA (not set)"
        raise BenchError(
            f"{name}: expected a folder {name}/ in {place}, found none; "
            f"python -m bench prefetch --datasets {name} gets it."
        )
    return found


def first_existing(name: str, folders: Sequence[Path], candidates: Sequence[str]) -> Path:
    """The first candidate, a path below any of the folders, that exists.

    Raises:
        BenchError: there is none.
    """
    for folder in folders:
        for candidate in candidates:
            if (folder / candidate).exists():
                return folder / candidate
    places = ", ".join(str(folder) for folder in folders)
    raise BenchError(f"{name}: expected {' or '.join(candidates)} in {places}, found neither.")


def read_rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a CSV file with a header.

    Raises:
        BenchError: the file is missing, not UTF-8, empty, lacks a column or has it twice, or a
            row is longer or shorter than the header.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            header = reader.fieldnames or []
            rows = [_whole(row, header, path=path, line=reader.line_num) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BenchError(f"{path}: expected a readable CSV file, found {error}.") from error
    for column in columns:
        if header.count(column) != 1:
            found = "it twice" if column in header else ", ".join(header) or "no header"
            raise BenchError(f"{path}: expected the column {column!r} once, found {found}.")
    if not rows:
        raise BenchError(f"{path}: expected rows of scores, found none.")
    return rows


def _whole(row: dict[str, str], header: Sequence[str], *, path: Path, line: int) -> dict[str, str]:
    """The row, if it has a value for every heading and no NUL byte, which no file name can hold."""
    values = [value for value in row.values() if isinstance(value, str)]
    if len(values) != len(row) or len(row) != len(set(header)):
        raise BenchError(
            f"{path}, line {line}: expected {len(header)} values, as the header has, found "
            f"{'more' if None in row else len(values)}."
        )
    if any("\0" in value for value in values):
        raise BenchError(f"{path}, line {line}: expected text, found a NUL byte.")
    return row


def number(
    row: Mapping[str, str],
    column: str,
    *,
    path: Path,
    line: int,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> float:
    """A finite number of a row, inside its declared range.

    Raises:
        BenchError: naming file, line and column, or the range; the usual cause of a score outside
            is another edition of the labels.
    """
    text = row.get(column) or ""
    value = math.nan
    with suppress(ValueError):
        value = float(text)
    if not math.isfinite(value):
        raise BenchError(f"{path}, line {line}: expected a number in {column!r}, found {text!r}.")
    low, high = bounds
    if not low <= value <= high:
        raise BenchError(
            f"{path}, line {line}: expected a score in {low:g}..{high:g}, found {value:g}; "
            "is this another edition of the labels, or another range?"
        )
    return value
