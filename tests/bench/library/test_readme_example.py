"""The five lines of README, and those of the page on certifying, run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import bench

ROOT = Path(__file__).resolve().parents[3]


def examples(page: str) -> list[str]:
    """Python blocks of a page that certify."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks: list[str] = re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)
    return [block for block in blocks if "from bench import" in block]


@pytest.fixture
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(3).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("photo.png")
    return tmp_path


@pytest.mark.usefixtures("photo")
@pytest.mark.parametrize("page", ["README.md", "docs/certifying.md"])
def test_the_five_lines(page: str) -> None:
    first = examples(page)[0]
    assert len([line for line in first.splitlines() if line.strip()]) <= 5
    names: dict[str, bench.DefendedScore] = {}
    exec(first, names)  # noqa: S102 - our own page
    found = names["found"]
    assert found.lower is not None and found.score is not None and found.upper is not None
    assert found.lower <= found.score <= found.upper and found.radius == 0.25


@pytest.mark.usefixtures("photo", "own_cache")
def test_a_network_of_ones_own() -> None:
    (block,) = examples("docs/certifying.md")[1:]

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 1)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            answer: torch.Tensor = self.fc(images.mean((2, 3)))
            return answer

    levels = np.linspace(0, 1, 30)
    names = {
        "network": Network(),
        "images": [np.full((16, 16, 3), level, dtype=np.float32) for level in levels],
        "scores": (1 + 4 * levels).tolist(),
    }
    exec(block, names)  # noqa: S102 - our own page
    assert isinstance(names["found"], bench.DefendedScore) and names["found"].defense == "fs-iqa"
