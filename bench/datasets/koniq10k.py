"""KonIQ-10k: 10,073 photographs with the opinions of 1,459 people.

It must not know how files got there.

Hosu, Lin, Sziranyi, Saupe, "KonIQ-10k: an ecologically valid database for deep learning of blind
image quality assessment", IEEE TIP 29, 2020. The official layout is read as it is unpacked::

    koniq10k/koniq10k_scores_and_distributions.csv
    koniq10k/512x384/*.jpg          (or 1024x768/*.jpg)

The file's MOS is the mean of its five counts, 1 (bad) to 5. A second file in circulation,
`koniq10k_distributions_sets.csv`, has MOS in 1..100; it is refused rather than rescaled, since the
two are not proportional.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from bench.base.errors import BenchError
from bench.datasets.base import DatasetCard, DatasetPlugin, Item
from bench.datasets.folder import (
    SPLIT_SEED,
    Entry,
    FolderDataset,
    data_folders,
    first_existing,
    number,
    read_rows,
    split_groups,
    within,
)

NAME = "koniq10k"
LABELS = "koniq10k_scores_and_distributions.csv"
COUNTS = ("c1", "c2", "c3", "c4", "c5")
MOS_RANGE = (1.0, 5.0)

Resolution = Literal["512x384", "1024x768"]


def koniq10k(
    folder: Path | None = None,
    *,
    root: Path | None = None,
    resolution: Resolution = "512x384",
    seed: int = SPLIT_SEED,
) -> FolderDataset:
    """Open the data set.

    Args:
        folder: the unpacked archives; None looks below the root and into the cache.
        root: folder of data sets; None takes `BENCH_DATA`.
        resolution: which of the official image folders.
        seed: of the 80/20 split; photographs are split one by one, each is its own group.

    Raises:
        BenchError: the folder, the labels or the images are not there or not as published.
    """
    unpacked = ("koniq10k_scores", "koniq10k_512x384")
    folders = [folder] if folder else data_folders(NAME, unpacked, root)
    labels = first_existing(NAME, folders, (LABELS, f"koniq10k_scores_and_distributions/{LABELS}"))
    images = first_existing(NAME, folders, (resolution, f"images/{resolution}"))
    width, height = (int(side) for side in resolution.split("x"))
    return FolderDataset(
        name=NAME, card=_card((height, width), seed), entries=_entries(labels, images, seed)
    )


def _entries(labels: Path, images: Path, seed: int) -> Sequence[Entry]:
    rows = read_rows(labels, ("image_name", *COUNTS, "c_total", "MOS"))
    splits = split_groups((row["image_name"] for row in rows), seed=seed)
    entries = []
    for line, row in enumerate(rows, start=2):
        name = row["image_name"]
        mos = within(number(row, "MOS", path=labels, line=line), MOS_RANGE, path=labels, line=line)
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


def _card(size: tuple[int, int], seed: int) -> DatasetCard:
    return DatasetCard(
        title="KonIQ-10k",
        label_kind=f"MOS; 80/20 split by photograph, seed {seed}",
        mos_range=MOS_RANGE,
        higher_is_better=True,
        citation="Hosu et al., IEEE TIP 29, 2020",
        licence="see database.mmsp-kn.de/koniq-10k-database.html",
        has_references=False,
        image_size=size,
    )


DATASET = DatasetPlugin(NAME, koniq10k, below=lambda root: koniq10k(root=root))
