"""Seeds of a training: each of their 64 bits decides its noise and its first weights."""

from __future__ import annotations

import pytest
import torch

from defenses import noise, training
from defenses.base import TrainingJob
from defenses.reference_models import linear_model


def job(seed: int = 5, sigma: float = 0.1) -> TrainingJob:
    return TrainingJob(
        model=linear_model(sigma=sigma),
        sigmas=(sigma,),
        train=(),
        validation=(),
        mos_range=(0.0, 1.0),
        settings=None,
        seed=seed,
        progress=lambda share, text: None,
        device=torch.device("cpu"),
    )


def drawn(job: TrainingJob, purpose: str = "ftn") -> tuple[torch.Tensor, torch.Tensor]:
    """Noise and first weights of a training."""
    with training.seeded_weights(job, purpose):
        weights = torch.nn.Linear(8, 8).weight.detach()
    return torch.randn(64, generator=training.seeded(job, purpose)), weights


def test_equal_jobs_draw_the_same_and_others_do_not() -> None:
    first = drawn(job())
    assert all(map(torch.equal, first, drawn(job())))
    for other in (drawn(job(seed=6)), drawn(job(sigma=0.2)), drawn(job(), "denoiser")):
        assert not any((a == b).any() for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("bit", [0, 31, 32, 40, 63])
def test_no_bit_of_the_seed_is_lost(bit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for seed in (77, 77 ^ (1 << bit)):
        for module in (noise, training):
            monkeypatch.setattr(module, "key_seed", lambda *parts, seed=seed: seed)
        found.append(drawn(job()))
    assert not any((a == b).any() for a, b in zip(*found, strict=True))
