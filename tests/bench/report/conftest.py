"""The synthetic run, made once, and its report in every format."""

from __future__ import annotations

import pytest

from bench.report.build import write
from bench.report.compose import compose
from tests.bench.report.synthetic import synthetic_run

REPS = 60


@pytest.fixture(scope="session")
def run():
    return synthetic_run()


@pytest.fixture(scope="session")
def document(run):
    return compose(run, reps=REPS)


@pytest.fixture(scope="session")
def report(document, tmp_path_factory):
    return write(document, tmp_path_factory.mktemp("report"))


@pytest.fixture
def no_figures(monkeypatch):
    """Documents without drawings: most of the time goes into those."""
    for name in ("width_against_radius", "attack_gain", "equal_radius", "rank_intervals", "pareto"):
        monkeypatch.setattr(f"bench.report.compose.{name}", lambda *_, **__: None)
