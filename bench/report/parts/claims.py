# ruff: noqa: RUF001 - Greek letters are meant
"""What this run says about each claim of the paper: the rule, the numbers, the answer.

This module knows the claims and the rules; it must not know how anything is printed.  In the
compact edition a claim about a size is judged by its direction only (scope ``trend``): its networks
and labels are not the paper's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np

from bench.analysis.agreement import METRICS, Agreement, Metric
from bench.analysis.attacks import Measure, Suppression, by_norm, measured, suppressions
from bench.analysis.cost import model_seconds, stability
from bench.analysis.names import PAPERS_DEFENSE, defense_title, model_order, model_title
from bench.analysis.published import Published
from bench.analysis.source import FrameRun
from bench.analysis.statistics import Array, clopper_pearson, cluster_interval
from bench.plan.profile import Profile
from bench.report.document import Verdict
from bench.report.numbers import PERCENT, Format, number
from bench.report.parts.attacks import norm_title
from bench.report.parts.figure_claims import figure_claims
from bench.report.parts.judging import Claim, Scope, timed_from, unequal_draws

RIVAL = "dms-iqa"
ALIKE = ("rs-reg", "cert-reg", "ms")
PAPERS_DATA = ("koniq10k", "kadid10k")
PAPERS_SAMPLES = 2000
ATTACKED = "koncept"
_FINE = Format(significant=2, unit=" %", scale=100)
_SIZE_TOLERANCE = 0.05
_SAME = 0.01
_FLAT = 0.05


@dataclass(frozen=True)
class Evidence:
    """What the claims are judged by."""

    run: FrameRun
    found: Mapping[str, Agreement]
    paper: Published
    reps: int

    @property
    def scope(self) -> Scope:
        """Sizes can only be judged in the paper's own setting."""
        return "size" if is_papers_setting(self.run.profile) else "trend"


def is_papers_setting(profile: Profile) -> bool:
    """The authors' networks on their two data sets with their number of draws."""
    return (
        profile.edition == "published"
        and (profile.data.nr, profile.data.fr) == PAPERS_DATA
        and profile.certificate.samples == PAPERS_SAMPLES
    )


def verdicts(
    run: FrameRun, found: Mapping[str, Agreement], paper: Published, *, reps: int
) -> list[Verdict]:
    """All claims, in the order in which the paper makes them.

    Args:
        run: Its tables and facts.
        found: Agreement with human scores by mode.
        paper: What the paper says.
        reps: Resamples behind the intervals that are made here: as many as behind the tables'.
    """
    evidence = Evidence(run, found, paper, reps)
    return [
        _gain(evidence, "srcc"),
        _gain(evidence, "plcc"),
        _time(evidence, certified=True),
        _time(evidence, certified=False),
        _suppression(evidence),
        _abstention(evidence),
        _stability(evidence),
        _alike(evidence),
        _flat(evidence),
        _falling(evidence),
        *figure_claims(evidence.run),
    ]


def _gain(evidence: Evidence, metric: Metric) -> Verdict:
    value = evidence.paper.claim(f"{metric}_gain")
    name = metric.upper()
    words = (
        f"FS-IQA's {name} exceeds DMS-IQA's by {number(value, PERCENT)} "
        "(mean relative gain over NR and FR and all noise levels)"
    )
    rule = (
        "size: the 95 % interval (over photographs) of the gain contains the paper's number, or "
        f"the gain is within {number(_SIZE_TOLERANCE, PERCENT)} (points) of it."
        if evidence.scope == "size"
        else "trend: same direction if the 95 % interval (over photographs) of the gain lies above "
        "zero, opposite if it lies below, otherwise undecided."
    )
    claim = Claim(words, rule, evidence.scope)
    gain, samples, problem = relative_gain(evidence.found, metric)
    if gain is None:
        return claim.unknown(problem)
    groups = min(agreement.photographs for agreement in evidence.found.values())
    interval = cluster_interval(gain, samples, groups=groups)
    if interval is None:
        return claim.unknown(f"Measured gain {number(gain, PERCENT)}; its bootstrap is undefined.")
    low, high = interval
    text = (
        f"Measured gain {number(gain, PERCENT)}, 95 % interval {number(low, PERCENT)} to "
        f"{number(high, PERCENT)}."
    )
    if evidence.scope == "size":
        close = low <= value <= high or abs(gain - value) <= _SIZE_TOLERANCE
        return claim.judged(text, yes=close, no=not close)
    return claim.judged(text, yes=low > 0, no=high < 0)


