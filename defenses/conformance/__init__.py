"""The kit that every defence must pass, ours or a plugin's; it must not know any defence by name.

As a function::

    report = check(DEFENSE)
    assert report.ok, str(report)

As a test class, one test per check::

    class TestMine(DefenseConformance):
        @pytest.fixture
        def defense(self):
            return DEFENSE

Statistical checks are one-sided binomial tests at level 1e-6 with all randomness fixed by the seed:
a correct defence is refused with a probability below 1e-4, an order statistic that is off by one is
found with near certainty (see ``defenses.conformance.statistics.SETTINGS``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from defenses.base import Defense
from defenses.conformance import promise, smoothers, statistics
from defenses.conformance.report import Candidate, CheckResult, Report, outcome_of

__all__ = ["CHECKS", "CheckResult", "DefenseConformance", "Report", "check", "outcomes"]

Check = Callable[[Candidate], str]

CHECKS: Mapping[str, Check] = {
    "guarantee card": promise.card,
    "radius failure": promise.delta,
    "trained part": promise.part,
    "reproducible draws": smoothers.reproducible,
    "image units": smoothers.units,
    "radius grows": smoothers.grows,
    "worst case in the ball": smoothers.worst_case,
    "sigmoid counterexample": smoothers.counterexample,
    "refuses NaN": smoothers.nan,
    "flat model": smoothers.flat_features,
    "gradient": smoothers.gradient,
    "cost": smoothers.cost,
    "shape of bounds": statistics.shape,
    "order statistics": statistics.order_statistics,
    "small samples": statistics.small_samples,
    "tightness": statistics.tightness,
    "coverage": statistics.coverage,
    "deployed coverage": statistics.deployed_coverage,
    "native valid share": statistics.native_share,
    "native radius": statistics.native_radius,
}
"""Name and function of every check: returns its evidence, or raises."""


def check(defense: Defense, *, seed: int = 0, settings: Any = None) -> Report:
    """Run every check on a defence.

    Args:
        defense: The defence, as in its plugin.
        seed: Fixes every random number.
        settings: Training settings of its part, as attributes; small ones by default.

    Returns:
        One outcome per check; a check that raises anything has failed.
    """
    return Report(defense.name, tuple(outcomes(defense, seed=seed, settings=settings)))


def outcomes(defense: Defense, *, seed: int = 0, settings: Any = None) -> Iterator[CheckResult]:
    """What ``check`` reports, each as soon as it is known: the whole kit may take a minute."""
    candidate = _candidate(defense, seed, settings)
    for name in CHECKS:
        yield run(name, candidate)


def run(name: str, candidate: Candidate) -> CheckResult:
    """One check by name; an exception of the defence is a failure with its text as evidence."""
    return outcome_of(name, partial(CHECKS[name], candidate))


def _candidate(defense: Defense, seed: int, settings: Any) -> Candidate:
    return Candidate(defense, seed) if settings is None else Candidate(defense, seed, settings)


class DefenseConformance:
    """Subclass in a test file and give one fixture, ``defense``; every check becomes a test."""

    seed: int = 0
    settings: Any = None

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """One test per check."""
        if "conformance_check" in metafunc.fixturenames:
            metafunc.parametrize("conformance_check", list(CHECKS))

    def test_conforms(self, defense: Defense, conformance_check: str) -> None:
        """The check passes, or does not concern this defence."""
        outcome = run(conformance_check, _candidate(defense, self.seed, self.settings))
        if outcome.status == "not applicable":
            import pytest  # only tests need it

            pytest.skip(outcome.evidence)
        if outcome.status == "failed":
            raise AssertionError(f"{defense.name}: {conformance_check}: {outcome.evidence}")
