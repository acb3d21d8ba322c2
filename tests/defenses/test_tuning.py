"""A profile sets the numbers of a smoother and of a statistic, and nothing else."""

from __future__ import annotations

import pytest

from defenses import cert_reg, fs_iqa_guarded, fs_iqa_proved, ms
from defenses.averaged import AveragedFeatureSmoother
from defenses.guarded import GuardedFeatureSmoother


def test_numbers_of_a_statistic() -> None:
    tuned = cert_reg.DEFENSE.tuned({"trim": 0.1})
    assert tuned.statistic != cert_reg.DEFENSE.statistic
    assert tuned.smoother == cert_reg.DEFENSE.smoother


def test_numbers_of_a_smoother() -> None:
    guarded = fs_iqa_guarded.DEFENSE.tuned({"allowance": 1.5, "steps": 20.0}).smoother
    assert guarded == GuardedFeatureSmoother(allowance=1.5, steps=20)
    proved = fs_iqa_proved.DEFENSE.tuned({"passes": 2000.0}).smoother
    assert proved == AveragedFeatureSmoother(passes=2000)
    assert isinstance(proved, AveragedFeatureSmoother) and isinstance(proved.passes, int)


def test_nothing_given_nothing_changed() -> None:
    assert fs_iqa_guarded.DEFENSE.tuned({}) is fs_iqa_guarded.DEFENSE


@pytest.mark.parametrize("name", ["name", "rigor", "part", "averaging", "passes"])
def test_anything_else_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="has no option"):
        ms.DEFENSE.tuned({name: 1.0})


def test_a_count_is_whole() -> None:
    with pytest.raises(ValueError, match="whole"):
        fs_iqa_proved.DEFENSE.tuned({"passes": 10.5})
