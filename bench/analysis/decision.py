"""What decides between defences at one radius: accuracy, width, images certified, and who is tied.

This module knows the comparison at equal radius and the records of audit and time; it must not know
how a choice is put into words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from bench.analysis.audits import Share, decided, genuine, power, share, wrong
from bench.analysis.cost import at_draws, mean_seconds, scaled_from
from bench.analysis.frames import grouped, known, numbers, rows
from bench.analysis.matched import ENOUGH_CERTIFIED, Matched
from bench.analysis.names import defense_order
from bench.analysis.statistics import Array, bootstrap_median, cluster_weights, tie_groups
from bench.analysis.widths import PROVED

RADII = (0.01, 0.1)
"""Radii at which defences are compared first, where a run has them."""
VACUOUS = 1.0
"""Width, as a share of a defence's own spread of scores, from which its intervals say nothing."""
ALIKE = 1.1
"""Costs within this factor of the smallest are called alike."""


def page_radii(grid: tuple[float, ...]) -> tuple[float, ...]:
    """The radii of page 1: those of the grid that are nearest to ``RADII``.

    >>> page_radii((0.001, 0.02, 0.1, 1.0)), page_radii((0.5,))
    ((0.02, 0.1), (0.5,))
    """
    near = (min(grid, key=lambda r: abs(np.log(r / wanted))) for wanted in RADII)
    return tuple(dict.fromkeys(near))


@dataclass(frozen=True, slots=True)
class Leading:
    """Who leads by one measure.

    Attributes:
        values: What was compared, by defence.
        first: Those that lead, the best first; all that cannot be told apart from it are here.
            Empty where photographs are too few to call anybody first, or sets are unequal.
    """

    values: Mapping[str, float]
    first: tuple[str, ...]


def by_score(data: Matched) -> Leading:
    """Who has the highest SRCC of all, each at its best noise level, whatever it guarantees."""
    agreement = data.agreement
    best: dict[str, tuple[float, float]] = {}
    whole = True
    for defense in agreement.defenses:
        means = {s: agreement.mean("srcc", defense, s) for s in agreement.sigmas}
        usable = {
            s: m.value
            for s, m in means.items()
            if m.value is not None and m.models == m.models_wanted
        }
        if usable:
            sigma = max(usable, key=usable.__getitem__)
            best[defense] = usable[sigma], sigma
            whole = whole and means[sigma].complete
    values = {d: value for d, (value, _) in best.items()}
    samples = {d: agreement.mean_samples("srcc", d, sigma) for d, (_, sigma) in best.items()}
    return _leading(values, samples, agreement.photographs if whole else 0)


def by_accuracy(data: Matched, radius: float) -> Leading:
    """Who has the highest SRCC at a radius, among proved radii whose intervals say something."""
    table = _candidates(data, radius)
    values = {row["defense"]: row["srcc"] for row in rows(table)}
    samples = {
        row["defense"]: data.agreement.mean_samples("srcc", row["defense"], row["sigma"])
        for row in rows(table)
    }
    return _leading(values, samples, data.agreement.photographs if table["complete"].all() else 0)


def by_width(
    data: Matched,
    frame: pd.DataFrame,
    radius: float,
    among: Sequence[str],
    *,
    reps: int,
    seed: int,
) -> Leading:
    """Who of some defences has the narrowest intervals, as shares of the own spread of scores.

    ``frame`` holds the evaluation records that ``data`` was made of.
    """
    table = _candidates(data, radius)
    table = table[table["defense"].isin(among)]
    photographs = frame.drop_duplicates("image").set_index("image")["group"]
    samples = {
        row["defense"]: -_width_samples(
            data.bounds(row["defense"], row["sigma"], radius),
            photographs,
            reps=reps,
            seed=seed,
        )
        for row in rows(table)
    }
    values = {row["defense"]: row["own"] for row in rows(table)}
    found = _leading({d: -v for d, v in values.items()}, samples, data.agreement.photographs)
    return Leading(values, found.first)


def vacuous(data: Matched, radius: float) -> dict[str, float]:
    """Widths of those with a proved radius whose intervals there say nothing, by defence."""
    table = _certifying(data, radius)
    return {row["defense"]: row["own"] for row in rows(table[table["own"] >= VACUOUS])}


def _candidates(data: Matched, radius: float) -> pd.DataFrame:
    """Rows with a proved radius that certify enough images there, with intervals of use."""
    table = _certifying(data, radius)
    return table[table["own"] < VACUOUS]


def _certifying(data: Matched, radius: float) -> pd.DataFrame:
    best = data.best[(data.best["radius"] == radius) & (data.best["rigor"] == PROVED)]
    return best[best["srcc"].notna() & (best["certified"] >= ENOUGH_CERTIFIED)]


