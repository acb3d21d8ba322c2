"""A finished run without a model: invented draws, certified by the real functions."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from bench.measure.certificates import Terms, certificate_columns
from bench.measure.planted import CLAIMS
from bench.plan.loading import load_profile
from bench.plan.profile import ExtrasSection
from bench.plan.units import Cell, Plan, Unit
from bench.records.folder import RunFolder
from bench.records.parquet import write_table, write_units
from bench.records.schema import AuditRecord, DrawRecord, EvaluationRecord, Record
from bench.review.recomputing import Settings
from defenses import cert_reg, fs_iqa, ms, rs_reg
from defenses.base import Defense, Geometry, ScoreScale
from defenses.certify import sorted_draws
from defenses.smoothers import feature_geometry

DEFENSES = {m.DEFENSE.name: m.DEFENSE for m in (rs_reg, cert_reg, ms, fs_iqa)}
GROUPS = {"input": ("rs-reg", "cert-reg", "ms"), "features": ("fs-iqa",)}
MODELS, SIGMAS = ("dbcnn", "lpips"), (0.1, 0.5)


def fake_plan(*, images: int = 3, samples: int = 200, familywise: bool = False) -> Plan:
    profile = load_profile("embedded")
    certificate = profile.certificate.model_copy(
        update={"samples": samples, "feature_samples": samples, "familywise": familywise}
    )
    profile = profile.model_copy(
        update={
            "name": "fake",
            "models": MODELS,
            "defenses": tuple(DEFENSES),
            "sigmas": SIGMAS,
            "certificate": certificate,
            "extras": ExtrasSection(),
        }
    )
    cells = tuple(Cell("set", *rest) for rest in product(MODELS, DEFENSES, SIGMAS))
    units = tuple(
        Unit("evaluate", "set", model, ",".join(names), smoother, sigma, f"photo{image}/blur")
        for model, (smoother, names), sigma, image in product(
            MODELS, GROUPS.items(), SIGMAS, range(images)
        )
    )
    audits = tuple(
        Unit("audit", "set", model, "rs-reg,ms", "input", sigma, "photo1/blur")
        for model, sigma in product(MODELS, SIGMAS)
    )
    return Plan(profile, cells, (*units, *audits), {"set": "0" * 64}, "1" * 64)


def fake_run(folder: Path, plan: Plan) -> RunFolder:
    run = RunFolder.create(folder, plan)
    settings = Settings(Terms.of(plan), "compact")
    tuned = {n: d.tuned(plan.profile.options.get(n, {})) for n, d in DEFENSES.items()}
    records: list[Record] = []
    for unit in plan.of_stage("evaluate"):
        records += _evaluated(unit, settings, tuned)
    audits = [row for unit in plan.of_stage("audit") for row in _audited(unit, records)]
    for kind, rows in (
        (DrawRecord, [r for r in records if isinstance(r, DrawRecord)]),
        (EvaluationRecord, [r for r in records if isinstance(r, EvaluationRecord)]),
        (AuditRecord, audits),
    ):
        write_table(run.path / f"{kind.table}.parquet", kind, rows)
    for stage in ("evaluate", "audit"):
        write_units(
            run.path / "units" / f"{stage}.parquet",
            [(unit.key, "ok", None, 1) for unit in plan.of_stage(stage)],
        )
    return run


def _evaluated(unit: Unit, settings: Settings, tuned: dict[str, Defense]) -> list[Record]:
    key: dict[str, Any] = {
        "dataset": unit.dataset,
        "model": unit.model,
        "smoother": unit.smoother,
        "sigma": unit.sigma,
        "image": unit.image,
    }
    index = int(str(unit.image)[5:].split("/")[0])
    rng = np.random.default_rng([index, int(10 * (unit.sigma or 0)), len(str(unit.model))])
    mos = 0.2 + 0.1 * (index % 7)
    if index == 0 and unit.sigma == 0.5:
        reason = "3 of 200 draws are not finite numbers."
        rows = [
            _row(unit, tuned[d], settings, index, mos, "abstained", reason)
            for d in unit.defense.split(",")
        ]
        return [DrawRecord(status="abstained", reason=reason, **key), *rows]
    noisy = mos + rng.normal(0, 0.05) + 0.04 * rng.standard_normal(settings.terms.section.samples)
    scores = sorted_draws(noisy.clip(0, 1).astype(np.float32))
    spectral: dict[str, Any] = {}
    if unit.smoother == "features":
        # One image whose features do not move: an abstention with draws.
        estimate = 1e-4 if index == 2 else 1.5
        geometry = feature_geometry(
            estimate=estimate,
            upper=1.02 * estimate,
            sigma=unit.sigma or 0.0,
            tau=settings.terms.section.tau,
            delta=settings.delta,
            method="lanczos",
            products=40,
        )
        spectral = {f"spectral_{name}": value for name, value in geometry.spectral.items()}
    else:
        geometry = Geometry(coefficient=1.0 / (unit.sigma or 1.0))
    draws = DrawRecord(
        status="ok", scores=scores.tolist(), coefficient=geometry.coefficient, **spectral, **key
    )
    return [
        draws,
        *(
            _row(unit, tuned[name], settings, index, mos, scores=scores, geometry=geometry)
            for name in unit.defense.split(",")
        ),
    ]


def _row(
    unit: Unit,
    defense: Defense,
    settings: Settings,
    index: int,
    mos: float,
    status: Any = None,
    reason: str | None = None,
    *,
    scores: Any = None,
    geometry: Any = None,
) -> EvaluationRecord:
    scale = ScoreScale(0.0, 1.0, higher_is_better=unit.model != "lpips")
    undefended = mos + 0.01
    columns: dict[str, Any] = {"status": status, "reason": reason}
    if scores is not None:
        columns = certificate_columns(
            defense,
            scores,
            geometry,
            scale=scale,
            undefended=undefended,
            terms=settings.terms,
        )
        columns |= {"samples": len(scores), "delta": geometry.delta}
    return EvaluationRecord(
        dataset=unit.dataset,
        model=unit.model or "",
        edition="compact",
        mode="NR",
        defense=defense.name,
        smoother=unit.smoother,
        statistic=defense.statistic.name,
        sigma=unit.sigma or 0.0,
        image=unit.image or "",
        group=f"photo{index}",
        mos=mos,
        higher_is_better=scale.higher_is_better,
        range_low=0.0,
        range_high=1.0,
        undefended=undefended,
        undefended_higher_is_better=True,
        height=96,
        width=96,
        confidence=settings.terms.confidence,
        claim=defense.card.claim,
        rigor=defense.card.rigor,
        **columns,
    )


def _audited(unit: Unit, records: list[Record]) -> list[AuditRecord]:
    return [row for name in unit.defense.split(",") for row in _claims(unit, name, records)]


def _claims(unit: Unit, defense: str, records: list[Record]) -> list[AuditRecord]:
    row = next(
        r
        for r in records
        if isinstance(r, EvaluationRecord)
        and (r.model, r.defense, r.sigma, r.image) == (unit.model, defense, unit.sigma, unit.image)
    )
    assert row.lower is not None and row.upper is not None and row.score is not None
    assert row.radius is not None
    audits = []
    for name, claim in CLAIMS.items():
        lower, upper = claim.ends(row.score, row.lower, row.upper)
        audits.append(
            AuditRecord(
                status="ok",
                dataset="set",
                model=row.model,
                defense=defense,
                sigma=row.sigma,
                image=row.image,
                planted=name,
                group=row.group,
                rigor="proved",
                radius=claim.radius * row.radius,
                lower=lower,
                upper=upper,
                worst_low_limit=lower + 0.01,
                worst_high_limit=upper - 0.01,
                violated=False,
                fresh_samples=10000,
            )
        )
    return audits