def relative_gain(
    found: Mapping[str, Agreement], metric: Metric
) -> tuple[float | None, Array, str]:
    """Mean relative gain over the columns of both tables, its bootstrap, and what is in the way.

    The bootstrap is joint over both modes where they share a data set, and independent otherwise.
    """
    gains, samples, nothing = [], [], np.empty(0)
    for mode in ("NR", "FR"):
        if mode not in found or not {PAPERS_DEFENSE, RIVAL} <= set(found[mode].defenses):
            return None, nothing, f"This run lacks FS-IQA or DMS-IQA on {mode} models."
        agreement = found[mode]
        for sigma in agreement.sigmas:
            ours, rival = (agreement.mean(metric, d, sigma) for d in (PAPERS_DEFENSE, RIVAL))
            if not ours.complete or not rival.complete:
                return None, nothing, f"Unequal or incomplete sets: {mode}, σ = {sigma:g}."
            if ours.value is None or rival.value is None or rival.value < 0.05:
                why = f"A relative gain over DMS-IQA is meaningless at {mode}, σ = {sigma:g}: "
                values = f"its {metric.upper()} is {number(rival.value)}, FS-IQA's "
                return None, nothing, f"{why}{values}{number(ours.value)}."
            gains.append(ours.value / rival.value - 1)
            base = agreement.mean_samples(metric, RIVAL, sigma)
            with np.errstate(divide="ignore", invalid="ignore"):
                samples.append(agreement.mean_samples(metric, PAPERS_DEFENSE, sigma) / base - 1)
    return float(np.mean(gains)), np.mean(samples, axis=0), ""


def _time(evidence: Evidence, *, certified: bool) -> Verdict:
    name = "certified" if certified else "uncertified"
    value = evidence.paper.claim(f"{name}_time_saving")
    how = "with" if certified else "without"
    words = (
        f"FS-IQA saves {number(value, PERCENT)} of DMS-IQA's time {how} the certificate "
        "(mean of NR and FR)"
    )
    size = evidence.scope == "size"
    rule = (
        f"size: the saving is within {number(_SIZE_TOLERANCE, PERCENT)} (points) of the paper's."
        if size
        else "trend: same direction if every model is faster, opposite if every model or the mean "
        "is slower, otherwise undecided. Times depend on the machine and the image size; with "
        "unequal numbers of draws nothing can be said."
    )
    claim = Claim(words, rule, evidence.scope)
    frame = evidence.run.table("time")
    if unequal := unequal_draws(frame, (PAPERS_DEFENSE, RIVAL)):
        return claim.unknown(unequal)
    modes, single = [], []
    for agreement in evidence.found.values():
        ours, rival = (
            model_seconds(frame, agreement.models, d, certified=certified)
            for d in (PAPERS_DEFENSE, RIVAL)
        )
        if set(ours) != set(agreement.models) or set(rival) != set(agreement.models):
            continue
        modes.append(1 - sum(ours.values()) / sum(rival.values()))
        single += [1 - ours[m] / rival[m] for m in agreement.models]
    if len(modes) < 2:
        return claim.unknown("Not every model, NR and FR, was timed under both.")
    saving = float(np.mean(modes))
    text = (
        f"Measured saving {number(saving, PERCENT)} (models {number(min(single), PERCENT)}"
        f" to {number(max(single), PERCENT)}).{timed_from(frame, (PAPERS_DEFENSE, RIVAL))}"
    )
    if size:
        close = abs(saving - value) <= _SIZE_TOLERANCE
        return claim.judged(text, yes=close, no=not close)
    return claim.judged(text, yes=min(single) > 0, no=saving <= 0 or max(single) <= 0)