def _leading(
    values: Mapping[str, float], samples: Mapping[str, Array], photographs: int
) -> Leading:
    letters = tie_groups(values, samples, groups=photographs)
    order = sorted(defense_order(values), key=lambda d: -values[d])
    return Leading(values, tuple(d for d in order if letters.get(d) == "a"))


def _width_samples(curve: pd.DataFrame, photographs: pd.Series, *, reps: int, seed: int) -> Array:
    """Median width of all images in resamples of whole photographs."""
    groups = [str(photographs[image]) for image in curve["image"]]
    return bootstrap_median(numbers(curve, "own"), cluster_weights(groups, reps=reps, seed=seed))


# --- cost ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of one image under one defence, at the draws that all defences are compared at.

    Attributes:
        certified, plain: With the certificate and without; None where a model was not timed.
        scaled: From how many draws they were scaled up; None if they were measured as they are.
    """

    certified: float | None
    plain: float | None
    scaled: int | None


def equal_draws(time: pd.DataFrame, evaluate: pd.DataFrame) -> int | None:
    """The most draws that anything was timed or certified with; None where nothing was timed.

    With the few draws of a quick timing a defence may have no certificate at all.
    """
    usable = time[time["status"] == "ok"]
    if usable.empty:
        return None
    certified = evaluate["samples"].dropna()
    return int(max(usable["samples"].max(), certified.max() if len(certified) else 0))


def costs(time: pd.DataFrame, models: tuple[str, ...], *, draws: int | None) -> dict[str, Cost]:
    """Mean seconds over models by defence, at equal draws.

    Input noise costs one pass a draw, so seconds of fewer draws are scaled up in proportion.
    """
    usable = time[(time["status"] == "ok") & time["model"].isin(models)]
    found: dict[str, Cost] = {}
    for (defense,), part in grouped(at_draws(usable, draws or np.nan), ["defense"]):
        certified, plain = (
            mean_seconds(part, models, defense, certified=flag) for flag in (True, False)
        )
        scaled = next(iter(scaled_from(part, models, [defense])), None)
        found[str(defense)] = Cost(certified, plain, scaled)
    return found


# --- draws and attacks ---------------------------------------------------------------------------


def draws_by_defense(frame: pd.DataFrame) -> dict[int, list[str]]:
    """Defences by the number of draws behind their certificates, fewest first."""
    found: dict[int, set[str]] = {}
    for row in rows(frame[["defense", "samples"]].drop_duplicates()):
        if known(row["samples"]) is not None:
            found.setdefault(int(row["samples"]), set()).add(str(row["defense"]))
    return {draws: defense_order(found[draws]) for draws in sorted(found)}


def rounded_to_bfloat16(frame: pd.DataFrame) -> list[str]:
    """Defences whose draws are bfloat16, whatever the plan says; bounds of a median are draws.

    Defences with one smoother share their draws.
    """
    issued = frame[frame["status"] == "ok"]
    coarse = {
        smoother
        for (smoother, _), part in grouped(issued, ["smoother", "defense"])
        if _all_bfloat16(_inside(part))
    }
    return defense_order(issued.loc[issued["smoother"].isin(coarse), "defense"].unique())


def _inside(part: pd.DataFrame) -> Array:
    """Bounds that are no end of the range."""
    low, high = numbers(part, "range_low"), numbers(part, "range_high")
    bounds = np.stack([numbers(part, name) for name in ("lower", "upper")])
    return np.asarray(bounds[(bounds > low) & (bounds < high)])


def _all_bfloat16(values: Array) -> bool:
    """Whether all of some numbers have the few binary digits of bfloat16.

    >>> _all_bfloat16(np.array([0.5, 0.515625])), _all_bfloat16(np.array([0.5, 0.51]))
    (True, False)
    """
    tail = values.astype(np.float32).view(np.uint32) & 0xFFFF
    return bool(len(tail)) and not tail.any()


@dataclass(frozen=True, slots=True)
class Broken:
    """Attacked certificates of one defence, and what broke, in the units that are independent.

    Attributes:
        share: How many certificates, images and photographs.
        sigmas: Noise levels of the certificates attacked.
        photographs: Names of the photographs with a violated certificate.
        planted: What was found of certificates made wrong on purpose, by the error.
    """

    share: Share
    sigmas: tuple[float, ...] = ()
    photographs: tuple[str, ...] = ()
    planted: Mapping[str, Share] = field(default_factory=dict)


def broken(audit: pd.DataFrame) -> dict[str, Broken]:
    """What attacks inside the certified balls broke, by defence."""
    found = {}
    for (defense,), everything in grouped(audit, ["defense"]):
        claims = genuine(everything)
        names = tuple(sorted(map(str, wrong(claims)["group"].unique())))
        sigmas = tuple(sorted(float(s) for s in decided(claims)["sigma"].dropna().unique()))
        found[str(defense)] = Broken(share(claims), sigmas, names, power(everything))
    return found
