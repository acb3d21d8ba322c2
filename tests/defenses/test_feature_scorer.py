"""FTN + scorer: trained in the span of the features, unsaturated, folded back exactly."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor

from bench.plan.profile import FitSection
from defenses.base import TrainingExample, TrainingJob
from defenses.feature_scorer import FeatureScorerPart, Limit, Rows, fold, follow, read_back
from defenses.networks import FeatureScorer
from defenses.span import deviation, span_of

SETTINGS = FitSection(epochs=8, batch=16, learning_rate=1e-3, width=8, depth=2)
PART = FeatureScorerPart()
PIXEL = torch.zeros(3, 1, 1)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def job_of(
    train: Tensor, validation: Tensor, scores: Tensor, held: Tensor, **changes: Any
) -> TrainingJob:
    """A training on given features; human scores between 1 and 5."""
    sets = {"train": (train, scores), "validation": (validation, held)}

    def examples(split: str) -> list[TrainingExample]:
        return [TrainingExample(PIXEL, None, float(one)) for one in sets[split][1]]

    plain = TrainingJob(
        model=None,
        sigmas=(0.25,),
        train=examples("train"),
        validation=examples("validation"),
        mos_range=(1.0, 5.0),
        settings=SETTINGS,
        seed=3,
        progress=lambda share, text: None,
        device=torch.device("cpu"),
        features=lambda split: sets[split][0],
    )
    return replace(plain, **changes)


class Kept:
    """Checkpoints in memory, by phase."""

    def __init__(self) -> None:
        self.states: dict[str, dict[str, Any]] = {}

    def load(self, phase: str) -> dict[str, Any] | None:
        return self.states.get(phase)

    def save(self, phase: str, snapshot: Callable[[], dict[str, Any]]) -> None:
        self.states[phase] = copy.deepcopy(snapshot())


def high_dimensional(n: int, seed: int, *, size: int = 6000) -> tuple[Tensor, Tensor]:
    """Two signal directions under a huge common component and noise in all of them."""
    basis = torch.linalg.qr(normal(size, 3, seed=99)).Q.T
    hidden = normal(n, 2, seed=seed)
    common = 300.0 * (1 + 0.1 * normal(n, 1, seed=seed + 1)) * basis[:1]
    features = common + 10.0 * hidden @ basis[1:] + 0.05 * normal(n, size, seed=seed + 2)
    scores = 3 + 0.7 * hidden[:, 0] + 0.4 * hidden[:, 1] + 0.2 * normal(n, seed=seed + 3)
    return features, scores.clamp(1, 5)


def agreement(module: FeatureScorer, features: Tensor, scores: Tensor, sigma: float) -> float:
    """SRCC of the median under feature noise, 101 draws."""
    source = torch.Generator().manual_seed(8)
    embedded = module.transform(features)
    noisy = embedded + sigma * torch.randn(101, *embedded.shape, generator=source)
    medians = module.score(noisy.flatten(0, 1)).view(101, -1).median(0).values
    return float(spearmanr(medians, scores)[0])


def plainly_trained(
    features: Tensor, scores: Tensor, *, sigma: float
) -> tuple[FeatureScorer, Tensor]:
    """The earlier recipe: one global scale, random start, AdamW on all D weights of a row."""
    torch.manual_seed(0)
    module = FeatureScorer(feature_size=features.shape[1], width=8, mos_range=(1.0, 5.0))
    module.feature_mean.copy_(features.mean(0))
    scale = features.std(0).square().mean().sqrt()
    rows, targets = (features - features.mean(0)) / scale, (scores - 1) / 4
    module.feature_mean.zero_()
    optimiser = torch.optim.AdamW(module.parameters(), lr=1e-3)
    for _ in range(30):
        embedded = module.transform(rows)
        noisy = embedded + sigma * torch.randn(embedded.shape)
        optimiser.zero_grad()
        (module.unit_score(noisy) - targets).square().mean().backward()
        optimiser.step()
    return module.requires_grad_(False), scale


@pytest.mark.parametrize("sigma", [0.1, 0.5])
def test_high_dimension_neither_saturates_nor_loses_the_scores(sigma: float) -> None:
    train, scores = high_dimensional(48, 10)
    other, held = high_dimensional(40, 20)
    unseen, truth = high_dimensional(200, 30)
    plain, scale = plainly_trained(train, scores, sigma=sigma)
    assert plain.saturated_share((unseen - train.mean(0)) / scale) > 0.25, "the case is a hard one"
    found = PART.train(job_of(train, other, scores, held, sigmas=(sigma,)))
    module = found.module
    assert isinstance(module, FeatureScorer)
    assert found.notes["saturated_share"] == module.saturated_share(other) < 0.05
    assert module.saturated_share(unseen) < 0.05
    assert agreement(module, unseen, truth, sigma) > 0.9


@pytest.mark.parametrize(("n", "size"), [(20, 300), (200, 12)])
def test_folding_back_changes_no_output(n: int, size: int) -> None:
    features = 5 + normal(n, size)
    span = span_of(features)
    small = FeatureScorer(feature_size=len(span.variance), width=8, mos_range=(0.0, 1.0))
    whole = FeatureScorer(feature_size=size, width=8, mos_range=(0.0, 1.0))
    small.requires_grad_(False)
    whole.requires_grad_(False)
    fold(small, span, into=whole)
    aside = 5 + normal(7, size, seed=1)
    embedded = small.transform(span.coordinates(aside))
    assert torch.allclose(whole.transform(aside), embedded, atol=1e-5)
    assert torch.allclose(whole.score(embedded), small.score(embedded))
    assert float((embedded - 0.5).abs().max()) > 0.01, "outputs that all agree prove nothing"


def test_nothing_outside_the_span_moves_an_output() -> None:
    train, scores = high_dimensional(30, 1, size=400)
    other, held = high_dimensional(20, 2, size=400)
    module = PART.train(job_of(train, other, scores, held)).module
    axes = span_of(train).axes
    aside = normal(1, 400)
    aside -= aside @ axes.T @ axes / axes[0].square().sum()
    assert isinstance(module, FeatureScorer)
    assert torch.allclose(module.transform(other + aside), module.transform(other), atol=1e-4)


def test_every_output_stays_within_its_spread() -> None:
    train, scores = high_dimensional(30, 1, size=200)
    other, held = high_dimensional(20, 2, size=200)
    for spread in (0.2, 0.8):
        fast = SETTINGS.model_copy(update={"spread": spread, "learning_rate": 0.05, "epochs": 20})
        module = PART.train(job_of(train, other, scores, held, settings=fast)).module
        assert isinstance(module, FeatureScorer)
        before = module.ftn(train - module.feature_mean)
        assert float(before.std(0, correction=0).max()) <= spread * 1.001
        assert float(before.std(0, correction=0).max()) >= spread * 0.5


def test_limit_shortens_long_rows_alone() -> None:
    variance = torch.tensor([0.9, 0.1])
    weights = torch.tensor([[3.0, 4.0], [0.1, 0.0], [0.0, 0.0]])
    limited = Limit(variance, 0.5)(weights)
    assert float(deviation(limited, variance)[0]) == pytest.approx(0.5)
    assert limited[0, 1] / limited[0, 0] == pytest.approx(4 / 3)
    assert torch.equal(limited[1:], weights[1:])


def test_the_start_is_the_ridge_read_back() -> None:
    rows = normal(300, 1)
    scores = 0.5 + 0.1 * rows[:, 0]
    for sigma, slope in ((1e-6, 1.0), (100.0, 0.0)):
        module = FeatureScorer(feature_size=1, width=4, mos_range=(0.0, 1.0))
        follow(module, torch.tensor([[0.05]]))
        read_back(module, module.transform(rows).detach(), scores, sigma=sigma)
        answers = module.unit_score(module.transform(rows))
        expected = scores.mean() + slope * (scores - scores.mean())
        assert torch.allclose(answers, expected, atol=2e-3), "noise shrinks the line to the mean"


def test_training_is_deterministic_and_hears_its_seed() -> None:
    train, scores = high_dimensional(30, 1, size=100)
    other, held = high_dimensional(20, 2, size=100)
    jobs = [job_of(train, other, scores, held, seed=seed) for seed in (3, 3, 4)]
    first, same, different = (PART.train(job) for job in jobs)
    assert first.train_loss == same.train_loss != different.train_loss
    for name, value in first.module.state_dict().items():
        assert torch.equal(value, same.module.state_dict()[name])


REFIT = SETTINGS.model_copy(update={"held_out": "refit"})


def test_a_refit_learns_from_the_validation_images_too() -> None:
    """They alone move along a second axis, which the scores follow as much as the first."""
    train, other = normal(60, 2) * torch.tensor([1.0, 0.0]), normal(60, 2, seed=1)
    scores, held = 3 + 0.5 * train.sum(1), 3 + 0.5 * other.sum(1)
    probe = torch.tensor([[0.0, -1.0], [0.0, 1.0]])
    change = {}
    for settings in (SETTINGS, REFIT):
        job = job_of(train, other, scores, held, settings=settings)
        module = PART.train(job).module
        assert isinstance(module, FeatureScorer)
        low, high = module.score(module.transform(probe)).tolist()
        change[settings.held_out] = high - low
    assert change["apart"] == pytest.approx(0.0, abs=1e-4)
    assert change["refit"] > 0.2


def test_a_refit_is_chosen_as_without_and_lasts_as_long() -> None:
    train, scores = high_dimensional(30, 1, size=100)
    other, held = high_dimensional(20, 2, size=100)
    kept = Kept()
    apart = PART.train(job_of(train, other, scores, held))
    refit = PART.train(job_of(train, other, scores, held, settings=REFIT, checkpoints=kept))
    assert refit.validation_loss == apart.validation_loss
    assert refit.train_loss == apart.train_loss
    best = 1 + min(range(8), key=apart.validation_loss.__getitem__)
    assert 1 < best < 8, "the case tells the best epoch from the first and the last"
    assert len(kept.states["refit"]["course"]["train_curve"]) == best == refit.best_epoch
    assert kept.states["refit"]["schedule"]["T_max"] == 8, "the rate falls as it did"
    assert len(kept.states["training"]["course"]["train_curve"]) == 8
    again = PART.train(job_of(train, other, scores, held, settings=REFIT, checkpoints=kept))
    for name, value in refit.module.state_dict().items():
        assert torch.equal(value, again.module.state_dict()[name]), "cut after the last epoch"


def test_every_image_is_in_the_batches_of_a_refit(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    rows_at = Rows.at

    def noted(rows: Rows, chosen: Tensor) -> Rows:
        seen.append(len(chosen))
        return rows_at(rows, chosen)

    monkeypatch.setattr(Rows, "at", noted)
    train, scores = high_dimensional(30, 1, size=100)
    other, held = high_dimensional(20, 2, size=100)
    refit = PART.train(job_of(train, other, scores, held, settings=REFIT))
    assert refit.best_epoch
    assert sum(seen) == 8 * 30 + refit.best_epoch * 50


def test_where_training_only_made_it_worse_the_refit_is_the_start() -> None:
    train, scores = high_dimensional(30, 1, size=100)
    other, held = high_dimensional(20, 2, size=100)
    wild = REFIT.model_copy(update={"learning_rate": 0.5, "patience": 2})
    kept = Kept()
    refit = PART.train(job_of(train, other, scores, held, settings=wild, checkpoints=kept))
    assert refit.best_epoch == 0 and "refit" not in kept.states


@pytest.mark.parametrize(("n", "v"), [(1, 1), (2, 1), (3, 2)])
def test_a_handful_of_images_is_enough_to_train_something_finite(n: int, v: int) -> None:
    train, scores = high_dimensional(n, 1, size=50)
    other, held = high_dimensional(v, 2, size=50)
    found = PART.train(job_of(train, other, scores, held))
    assert all(bool(value.isfinite().all()) for value in found.module.state_dict().values())
    assert 0.0 <= found.notes["saturated_share"] <= 1.0


def test_constant_features_give_a_constant_in_the_middle_of_the_scores() -> None:
    train, other = torch.full((20, 30), 7.1), torch.full((8, 30), 7.1)
    scores, held = 3 + 0.5 * normal(20), 3 + 0.5 * normal(8, seed=1)
    module = PART.train(job_of(train, other, scores, held)).module
    assert isinstance(module, FeatureScorer)
    assert not module.ftn.weight.any()
    answers = module.score(module.transform(other))
    assert torch.allclose(answers, scores.mean().expand(8), atol=0.3)


def test_distances_to_a_reference_are_turned_into_quality() -> None:
    """Full-reference features: not negative, near zero for good images, over four decades."""
    size = 40
    strength = 10 ** (4 * torch.rand(200, generator=torch.Generator().manual_seed(1)) - 4)
    shape = torch.rand(200, size, generator=torch.Generator().manual_seed(2))
    features, scores = strength[:, None] * shape, 5 - 4 * strength.sqrt()
    module = PART.train(
        job_of(features[:120], features[120:150], scores[:120], scores[120:150])
    ).module
    assert isinstance(module, FeatureScorer)
    assert agreement(module, features[150:], scores[150:], 0.25) > 0.8


def test_an_output_is_saturated_where_its_slope_is_under_a_twentieth() -> None:
    module = FeatureScorer(feature_size=1, width=2, mos_range=(0.0, 1.0)).requires_grad_(False)
    follow(module, torch.ones(1, 1))
    edge = math.log((1 + math.sqrt(0.95)) / (1 - math.sqrt(0.95)))
    rows = torch.tensor([[0.0], [edge - 0.01], [edge + 0.01], [-edge - 0.01]])
    slopes = torch.sigmoid(rows) * (1 - torch.sigmoid(rows))
    assert ((slopes < 0.0125).flatten().tolist()) == [False, False, True, True]
    assert module.saturated_share(rows) == 0.5
    module.ftn.weight[: module.size // 2] = 0
    assert module.saturated_share(rows) == 0.25


def test_settings_need_no_more_than_the_ftn_reads() -> None:
    plain = SimpleNamespace(
        epochs=2,
        batch=8,
        learning_rate=1e-3,
        weight_decay=1e-4,
        patience=3,
        width=2,
        spread=0.5,
        ridge_tolerance=0.02,
        held_out="apart",
    )
    train, scores = high_dimensional(10, 1, size=20)
    assert len(PART.train(job_of(train, train, scores, scores, settings=plain)).train_loss) == 2
