"""Anybody's scored images: a CSV file, a folder, and a `dataset.toml` that says what they mean.

Direction and range are declared, never guessed: a table of DMOS read as MOS would turn every
correlation around without a word. `docs/datasets.md` shows the file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError, model_validator

from bench.base.errors import BenchError, invalid
from bench.datasets.base import Dataset, DatasetCard, Item, Split
from bench.datasets.description import Description, Side
from bench.datasets.folder import (
    Entry,
    FolderDataset,
    default_root,
    number,
    read_rows,
    split_groups,
)
from bench.datasets.images import Decoding, SizePolicy
from bench.datasets.pristine import PristineDescription, pristine

D = TypeVar("D", bound="Description")
SPLITS: Mapping[str, Split] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "val": "validation",
    "test": "test",
    "testing": "test",
}
"""Words of a split column, lower case."""


class TableDescription(Description):
    """A `dataset.toml` of `kind = "table"`."""

    kind: Literal["table"] = "table"
    csv: str
    """Table of scores; paths are relative to the TOML file."""
    images: str = "."
    """Folder of the images that the table names."""
    references: str | None = None
    """Folder of the references; by default that of the images."""
    image_column: str
    reference_column: str | None = None
    """Names each image's pristine original: makes a full-reference set, split by reference."""
    mos_columns: Annotated[tuple[str, ...], Field(min_length=1)]
    """Score columns; several (one per rater) are averaged."""
    higher_is_better: bool
    """Direction of the table's scores; false (DMOS) turns them around inside their range."""
    range: tuple[float, float]
    """Least and greatest possible score of the table."""
    label_kind: str = "MOS"
    split_column: str | None = None
    """Holds train, validation or test; by default a share of the groups is the test part."""
    group_column: str | None = None
    """Photograph or scene; no group is divided. By default the reference, else the image."""
    attribute_columns: tuple[str, ...] = ()
    """Carried along, e.g. `distortion` and `level`."""
    size_policy: SizePolicy = "keep"
    size: tuple[Side, Side] | None = None
    """(height, width) for `crop` and `resize`."""
    exif_orientation: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> TableDescription:
        if (self.size is None) != (self.size_policy == "keep"):
            raise ValueError("size together with size_policy 'crop' or 'resize', and only then")
        if not self.range[0] < self.range[1]:
            raise ValueError("a range of two ascending numbers")
        return self


def find_table(name: str, root: Path | None = None) -> Path:
    """A `dataset.toml` as named, else below the root: so a profile need not name a folder.

    Args:
        name: path of the file, as given or below the root.
        root: folder of data sets; None takes `BENCH_DATA`.
    """
    root = root or default_root()
    below = root / name if root else Path(name)
    return below if not Path(name).is_file() and below.is_file() else Path(name)


def open_table(path: Path) -> Dataset:
    """Open the data set that a `dataset.toml` describes, of either kind.

    Raises:
        BenchError: the file, or anything that it names, is missing or not as declared.
    """
    settings = _settings(path)
    kind = settings.get("kind", "table")
    if kind == "pristine":
        return pristine(validated(PristineDescription, settings, path), path.parent)
    if kind != "table":
        raise BenchError(f"{path}: kind: expected 'table' or 'pristine', found {kind!r}.")
    return table(validated(TableDescription, settings, path), path.parent)


def _settings(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise BenchError(f"{path}: expected a data set's TOML file, found none.")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise BenchError(f"{path}: expected TOML, found a mistake: {error}.") from error


def validated(kind: type[D], settings: Mapping[str, Any], path: Path) -> D:
    """A description from plain settings.

    Raises:
        BenchError: naming file, setting, what was expected and what was found.
    """
    try:
        return kind.model_validate(settings)
    except ValidationError as error:
        raise BenchError(f"{path}: {invalid(error, whole='the file')}") from error


def table(description: TableDescription, folder: Path) -> FolderDataset:
    """Open a described table.

    Args:
        description: what the columns mean.
        folder: what its paths are relative to.

    Raises:
        BenchError: the table is missing or not as declared.
    """
    labels = folder / description.csv
    rows = read_rows(labels, _columns(description))
    return FolderDataset(
        name=description.name,
        card=_card(description),
        entries=_entries(description, rows, labels, folder),
        decoding=Decoding(description.size_policy, description.size, description.exif_orientation),
    )


def _columns(description: TableDescription) -> list[str]:
    optional = (description.reference_column, description.split_column, description.group_column)
    return [
        *(description.image_column, *description.mos_columns, *description.attribute_columns),
        *(column for column in optional if column is not None),
    ]


def _entries(
    description: TableDescription, rows: Sequence[dict[str, str]], labels: Path, folder: Path
) -> list[Entry]:
    images = folder / description.images
    references = folder / (description.references or description.images)
    group_column = (
        description.group_column or description.reference_column or description.image_column
    )
    splits = split_groups(
        (row[group_column] for row in rows),
        seed=description.split_seed,
        test_share=description.test_share,
    )
    entries = []
    for line, row in enumerate(rows, start=2):
        image = row[description.image_column]
        reference = row[description.reference_column] if description.reference_column else None
        group = row[group_column]
        item = Item(
            image_id=image,
            reference_id=reference,
            group=group,
            mos=_score(description, row, labels, line),
            split=_split(description, row, labels, line) or splits[group],
            attributes={column: row[column] for column in description.attribute_columns},
        )
        place = references / reference if reference is not None else None
        entries.append(Entry(item, images / image, place))
    return entries


def _score(description: TableDescription, row: dict[str, str], path: Path, line: int) -> float:
    """Mean of the score columns, turned so that higher is better, in the declared range."""
    values = [
        number(row, column, path=path, line=line, bounds=description.range)
        for column in description.mos_columns
    ]
    mean = sum(values) / len(values)
    return mean if description.higher_is_better else sum(description.range) - mean


def _split(
    description: TableDescription, row: dict[str, str], path: Path, line: int
) -> Split | None:
    if description.split_column is None:
        return None
    word = row[description.split_column]
    if word.lower() not in SPLITS:
        raise BenchError(
            f"{path}, line {line}: expected train, validation or test in "
            f"{description.split_column!r}, found {word!r}."
        )
    return SPLITS[word.lower()]


def _card(description: TableDescription) -> DatasetCard:
    full_reference = description.reference_column is not None
    unit = "reference" if full_reference else description.group_column or "image"
    share = round(100 * description.test_share)
    split = (
        f"split column {description.split_column!r}"
        if description.split_column
        else f"{100 - share}/{share} split by {unit}, seed {description.split_seed}"
    )
    return DatasetCard(
        title=description.title,
        label_kind=f"{description.label_kind}; {split}",
        mos_range=description.range,
        higher_is_better=description.higher_is_better,
        citation=description.citation,
        licence=description.licence,
        has_references=full_reference,
        image_size=description.size,
    )
