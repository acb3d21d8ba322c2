"""What attacks gain, read off attack records.

This module knows the columns of attack records; it must not know how an attack is made or shown.
A gain is the change in the direction the attacker pushes, so positive is success both ways.  Up is
towards better quality, whatever the sign of a score: a distance that grows makes a score fall.  A
stronger attacker may do what a weaker one can: image by image the best of all strengths up to each
is kept, so no curve falls.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from bench.analysis.frames import grouped, numbers
from bench.analysis.names import PAPERS_DEFENSE, UNDEFENDED
from bench.analysis.statistics import Array, cluster_interval, cluster_weights

Measure = Literal["relative", "gain", "human", "percentile"]
MEASURES: tuple[Measure, ...] = ("relative", "gain", "human", "percentile")
"""Gain as a share of the score before (the paper's), as a share of the score range, in units of
human scores, and as the share of clean scores that the attacked score moved past."""
LINE = ["model", "defense", "attack", "norm", "direction"]
"""What one curve of a figure is about."""
PAPERS_SMALLEST = 0.02
"""The paper's strengths begin here."""
_SIGN = {"up": 1.0, "down": -1.0}
_NOTHING = 1e-6


def of_kind(frame: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Attack records of one kind; a run from before there were two has white-box attacks."""
    return frame[_kinds(frame) == kind]


def _kinds(frame: pd.DataFrame) -> pd.Series:
    return frame["attack"].fillna("white-box")


def measured(
    attack: pd.DataFrame, evaluate: pd.DataFrame, calibration: pd.DataFrame | None = None
) -> pd.DataFrame:
    """A row for each attacked image and strength, with its gain in every measure.

    Args:
        attack: Attack records.
        evaluate: Evaluation records of the same run, whose scores are the clean ones.
        calibration: Lines from scores to human scores; without them nothing is said in units of
            human scores.

    Returns:
        The columns of attack records, ``direction`` by quality, the sign of a success for the score
        (``push``), the kept ``change``, what this strength alone changed
        (``made``, a share of the range), every measure, and the change in standard deviations of
        the clean scores (``deviations``).
    """
    kept = _kept(_by_quality(attack, rising(evaluate)))
    if kept.empty:
        return kept
    clean = clean_scores(attack, evaluate)
    units = human_units(evaluate, calibration)
    return pd.concat(
        [
            _in_measures(part, clean[key[0], key[1]], units.get((key[0], key[1]), np.nan))
            for key, part in grouped(kept, LINE)
        ],
        ignore_index=True,
    )


def rising(evaluate: pd.DataFrame) -> dict[tuple[str, str], bool]:
    """Whether a higher score means better quality, by model and defence."""
    columns = ["model", "defense", "higher_is_better", "undefended_higher_is_better"]
    found: dict[tuple[str, str], bool] = {}
    for (model, defense, own, undefended), _ in grouped(evaluate, columns):
        found |= {(model, defense): bool(own), (model, UNDEFENDED): bool(undefended)}
    return found


def _by_quality(
    attack: pd.DataFrame, higher_is_better: Mapping[tuple[str, str], bool]
) -> pd.DataFrame:
    """Records with ``direction`` by quality and the sign that a success has in the score.

    A record names the direction of the attacked score: of the undefended model's in a transfer.
    """
    kind = _kinds(attack)
    attacked = attack["defense"].where(kind != "transfer", UNDEFENDED)

    def signs(defenses: pd.Series) -> Array:
        keys = zip(attack["model"], defenses, strict=True)
        return np.array([1.0 if higher_is_better.get(key, True) else -1.0 for key in keys])

    quality = attack["direction"].map(_SIGN).to_numpy(dtype=np.float64) * signs(attacked)
    named = np.where(quality > 0, "up", "down")
    return attack.assign(attack=kind, direction=named, push=quality * signs(attack["defense"]))


def human_units(
    evaluate: pd.DataFrame, calibration: pd.DataFrame | None
) -> dict[tuple[str, str], float]:
    """Human-score units in one unit of score, by model and defence.

    A scorer of noisy features is trained on human scores and speaks in their units; everybody else
    speaks in those of the model, which the calibration line translates.
    """
    if calibration is None:
        return {}
    slopes = calibration.dropna(subset=["slope"]).drop_duplicates("model").set_index("model")
    known = {str(model): abs(float(slope)) for model, slope in slopes["slope"].items()}
    found = {(model, UNDEFENDED): slope for model, slope in known.items()}
    for (model, defense, smoother), _ in grouped(evaluate, ["model", "defense", "smoother"]):
        found[model, defense] = 1.0 if smoother == "features" else known.get(model, np.nan)
    return found


def _kept(attack: pd.DataFrame) -> pd.DataFrame:
    """Attacks of the images that have every strength of their line, the best so far kept."""
    usable = attack[attack["status"] == "ok"].dropna(subset=["score_before", "score_after"])
    usable = usable.sort_values("epsilon")
    if usable.empty:
        return usable
    moved = numbers(usable, "score_after") - numbers(usable, "score_before")
    usable["change"] = numbers(usable, "push") * moved
    usable["made"] = usable["change"] / _range(usable)
    images = usable.groupby([*LINE, "image"])
    # Means over images that come and go could fall.
    whole = images["epsilon"].transform("size") == usable.groupby(LINE)["epsilon"].transform(
        "nunique"
    )
    return usable.assign(change=images["change"].cummax())[whole]


def _range(frame: pd.DataFrame) -> Array:
    return numbers(frame, "range_high") - numbers(frame, "range_low")


def _in_measures(line: pd.DataFrame, clean: Array, unit: float) -> pd.DataFrame:
    """One line's gains in every measure; ``unit`` is of human scores."""
    sign = float(line["push"].iloc[0])
    before, change = numbers(line, "score_before"), numbers(line, "change")
    moved = percentile(before + sign * change, clean) - percentile(before, clean)
    spread = float(np.std(clean, ddof=1)) if len(clean) > 1 else 0.0
    return line.assign(
        gain=change / _range(line),
        relative=np.divide(change, before, out=np.full(len(line), np.nan), where=before > 0),
        human=change * unit,
        percentile=sign * moved,
        deviations=change / spread if spread > 0 else np.nan,
    )


def clean_scores(attack: pd.DataFrame, evaluate: pd.DataFrame) -> dict[tuple[str, str], Array]:
    """Scores of the run's images as they are, by model and defence.

    Where the run did not evaluate what it attacked, those of the attacked images before.
    """
    found: dict[tuple[str, str], Array] = {}
    for (model, defense, sigma), part in grouped(attack, ["model", "defense", "sigma"]):
        of_model = evaluate[(evaluate["model"] == model)]
        if defense == UNDEFENDED:
            scores = numbers(of_model.drop_duplicates("image"), "undefended")
        else:
            same = (of_model["defense"] == defense) & (of_model["sigma"] == sigma)
            scores = numbers(of_model[same], "score")
        scores = scores[np.isfinite(scores)]
        own = numbers(part.drop_duplicates("image"), "score_before")
        found[model, defense] = scores if len(scores) > 1 else own[np.isfinite(own)]
    return found


def percentile(scores: Array, clean: Array) -> Array:
    """Share of the clean scores below each score; equal ones count half.

    >>> percentile(np.array([0.0, 2.0, 9.0]), np.array([1.0, 2.0, 3.0, 4.0])).tolist()
    [0.0, 0.375, 1.0]
    """
    ordered = np.sort(clean)
    below = np.searchsorted(ordered, scores, side="left")
    upto = np.searchsorted(ordered, scores, side="right")
    return np.asarray((below + upto) / (2 * max(len(ordered), 1)), dtype=np.float64)


def attack_summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over images of every measure with their standard errors, line by line.

    Args:
        rows: What :func:`measured` made.
    """
    return pd.DataFrame([_means(key, part) for key, part in grouped(rows, [*LINE, "epsilon"])])


def _means(key: Sequence[object], part: pd.DataFrame) -> dict[str, object]:
    found: dict[str, object] = dict(zip([*LINE, "epsilon"], key, strict=True))
    groups = [str(group) for group in part["group"]]
    for measure in MEASURES:
        values = numbers(part, measure)
        found[measure] = _mean(values)
        found[f"{measure}_error"] = clustered_error(values, groups)
    found["deviations"] = _mean(numbers(part, "deviations"))
    found["made"] = _mean(numbers(part, "made"))
    return found | {"images": part["image"].nunique(), "photographs": len(set(groups))}


def _mean(values: Array) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def clustered_error(values: Array, groups: Sequence[str]) -> float:
    """Standard error of a mean whose values come in groups; NaN for fewer than two groups.

    Versions of one photograph are not independent.  With one value a group it is the usual one.

    >>> round(clustered_error(np.array([1.0, 3.0]), ["a", "b"]), 12)
    1.0
    """
    known = np.isfinite(values)
    names, place = np.unique(np.asarray(groups, dtype=str)[known], return_inverse=True)
    if len(names) < 2:
        return float("nan")
    residuals = values[known] - values[known].mean()
    sums = np.bincount(place, weights=residuals)
    shrunk = len(names) / (len(names) - 1)
    return float(np.sqrt(shrunk * np.sum(sums**2)) / known.sum())


def strength_for_one_deviation(line: pd.DataFrame) -> float | None:
    """Smallest strength whose mean change is one standard deviation of the clean scores.

    Between two strengths the curve is taken as straight; at strength 0 nothing has changed.

    Args:
        line: Rows of one line of :func:`attack_summary`.

    Returns:
        None if no tried strength reaches it.
    """
    ordered = line.sort_values("epsilon")
    across = np.concatenate([[0.0], numbers(ordered, "epsilon")])
    up = np.concatenate([[0.0], numbers(ordered, "deviations")])
    reached = np.flatnonzero(up >= 1.0)
    if not len(reached):
        return None
    at = int(reached[0])
    share = (1.0 - up[at - 1]) / (up[at] - up[at - 1])
    return float(across[at - 1] + share * (across[at] - across[at - 1]))


@dataclass(frozen=True, slots=True)
class Suppression:
    """How much less an attack gains against the paper's defence than against the plain model.

    Attributes:
        attack: ``transfer`` or ``white-box``.
        norm: Of the attack.
        direction: ``up`` or ``down``.
        measure: In which gains are compared.
        value: One minus the ratio of mean gains, averaged over the paper's strengths.
        interval: 95 %, over photographs; None if it is undefined.
    """

    attack: str
    norm: str
    direction: str
    measure: Measure
    value: float
    interval: tuple[float, float] | None


def suppressions(rows: pd.DataFrame, *, reps: int = 2000) -> list[Suppression]:
    """Suppression by the paper's defence in every measure: upwards first, transfer first.

    Args:
        rows: What :func:`measured` made.
        reps: Resamples of photographs.
    """
    if rows.empty:
        return []
    papers = rows[rows["epsilon"] >= PAPERS_SMALLEST]
    plain, defended = (papers[papers["defense"] == d] for d in (UNDEFENDED, PAPERS_DEFENSE))
    return [
        Suppression(attack, norm, direction, measure, value, interval)
        for direction in ("up", "down")
        for attack in ("transfer", "white-box")
        for norm in sorted(papers["norm"].unique(), reverse=True)
        for measure in MEASURES
        for value, interval in _suppressed(
            *(
                part[(part["norm"] == norm) & (part["direction"] == direction)]
                for part in (plain, defended[defended["attack"] == attack])
            ),
            measure=measure,
            reps=reps,
        )
    ]


def _suppressed(
    plain: pd.DataFrame, defended: pd.DataFrame, *, measure: Measure, reps: int
) -> Iterator[tuple[float, tuple[float, float] | None]]:
    """Suppression of one attack in one measure, if both sides have gains."""
    before, after = (
        part.pivot_table(index=["group", "image"], columns="epsilon", values=measure)
        for part in (plain, defended)
    )
    before, after = before.align(after, join="inner")
    before = before.dropna()
    after = after.reindex(before.index).dropna()
    before = before.loc[after.index]
    before = before.loc[:, before.mean() > _NOTHING]
    if before.empty:
        return
    gains = before.to_numpy(dtype=np.float64), after[before.columns].to_numpy(dtype=np.float64)
    groups = [str(group) for group in before.index.get_level_values("group")]
    weights = cluster_weights(groups, reps=reps, seed=0)
    value = float(_one_minus_ratio(np.ones((1, len(groups))), *gains)[0])
    samples = _one_minus_ratio(weights, *gains)
    yield value, cluster_interval(value, samples, groups=len(set(groups)))


def _one_minus_ratio(weights: Array, plain: Array, defended: Array) -> Array:
    """One minus the ratio of weighted mean gains, averaged over strengths, ``(reps,)``."""
    below = weights @ plain
    ratio = np.divide(weights @ defended, below, out=np.full(below.shape, np.nan), where=below > 0)
    return np.asarray(1.0 - ratio.mean(axis=1), dtype=np.float64)


def by_norm(
    found: Sequence[Suppression], *, attack: str, measure: Measure
) -> Mapping[str, Suppression]:
    """Suppressions of one attack upwards in one measure, by norm."""
    wanted = (attack, measure, "up")
    return {s.norm: s for s in found if (s.attack, s.measure, s.direction) == wanted}
