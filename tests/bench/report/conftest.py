"""The synthetic run, made once, and its report in every format."""

from __future__ import annotations

import pytest

from bench.analysis.source import FrameRun
from bench.report.build import ReportPaths, write
from bench.report.compose import compose
from bench.report.document import Document, Paragraph
from tests.bench.report.synthetic import synthetic_run

REPS = 60


@pytest.fixture(scope="session")
def run() -> FrameRun:
    return synthetic_run()


@pytest.fixture(scope="session")
def document(run: FrameRun) -> Document:
    return compose(run, reps=REPS)


@pytest.fixture(scope="session")
def report(document: Document, tmp_path_factory: pytest.TempPathFactory) -> ReportPaths:
    return write(document, tmp_path_factory.mktemp("report"))


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents without drawings: most of the time goes into those."""
    for name in (
        "width_against_radius",
        "attack_blocks",
        "equal_radius",
        "model_dots",
        "pareto",
    ):
        monkeypatch.setattr(f"bench.report.compose.{name}", lambda *_, **__: None)
    monkeypatch.setattr("bench.report.parts.first.decision_figure", lambda *_, **__: None)
    for name in ("accuracy_figure", "share_figure"):
        monkeypatch.setattr(f"bench.report.parts.matched.{name}", lambda *_, **__: Paragraph(""))
