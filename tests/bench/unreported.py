"""Runs without their report, whose drawings take seconds: for tests that read records."""

from __future__ import annotations

import pytest

from bench.report import upkeep


def without_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``run`` end as if it had written one."""
    monkeypatch.setattr(upkeep, "report", lambda folder, out, say: out / "report.md")
