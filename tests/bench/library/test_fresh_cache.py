"""On an empty cache every defence of every model certifies: what is missing is fitted first."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from bench import certify
from bench.library.progress import Told, silent

SMALL = """
name = "small"
edition = "compact"
[data]
train_limit = 48
[certificate]
samples = 40
feature_samples = 200
[fit.ftn]
epochs = 2
batch = 16
learning_rate = 2e-3
width = 8
depth = 2
[fit.denoiser]
noise_levels = "all"
epochs = 1
images = 16
batch = 8
crop = 16
learning_rate = 1e-3
width = 8
depth = 2
stride = 4
[fit.denoiser-iqa]
noise_levels = "all"
epochs = 1
score_epochs = 1
images = 16
batch = 8
crop = 16
learning_rate = 1e-3
width = 8
depth = 1
stride = 4
"""
LEARNT = {"dms": "denoiser", "dms-iqa": "denoiser-iqa", "fs-iqa": "ftn"}


@pytest.mark.slow
@pytest.mark.usefixtures("own_cache")
def test_every_defence_of_every_model(tmp_path: Path) -> None:
    profile = tmp_path / "small.toml"
    profile.write_text(SMALL, encoding="utf-8")
    rng = np.random.default_rng(0)
    image, reference = (rng.integers(0, 256, (96, 128, 3), dtype=np.uint8) for _ in range(2))
    told: list[str] = []

    def listening(title: str) -> AbstractContextManager[Told]:
        told.append(title)
        return silent(title)

    for model in ("dbcnn", "hyperiqa", "koncept", "lpips", "dists", "dreamsim"):
        original = reference if model in ("lpips", "dists", "dreamsim") else None
        for defense in ("rs-reg", "cert-reg", "ms", "dms", "dms-iqa", "fs-iqa"):
            fitted = []
            for _ in range(2):
                told.clear()
                found = certify(
                    model,
                    image,
                    defense=defense,
                    sigma=0.25,
                    reference=original,
                    profile=str(profile),
                    device="cpu",
                    progress=listening,
                )
                assert found.score is not None and (found.abstained or found.width is not None)
                fitted.append([title for title in told if title.startswith("fitting")])
            first, again = fitted
            assert again == []
            if defense not in LEARNT or (defense == "dms" and model != "dbcnn"):
                assert first == []  # one denoiser serves all models
            else:
                (title,) = first
                assert title.startswith(f"fitting {LEARNT[defense]}")