def _suppression(evidence: Evidence) -> Verdict:
    value = evidence.paper.claim("attack_suppression")
    words = f"FS-IQA suppresses {number(value, PERCENT)} of the attack's gain on KonCept"
    size = evidence.scope == "size"
    rule = (
        "The paper made its perturbations with the undefended model: judged under transfer, "
        "upwards. Suppression is one minus the ratio of mean gains relative to the score, averaged "
        "over strengths; the paper does not state its norm. "
        + (
            f"size: any norm is within {number(0.1, PERCENT)} (points) of the paper's number."
            if size
            else "trend: same direction if the 95 % interval over photographs lies above zero in "
            "every norm, opposite if it lies below in every norm, otherwise undecided."
        )
    )
    claim = Claim(words, rule, evidence.scope)
    attack = evidence.run.table("attack")
    scored, lines = (evidence.run.table(name) for name in ("evaluate", "calibration"))
    found = suppressions(measured(attack, scored, lines), reps=evidence.reps)
    judged = list(by_norm(found, attack="transfer", measure="relative").values())
    text = _suppression_text(found)
    others = set(attack["model"]) - {ATTACKED}
    if found and others:
        names = ", ".join(model_title(name) for name in model_order(set(attack["model"])))
        return claim.unknown(f"The attack was run on {names}. {text}")
    if not judged:
        return claim.unknown(
            "What was found on the undefended model was not scored by FS-IQA, or it gains "
            f"nothing there. {text}".strip()
        )
    if size:
        close = any(abs(s.value - value) <= 0.1 for s in judged)
        return claim.judged(text, yes=close, no=not close)
    low, high = (
        [s.interval[end] if s.interval else float("nan") for s in judged] for end in (0, 1)
    )
    return claim.judged(text, yes=min(low) > 0, no=max(high) < 0)


def _suppression_text(found: Sequence[Suppression]) -> str:
    """Upwards, in the paper's measure and as a share of the range, transfer first."""
    kinds = (("transfer", "Transfer"), ("white-box", "White-box"))
    measures: tuple[tuple[Measure, str], ...] = (
        ("relative", "share of score"),
        ("gain", "share of range"),
        ("human", "human-score units"),
    )
    sentences = []
    for (attack, kind), (measure, of) in product(kinds, measures):
        values = by_norm(found, attack=attack, measure=measure)
        if values:
            listed = ", ".join(
                f"{number(s.value, PERCENT)}{_between(s.interval)} ({norm_title(norm)})"
                for norm, s in sorted(values.items())
            )
            sentences.append(f"{kind}, {of}: {listed}.")
    return " ".join(sentences)


def _between(interval: tuple[float, float] | None) -> str:
    if interval is None:
        return ""
    return f" [{number(interval[0], PERCENT)}, {number(interval[1], PERCENT)}]"


def _abstention(evidence: Evidence) -> Verdict:
    value = evidence.paper.claim("abstention")
    words = f"FS-IQA abstains on {number(value, PERCENT)} of the images"
    limit = 0.05
    rule = (
        "size: the exact 95 % interval contains the paper's number."
        if evidence.scope == "size"
        else "trend (abstention is rare): same direction if the exact 95 % interval lies below "
        f"{number(limit, PERCENT)}, opposite if it lies above, otherwise undecided. "
        "Images are counted once per model and noise level, as if independent."
    )
    claim = Claim(words, rule, evidence.scope)
    frame = evidence.run.table("evaluate")
    tried = frame[(frame["defense"] == PAPERS_DEFENSE) & frame["status"].isin(["ok", "abstained"])]
    if tried.empty:
        return claim.unknown("FS-IQA has no records.")
    k, m = int((tried["status"] == "abstained").sum()), len(tried)
    low, high = clopper_pearson(k, m)
    text = (
        f"Measured {k}/{m} = {number(k / m, PERCENT)}, 95 % interval {number(low, PERCENT)} to "
        f"{number(high, PERCENT)}."
    )
    if evidence.scope == "size":
        inside = low <= value <= high
        return claim.judged(text, yes=inside, no=not inside)
    return claim.judged(text, yes=high < limit, no=low > limit)


def _stability(evidence: Evidence) -> Verdict:
    value = evidence.paper.claim("stability")
    limit = 2 * value
    words = f"FS-IQA's output varies by {number(value, _FINE)} between runs"
    rule = (
        "it holds if the mean standard deviation of repeated scores of an image, as a share of the "
        f"score range, is at most {number(limit, _FINE)} (twice the paper's number; how "
        "it was measured is not stated)."
    )
    claim = Claim(words, rule, evidence.scope)
    mean, error = stability(evidence.run.table("time"), PAPERS_DEFENSE)
    if mean is None:
        return claim.unknown("No repeated scores of FS-IQA were recorded.")
    spread = "" if error is None else f" ± {number(error, _FINE)}"
    text = f"Measured {number(mean, _FINE)}{spread} (mean ± standard error over records)."
    return claim.judged(text, yes=mean <= limit, no=mean > limit)


