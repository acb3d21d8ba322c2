"""On an empty cache every defence of every model certifies: what is missing is fitted first.

The slow tests take the profile that a user has, and its parts as they are shipped.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from bench import DefendedScore, certify
from bench.datasets import Pair
from bench.library.progress import Told, silent
from bench.plugins.registry import Registry

NR, FR = ("dbcnn", "hyperiqa", "koncept"), ("lpips", "dists", "dreamsim")
DEFENSES = ("rs-reg", "cert-reg", "ms", "dms", "dms-iqa", "fs-iqa")
ASKED = 0.02
"""An l2 radius that every one of the six can certify on some picture."""
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
LEARNT = {"dms": "denoiser", "dms-iqa": "denoiser-iqa of dists", "fs-iqa": "ftn of dists"}


class Listening:
    """Keeps what was announced and prints nothing."""

    def __init__(self) -> None:
        self.fitted: list[str] = []

    def __call__(self, title: str) -> AbstractContextManager[Told]:
        if title.startswith("fitting"):
            self.fitted.append(title.removeprefix("fitting ").removesuffix(", kept in the cache"))
        return silent(title)


def picture() -> Pair:
    """A distorted test photograph and its original."""
    shipped = Registry.open(kinds=["dataset"]).dataset("embedded")
    return shipped.load(shipped.items("test")[7])


def check_sense(found: DefendedScore, radius: float) -> None:
    """A score in its range, and around it an interval at the radius asked for, or a reason."""
    low, high = found.score_range
    assert found.score is not None and low <= found.score <= high
    assert len(found.draws) == found.samples
    if found.abstained:
        assert found.reason and found.lower is None and found.upper is None
        assert found.radius is None
    else:
        assert found.lower is not None and found.upper is not None
        assert found.lower <= found.score <= found.upper
        assert found.radius == radius


@pytest.mark.slow
@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("model", [*NR, *FR])
def test_six_defences_of_a_model_with_the_default_profile(model: str) -> None:
    """Only FS-IQA is fitted, once; the denoisers come with the package."""
    pair, listening = picture(), Listening()
    intervals = 0
    for defense in DEFENSES:
        found = certify(
            model,
            pair.image.transpose(1, 2, 0),
            reference=None if model in NR else pair.reference.transpose(1, 2, 0),
            defense=defense,
            sigma=0.25,
            radius=ASKED,
            device="cpu",
            progress=listening,
        )
        assert (found.model, found.defense) == (model, defense)
        check_sense(found, ASKED)
        intervals += not found.abstained
    assert intervals >= len(DEFENSES) - 1  # only a linearisation may have nothing to say
    assert listening.fitted == [f"ftn of {model}"]


@pytest.mark.slow
@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("defense", DEFENSES)
def test_what_is_not_shipped_is_fitted_once(defense: str, tmp_path: Path) -> None:
    profile = tmp_path / "small.toml"
    profile.write_text(SMALL, encoding="utf-8")
    rng = np.random.default_rng(0)
    image, reference = (rng.integers(0, 256, (96, 128, 3), dtype=np.uint8) for _ in range(2))
    listening = Listening()
    scores = set()
    for _ in range(2):
        found = certify(
            "dists",
            image,
            reference=reference,
            defense=defense,
            profile=str(profile),
            device="cpu",
            progress=listening,
        )
        scores.add(found.score)
    assert listening.fitted == ([LEARNT[defense]] if defense in LEARNT else [])
    assert len(scores) == 1 and None not in scores
