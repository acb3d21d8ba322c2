"""KADID-10k: 81 pristine photographs, 25 distortions at 5 levels, 10,125 scored images.

It must not know how files got there.

Lin, Hosu, Saupe, "KADID-10k: a large-scale artificially distorted IQA database", QoMEX 2019. The
official layout is read as it is unpacked::

    kadid10k/dmos.csv               (dist_img, ref_img, dmos, var)
    kadid10k/images/I01.png, I01_01_01.png, ...

The column is called DMOS, but higher is better: 5 means no visible difference from the reference.
The split is by reference, so no photograph is seen in training and in the test.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from bench.base.errors import BenchError
from bench.datasets.base import DatasetCard, DatasetPlugin, Item
from bench.datasets.distortions import DISTORTIONS
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

NAME = "kadid10k"
MOS_RANGE = (1.0, 5.0)
IMAGE_NAME = re.compile(r"(?P<reference>I\d+)_(?P<type>\d\d)_(?P<level>0[1-5])\.png")


def kadid10k(
    folder: Path | None = None, *, root: Path | None = None, seed: int = SPLIT_SEED
) -> FolderDataset:
    """Open the data set.

    Args:
        folder: the unpacked archive; None looks below the root and into the cache.
        root: folder of data sets; None takes `BENCH_DATA`.
        seed: of the 80/20 split by reference.

    Raises:
        BenchError: the folder, the labels or the images are not there or not as published.
    """
    folders = [folder] if folder else data_folders(NAME, (NAME, f"{NAME}_mirror"), root)
    labels = first_existing(NAME, folders, ("dmos.csv", "kadid10k/dmos.csv"))
    images = first_existing(NAME, [labels.parent], ("images",))
    return FolderDataset(name=NAME, card=_card(seed), entries=_entries(labels, images, seed))


def _entries(labels: Path, images: Path, seed: int) -> Sequence[Entry]:
    rows = read_rows(labels, ("dist_img", "ref_img", "dmos", "var"))
    splits = split_groups((row["ref_img"] for row in rows), seed=seed)
    names = {distortion.number: name for name, distortion in DISTORTIONS.items()}
    entries = []
    for line, row in enumerate(rows, start=2):
        image, reference = row["dist_img"], row["ref_img"]
        match = IMAGE_NAME.fullmatch(image)
        if match is None or f"{match['reference']}.png" != reference:
            raise BenchError(
                f"{labels}, line {line}: expected a version of {reference} such as "
                f"I01_01_01.png, found {image!r}."
            )
        mos = number(row, "dmos", path=labels, line=line, bounds=MOS_RANGE)
        attributes = {
            "distortion": names.get(int(match["type"]), match["type"]),
            "level": str(int(match["level"])),
        }
        item = Item(image, reference, reference, mos, splits[reference], attributes)
        entries.append(Entry(item, images / image, images / reference))
    return entries


def _card(seed: int) -> DatasetCard:
    return DatasetCard(
        title="KADID-10k",
        label_kind=f"MOS (published as DMOS); 80/20 split by reference, seed {seed}",
        mos_range=MOS_RANGE,
        higher_is_better=True,
        citation="Lin, Hosu, Saupe, QoMEX 2019",
        licence="freely available to the research community; "
        "see database.mmsp-kn.de/kadid-10k-database.html",
        has_references=True,
        image_size=(384, 512),
    )


DATASET = DatasetPlugin(NAME, kadid10k, below=lambda root: kadid10k(root=root))
