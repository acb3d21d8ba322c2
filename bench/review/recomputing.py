"""Recompute one recorded certificate from its recorded draws, and name every column that differs.

Pure functions of two rows and the run's settings; this module must not know models, images, data
sets or files.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.analysis.frames import plain
from bench.measure.certificates import Terms, certificate_columns
from defenses.averaged import AveragedFeatureSmoother
from defenses.base import Array, Defense, Geometry, ScoreScale
from defenses.smoothers import InputSmoother, feature_geometry

Row = Mapping[str, Any]
Found = tuple[str, Any, Any]
"""Column, recorded value, expected value."""
TOLERANCE = 1e-12
"""Relative; the same formulas on another machine may round the last bit differently."""
ROUNDED = 1e-4
"""Relative; a network's scores on another kind of processor differ by a twentieth of this."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What all certificates of a run share.

    Attributes:
        terms: The numbers of the profile, with the confidence per side.
        edition: Edition of all models.
    """

    terms: Terms
    edition: str

    @property
    def delta(self) -> float:
        """Failure probability of a radius that is found by random vectors."""
        return self.terms.geometry(seed=0).delta


def same(recorded: Any, expected: Any) -> bool:
    """Equality up to the last bits of a float; a missing value equals only a missing one.

    >>> same([1.0, 2.0], [1.0, 2.0 + 1e-15]), same(None, 0.0), same(1.0, 1.0 + 1e-9)
    (True, False, False)
    """
    if isinstance(expected, (list, tuple)) and isinstance(recorded, (list, tuple)):
        return len(recorded) == len(expected) and all(map(same, recorded, expected))
    numbers = (int, float)
    if (
        isinstance(recorded, numbers)
        and isinstance(expected, numbers)
        and not (isinstance(recorded, bool) or isinstance(expected, bool))
    ):
        return recorded == expected or math.isclose(recorded, expected, rel_tol=TOLERANCE)
    return bool(recorded == expected)


def agree(column: str, one: Any, other: Any) -> bool:
    """Whether two records say the same of what there is only one of.

    A clean score is computed wherever a unit is done, and kinds of processors round differently.

    >>> agree("undefended", 0.5, 0.5 + 1e-7), agree("mos", 0.5, 0.5 + 1e-7)
    (True, False)
    """
    if column == "undefended" and None not in (one, other):
        return math.isclose(one, other, rel_tol=ROUNDED, abs_tol=ROUNDED / 100)
    return same(one, other)


def compare(row: Row, expected: Mapping[str, Any]) -> Iterator[Found]:
    """Columns of a row that differ from what they should be."""
    for column, value in expected.items():
        recorded = plain(row[column])
        if not same(recorded, value):
            yield column, recorded, value


def check_draws(row: Row, defense: Defense, settings: Settings) -> Iterator[Found]:
    """What is wrong with recorded draws: their number, order, values, and their geometry."""
    if row["status"] != "ok":
        if len(row["scores"]):
            yield "scores", f"{len(row['scores'])} draws", f"none, the record is {row['status']}"
        return
    scores = np.asarray(row["scores"], dtype=np.float64)
    samples = settings.terms.samples(defense)
    if len(scores) != samples:
        yield "scores", f"{len(scores)} draws", f"{samples} draws"
    if not np.isfinite(scores).all():
        yield "scores", f"{int((~np.isfinite(scores)).sum())} not finite", "finite draws"
    elif (np.diff(scores) < 0).any():
        yield "scores", "not sorted", "sorted draws"
    yield from compare(row, geometry_columns(row, defense, settings))
    estimate, upper = plain(row["spectral_estimate"]), plain(row["spectral_upper"])
    if estimate is not None and upper is not None and estimate > upper:
        yield "spectral_estimate", estimate, f"at most spectral_upper, {upper!r}"


def geometry_columns(row: Row, defense: Defense, settings: Settings) -> dict[str, Any]:
    """Columns of a draw record that follow from others or the plan: a radius and its delta."""
    if plain(row["spectral_upper"]) is not None:
        geometry = spectral_geometry(row, settings)
        delta = settings.delta if row["spectral_method"] == "lanczos" else 0.0
        return {"coefficient": geometry.coefficient, "spectral_delta": delta}
    if isinstance(defense.smoother, InputSmoother) and not _own_geometry(defense.smoother):
        return {"coefficient": 1.0 / row["sigma"], "tabulated_radius": [], "tabulated_r": []}
    if defense.smoother.noise_kind == "input" and not len(row["tabulated_radius"]):
        return {"coefficient": 1.0 / row["sigma"]}
    return {}


def _own_geometry(smoother: InputSmoother) -> bool:
    """Whether a smoother replaces the constant radius of input noise."""
    return type(smoother).geometry is not InputSmoother.geometry


def spectral_geometry(row: Row, settings: Settings) -> Geometry:
    """Geometry of feature noise from the recorded norm of the Jacobian."""
    return feature_geometry(
        estimate=row["spectral_estimate"],
        upper=row["spectral_upper"],
        sigma=row["sigma"],
        tau=settings.terms.section.tau,
        delta=plain(row["spectral_delta"]) or 0.0,
        method=row["spectral_method"],
        products=int(row["spectral_products"]),
    )


def rebuilt_geometry(draws: Row, row: Row, settings: Settings) -> Geometry:
    """The geometry that a record was certified with."""
    if plain(draws["spectral_upper"]) is not None:
        return spectral_geometry(draws, settings)
    coefficient = plain(draws["coefficient"])
    radii = tuple(plain(draws["tabulated_radius"]))
    # A smoother of a plugin may abstain for reasons that only its evaluation record holds.
    reason = plain(row["reason"]) if coefficient is None and not radii else None
    # A constant coefficient is exact; tables come with a failure probability of their own.
    delta = 0.0 if coefficient is not None else plain(row["delta"]) or 0.0
    return Geometry(
        coefficient=coefficient,
        radii=radii,
        ratios=tuple(plain(draws["tabulated_r"])),
        delta=delta,
        reason=reason,
    )


def check_certificate(
    row: Row, draws: Row, defense: Defense, settings: Settings
) -> Iterator[Found]:
    """Columns of an evaluation record that do not follow from its draws."""
    yield from compare(row, promised_columns(defense, settings))
    if draws["status"] != "ok":
        nothing = dict.fromkeys(("score", "lower", "upper", "radius", "samples"))
        expected = {"status": draws["status"], "reason": plain(draws["reason"]), **nothing}
        yield from compare(row, expected)
        return
    scores = np.asarray(draws["scores"], dtype=np.float64)
    geometry = rebuilt_geometry(draws, row, settings)
    columns = recomputed(row, scores, geometry, defense, settings)
    averaged = isinstance(defense.smoother, AveragedFeatureSmoother)
    delta = settings.delta if averaged else geometry.delta
    yield from compare(row, {**columns, "samples": len(scores), "delta": delta})


def promised_columns(defense: Defense, settings: Settings) -> dict[str, Any]:
    """Columns that follow from the profile and the defence alone."""
    return {
        "confidence": settings.terms.confidence,
        "edition": settings.edition,
        "smoother": defense.smoother.name,
        "statistic": defense.statistic.name,
        "claim": defense.card.claim,
        "rigor": defense.card.rigor,
    }


def recomputed(
    row: Row, scores: Array, geometry: Geometry, defense: Defense, settings: Settings
) -> dict[str, Any]:
    """All columns of the certificate, by the function that the evaluate stage calls."""
    scale = ScoreScale(row["range_low"], row["range_high"], bool(row["higher_is_better"]))
    return certificate_columns(
        defense,
        scores,
        geometry,
        scale=scale,
        undefended=plain(row["undefended"]),
        terms=settings.terms,
    )


def correlations(scores: Sequence[float], mos: Sequence[float]) -> tuple[float, float] | None:
    """SRCC and PLCC by their definitions, in numpy alone; None where they are undefined.

    Independent of ``bench.analysis.statistics``: ranks by counting, correlations by inner products.

    >>> correlations([1.0, 2.0, 2.0, 9.0], [1.0, 2.0, 3.0, 4.0])
    (0.9486832980505138, 0.8381163549234938)
    """
    x, y = np.asarray(scores, dtype=np.float64), np.asarray(mos, dtype=np.float64)
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return _pearson(_ranks(x), _ranks(y)), _pearson(x, y)


def _ranks(values: Array) -> Array:
    below = (values[:, None] > values[None, :]).sum(axis=1)
    equal = (values[:, None] == values[None, :]).sum(axis=1)
    return np.asarray(below + (equal + 1) / 2, dtype=np.float64)


def _pearson(x: Array, y: Array) -> float:
    dx, dy = x - x.mean(), y - y.mean()
    return float(dx @ dy / math.sqrt(float(dx @ dx) * float(dy @ dy)))
