"""A few rated pictures with their originals in a folder, described by a dataset.toml."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

SPLITS = ("train", "train", "train", "validation", "validation", "test", "test")
TOML = """
name = "rated"
title = "rated pictures"
csv = "scores.csv"
image_column = "file"
reference_column = "ref"
mos_columns = ["mos"]
higher_is_better = true
range = [0.0, 1.0]
split_column = "split"
licence = "CC0"
citation = "none"
"""


def write_rated(folder: Path, *, splits: Sequence[str] = SPLITS, side: int = 64) -> Path:
    """Noise of growing strength on noise, one picture for each split named; the description."""
    draw = np.random.default_rng(0)
    rows = ["file,ref,mos,split"]
    for index, split in enumerate(splits):
        clean = draw.integers(0, 255, (side, side, 3), dtype=np.uint8)
        noisy = (clean + draw.integers(0, 40 * (index + 1), clean.shape)).clip(0, 255)
        Image.fromarray(clean).save(folder / f"r{index}.png")
        Image.fromarray(noisy.astype(np.uint8)).save(folder / f"d{index}.png")
        rows.append(f"d{index}.png,r{index}.png,{index / (len(splits) - 1)},{split}")
    (folder / "scores.csv").write_text("\n".join(rows), encoding="utf-8")
    (folder / "dataset.toml").write_text(TOML, encoding="utf-8")
    return folder / "dataset.toml"
