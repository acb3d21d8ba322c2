"""Stages without models: tiny records, and units that fail, die or wait when a file says so."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.execution.worker import Assignment
from bench.plan.units import Plan, Unit
from bench.records.schema import (
    AttackRecord,
    AuditRecord,
    CalibrationRecord,
    EvaluationRecord,
    FitRecord,
    Record,
    TimeRecord,
)


def open_context(plan: Plan, assignment: Assignment) -> dict[str, Any]:
    if (Path(assignment.run).parent / "orders" / "die-opening").exists():
        os.kill(os.getpid(), 9)
    return {"seed": plan.profile.seed, "run": Path(assignment.run), "pid": os.getpid()}


def load_stage(name: str) -> FakeStage:
    return FakeStage(name)


def record(unit: Unit, status: Any = "ok", reason: str | None = None, value: float = 0.0) -> Record:
    if unit.stage == "prepare":
        return CalibrationRecord(
            status=status, reason=reason, dataset=unit.dataset, model=unit.model or "", slope=value
        )
    if unit.stage == "fit":
        return FitRecord(
            status=status,
            reason=reason,
            artifact=unit.key,
            part=unit.detail,
            dataset=unit.dataset,
            model=unit.model,
            sigma=unit.sigma,
            seconds=time.perf_counter(),
        )
    if unit.stage in ("evaluate", "time", "audit"):
        return _defended(unit, status, reason, value)
    norm, epsilon, direction = unit.detail.split(":")
    return AttackRecord(
        status=status,
        reason=reason,
        dataset=unit.dataset,
        model=unit.model or "",
        defense=unit.defense,
        sigma=unit.sigma or 0.0,
        norm=norm,
        epsilon=float(epsilon),
        direction=direction,
        image=unit.image or "",
        group="g",
        steps=1,
        score_after=value,
        range_low=0.0,
        range_high=1.0,
    )


def _defended(unit: Unit, status: Any, reason: str | None, value: float) -> Record:
    key: dict[str, Any] = {
        "status": status,
        "reason": reason,
        "dataset": unit.dataset,
        "model": unit.model or "",
        "defense": unit.defense,
        "sigma": unit.sigma or 0.0,
    }
    if unit.stage == "time":
        return TimeRecord(
            device="cpu",
            weights="random",
            height=8,
            width=8,
            samples=1,
            threads=1,
            seconds_certified=[time.perf_counter()],
            **key,
        )
    key |= {"image": unit.image or "", "group": "g"}
    if unit.stage == "audit":
        return AuditRecord(rigor="proved", worst_low=value, **key)
    return EvaluationRecord(
        edition="compact",
        mode="NR",
        smoother=unit.smoother,
        statistic="median",
        mos=0.5,
        higher_is_better=True,
        range_low=0.0,
        range_high=99.0,
        undefended_higher_is_better=True,
        score=value,
        confidence=0.999,
        claim="population",
        rigor="proved",
        **key,
    )


class FakeStage:
    def __init__(self, name: str) -> None:
        self.name = name

    def run(
        self, units: Sequence[Unit], context: dict[str, Any]
    ) -> Iterator[tuple[Unit, list[Record]]]:
        for unit in units:
            _obey(context["run"], unit)
            value = len(unit.key) / 7 + context["seed"]
            yield unit, [record(unit, value=value)]

    def failed(self, unit: Unit, context: dict[str, Any], reason: str) -> list[Record]:
        return [record(unit, "failed", reason)]


def _obey(run: Path, unit: Unit) -> None:
    """Do what a test asked for through files named after what shall happen."""
    orders = run.parent / "orders"
    image = (unit.image or "").replace("/", "_")
    with (run.parent / "log").open("a") as log:
        log.write(f"{unit.key}\n")
    if (orders / f"fail-{image}").exists():
        raise ValueError(f"image {unit.image} is\nunreadable")
    if (orders / f"die-{image}").exists() and unit.task.endswith("|ms|x|0.1|l2:0.1:up"):
        os.kill(os.getpid(), 9)
    if (orders / f"die-once-{image}").exists():
        (orders / f"die-once-{image}").unlink()
        os.kill(os.getpid(), 9)
    while (orders / "wait").exists():
        time.sleep(0.02)
    if (orders / "slow").exists():
        time.sleep(0.05)
    if (orders / "burn").exists():
        burn()


def burn() -> None:
    """About 0.1 s of one core, always the same work."""
    digest = b""
    for _ in range(40):
        digest = hashlib.sha256(digest + bytes(2_000_000)).digest()