def _alike(evidence: Evidence) -> Verdict:
    words = "RS-Reg, Cert-Reg and MS have the same SRCC and PLCC (RS-Reg = Cert-Reg = MS)"
    rule = (
        f"it holds if no two of their means differ by more than {_SAME:g} in any column of "
        "Tables 1 and 2; no if two do whose 95 % paired interval leaves out zero; else undecided."
    )
    claim = Claim(words, rule, evidence.scope)
    worst, clear, columns = 0.0, [], 0
    for (mode, agreement), metric in product(evidence.found.items(), METRICS):
        for sigma, names in product(agreement.sigmas, combinations(ALIKE, 2)):
            pair = [agreement.mean(metric, name, sigma) for name in names]
            if not all(m.complete and m.value is not None for m in pair):
                return claim.unknown(f"Unequal or missing sets: {mode}, σ = {sigma:g}.")
            a, b = (m.value or 0.0 for m in pair)
            columns += 1
            worst = max(worst, abs(a - b))
            if abs(a - b) > _SAME and _differs(agreement, metric, *names, sigma):
                told = (
                    f"{defense_title(d)} {number(v)}" for d, v in zip(names, (a, b), strict=True)
                )
                clear.append(f"{mode} {metric.upper()} σ = {sigma:g}: {', '.join(told)}")
    if not columns:
        return claim.unknown("This run has no records.")
    text = f"Largest difference {number(worst, Format(3))} in {columns} comparisons"
    text += f"; told apart: {'; '.join(clear)}." if clear else "; none is told apart."
    return claim.judged(text, yes=worst <= _SAME, no=bool(clear))


def _differs(agreement: Agreement, metric: Metric, first: str, second: str, sigma: float) -> bool:
    _, found = agreement.difference(metric, first, second, sigma)
    return found is not None and not found[0] <= 0.0 <= found[1]


def _flat(evidence: Evidence) -> Verdict:
    words = "FS-IQA's SRCC does not depend on the noise level"
    rule = (
        f"same direction if its mean SRCC at the largest noise level is within {_FLAT:g} of "
        "that at the smallest, NR and FR; opposite if in neither; otherwise undecided."
    )
    return _drops(evidence, Claim(words, rule, "trend"), (PAPERS_DEFENSE,), flat=True)


def _falling(evidence: Evidence) -> Verdict:
    words = "The SRCC of input-noise defences falls with the noise level"
    rule = (
        "same direction if the mean SRCC of every one of them falls from the smallest to the "
        f"largest noise level by more than {_FLAT:g}, NR and FR; opposite if none falls; "
        "otherwise undecided."
    )
    return _drops(evidence, Claim(words, rule, "trend"), (*ALIKE, "dms", RIVAL), flat=False)


def _drops(evidence: Evidence, claim: Claim, defenses: tuple[str, ...], *, flat: bool) -> Verdict:
    """Change of SRCC from the smallest to the largest noise level."""
    changes: dict[str, float] = {}
    for mode, agreement in evidence.found.items():
        for defense in (d for d in defenses if d in agreement.defenses):
            ends = [
                agreement.mean("srcc", defense, s)
                for s in (agreement.sigmas[0], agreement.sigmas[-1])
            ]
            if len(agreement.sigmas) > 1 and all(m.complete and m.value is not None for m in ends):
                change = (ends[1].value or 0.0) - (ends[0].value or 0.0)
                changes[f"{defense_title(defense)} {mode}"] = change
            else:
                return claim.unknown(
                    "Fewer than two noise levels, or "
                    f"incomplete sets for {defense_title(defense)}, {mode}."
                )
    if not changes:
        return claim.unknown("No such defence in this run.")
    text = "Change: " + ", ".join(
        f"{name} {number(v, Format(2, signed=True))}" for name, v in changes.items()
    )
    values = changes.values()
    good = [abs(v) <= _FLAT if flat else v < -_FLAT for v in values]
    return claim.judged(text + ".", yes=all(good), no=not any(good))
