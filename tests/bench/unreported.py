"""Runs without their report, whose drawings take seconds: for tests that read records."""

from __future__ import annotations

import importlib

import pytest


def without_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``run`` end as if it had written one."""
    module = importlib.import_module("bench.report.build")  # the package has a name ``build`` too
    monkeypatch.setattr(module, "report", lambda folder, out, say: out / "report.md")
