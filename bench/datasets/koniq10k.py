"""KonIQ-10k: 10,073 photographs with the opinions of 1,459 people.

It must not know how files got there.

Hosu, Lin, Sziranyi, Saupe, "KonIQ-10k: an ecologically valid database for deep learning of blind
image quality assessment", IEEE TIP 29, 2020. The official layout is read as it is unpacked::

    koniq10k/koniq10k_scores_and_distributions.csv
    koniq10k/koniq10k_distributions_sets.csv
    koniq10k/512x384/*.jpg          (or 1024x768/*.jpg)

The first file's MOS is the mean of its five counts, 1 (bad) to 5. The second says which image is
training, validation or test (7,058 / 1,000 / 2,015); its own MOS, on another scale that is not
proportional, are left alone. The published weights were trained on its training part, so every
other split, as that of `koniq10k-seeded`, puts training images of the models into the test part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from bench.base.errors import BenchError
from bench.datasets.base import DatasetCard, DatasetPlugin, Item, Split
from bench.datasets.folder import (
    SPLIT_SEED,
    Entry,
    FolderDataset,
    data_folders,
    first_existing,
    number,
    read_rows,
    split_groups,
)
from iqa_models.artifacts import artifact_folder

NAME = "koniq10k"
SEEDED = "koniq10k-seeded"
LABELS = "koniq10k_scores_and_distributions.csv"
SETS = "koniq10k_distributions_sets.csv"
WORDS: Mapping[str, Split] = {"training": "train", "validation": "validation", "test": "test"}
"""Words of the official split."""
COUNTS = ("c1", "c2", "c3", "c4", "c5")
UNPACKED = ("koniq10k_scores", "koniq10k_512x384", "koniq10k_mirror")
"""Folders that `prefetch` makes of it."""
MOS_RANGE = (1.0, 5.0)

Resolution = Literal["512x384", "1024x768"]


def koniq10k(
    folder: Path | None = None,
    *,
    root: Path | None = None,
    resolution: Resolution = "512x384",
    seed: int | None = None,
) -> FolderDataset:
    """Open the data set.

    Args:
        folder: the unpacked archives; None looks below the root and into the cache.
        root: folder of data sets; None takes `BENCH_DATA`.
        resolution: which of the official image folders.
        seed: of an 80/20 split, photograph by photograph; None takes the authors' own split.

    Raises:
        BenchError: the folder, the labels, the split or the images are not there or not as
            published.
    """
    folders = [folder] if folder else data_folders(NAME, UNPACKED, root)
    labels = first_existing(NAME, folders, (LABELS, f"koniq10k_scores_and_distributions/{LABELS}"))
    images = first_existing(
        NAME, folders, (resolution, f"images/{resolution}", f"{NAME}/{resolution}")
    )
    rows = read_rows(labels, ("image_name", *COUNTS, "c_total", "MOS"))
    names = [row["image_name"] for row in rows]
    splits = _official(folders, names) if seed is None else split_groups(names, seed=seed)
    width, height = (int(side) for side in resolution.split("x"))
    return FolderDataset(
        name=NAME if seed is None else SEEDED,
        card=_card((height, width), _said(splits, seed)),
        entries=_entries(rows, labels, images, splits),
    )


def seeded(*, root: Path | None = None) -> FolderDataset:
    """The same pictures under an 80/20 split of our own; named as leaking."""
    return koniq10k(root=root, seed=SPLIT_SEED)


def _official(folders: Sequence[Path], names: Sequence[str]) -> dict[str, Split]:
    """The authors' split of all labelled images."""
    path = _sets(folders)
    found: dict[str, Split] = {}
    for line, row in enumerate(read_rows(path, ("image_name", "set")), start=2):
        if row["set"] not in WORDS:
            expected = ", ".join(WORDS)
            raise BenchError(f"{path}, line {line}: expected {expected}, found {row['set']!r}.")
        found[row["image_name"]] = WORDS[row["set"]]
    missing = [name for name in names if name not in found]
    if missing:
        raise BenchError(
            f"{path}: expected every image of {LABELS}, found no {missing[0]} "
            f"({len(missing)} missing)."
        )
    return {name: found[name] for name in names}


def _sets(folders: Sequence[Path]) -> Path:
    """The file of the split, beside the labels or where `prefetch` puts it."""
    try:
        return first_existing(NAME, [*folders, artifact_folder()], (SETS, f"metadata/{SETS}"))
    except BenchError as error:
        raise BenchError(
            f"{str(error).removesuffix('.')}; python -m bench prefetch --datasets {NAME} gets the "
            f"authors' split, and the data set {SEEDED!r} does without, but leaks training images."
        ) from None


def _said(splits: Mapping[str, Split], seed: int | None) -> str:
    """The split in words, as every report prints them."""
    counts = Counter(splits.values())
    if seed is None:
        return f"the authors' split, {'/'.join(str(counts[part]) for part in WORDS.values())}"
    return f"80/20 split by photograph, seed {seed}: leaks training images of published weights"


def _entries(
    rows: Sequence[dict[str, str]], labels: Path, images: Path, splits: Mapping[str, Split]
) -> Sequence[Entry]:
    entries = []
    for line, row in enumerate(rows, start=2):
        name = row["image_name"]
        mos = number(row, "MOS", path=labels, line=line, bounds=MOS_RANGE)
        _check_mean(row, mos, labels, line)
        item = Item(name, None, name, mos, splits[name])
        entries.append(Entry(item, images / name))
    return entries


def _check_mean(row: dict[str, str], mos: float, path: Path, line: int) -> None:
    """The counts of the five grades must give the MOS: proves scale and direction."""
    counts = [number(row, column, path=path, line=line) for column in COUNTS]
    mean = sum(grade * count for grade, count in enumerate(counts, start=1)) / max(sum(counts), 1)
    if abs(mean - mos) > 0.02:
        raise BenchError(
            f"{path}, line {line}: expected MOS {mean:.3f}, the mean of c1..c5, found {mos:g}."
        )


def _card(size: tuple[int, int], split: str) -> DatasetCard:
    return DatasetCard(
        title="KonIQ-10k",
        label_kind=f"MOS; {split}",
        mos_range=MOS_RANGE,
        higher_is_better=True,
        citation="Hosu et al., IEEE TIP 29, 2020",
        licence="see database.mmsp-kn.de/koniq-10k-database.html",
        has_references=False,
        image_size=size,
    )


DATASET = DatasetPlugin(NAME, koniq10k, below=lambda root: koniq10k(root=root))
SEEDED_DATASET = DatasetPlugin(SEEDED, seeded, below=lambda root: seeded(root=root))
