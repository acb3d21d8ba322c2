"""Our defences pass the kit; every planted defect is refused by the check made for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from defenses import (
    cert_reg,
    dms,
    dms_iqa,
    fs_iqa,
    fs_iqa_guarded,
    fs_iqa_proved,
    lipschitz,
    lipschitz_fs_iqa,
    ms,
    rs_reg,
)
from defenses.base import Defense
from defenses.conformance import CHECKS, DefenseConformance, check, run
from defenses.conformance import smoothers as smoother_checks
from defenses.conformance.report import Candidate, Refusal, failure_limit
from defenses.conformance.statistics import REPETITIONS, SETTINGS
from defenses.ranks import median_ranks
from defenses.reference_models import COUNTEREXAMPLE_RATIO, ProjectionModel
from tests.defenses.planted import PLANTED

OURS = (
    rs_reg,
    cert_reg,
    ms,
    dms,
    dms_iqa,
    fs_iqa,
    fs_iqa_guarded,
    fs_iqa_proved,
    lipschitz,
    lipschitz_fs_iqa,
)


class TestOurDefenses(DefenseConformance):
    @pytest.fixture(params=OURS, ids=lambda module: module.DEFENSE.name)
    def defense(self, request: pytest.FixtureRequest) -> Defense:
        found: Defense = request.param.DEFENSE
        return found


@pytest.mark.parametrize("defect", PLANTED)
def test_planted_defect_is_refused(defect: str) -> None:
    defense, name = PLANTED[defect]
    outcome = run(name, Candidate(defense))
    assert outcome.status == "failed", str(outcome)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
def test_verdicts_do_not_hang_on_the_seed(seed: int) -> None:
    for module in OURS:
        assert check(module.DEFENSE, seed=seed).ok
    for defect, (defense, name) in PLANTED.items():
        assert run(name, Candidate(defense, seed)).status == "failed", defect


def test_a_model_that_is_not_deterministic_is_seen() -> None:
    crops = ProjectionModel(torch.rand_like, score_range=(0.0, 1.0), name="random crops")
    with pytest.raises(Refusal, match="asked again"):
        smoother_checks.reproducible(Candidate(ms.DEFENSE), crops)


def test_counterexample_ratio() -> None:
    found = smoother_checks.displacement_ratio(Candidate(fs_iqa.DEFENSE))
    assert found == pytest.approx(COUNTEREXAMPLE_RATIO, abs=1e-3)
    assert smoother_checks.displacement_ratio(Candidate(ms.DEFENSE)) is None


def test_power_against_ranks_off_by_one() -> None:
    """The kit's own arithmetic: the exact failure probabilities behind its settings."""
    n, r, confidence = SETTINGS[0]
    low, _ = median_ranks(n, r, confidence)
    level = stats.norm.cdf(-r)
    limit = failure_limit(REPETITIONS, 1 - confidence)
    right, wrong = (stats.binom.cdf(rank - 1, n, level) for rank in (low, low + 1))
    assert right <= 1 - confidence < wrong
    assert stats.binom.sf(limit, REPETITIONS, right) < 1e-6
    assert stats.binom.cdf(limit, REPETITIONS, wrong) < 1e-12


def test_report_says_what_happened() -> None:
    class Raises:
        name = "median"

        def __getattr__(self, name: str) -> object:
            raise RuntimeError("boom")

    report = check(replace(ms.DEFENSE, name="x", statistic=Raises()))
    assert not report.ok
    assert "raised RuntimeError: boom" in str(report)
    assert str(report).endswith(f"x fails {len(report.failures)} checks")
    assert [outcome.name for outcome in report.outcomes] == list(CHECKS)


def test_same_seed_same_evidence() -> None:
    first, second = (
        run("native valid share", Candidate(cert_reg.DEFENSE, 3)).evidence for _ in range(2)
    )
    assert first == second
    assert not np.array_equal(
        Candidate(ms.DEFENSE, 3).rng("a").random(3), Candidate(ms.DEFENSE, 4).rng("a").random(3)
    )
