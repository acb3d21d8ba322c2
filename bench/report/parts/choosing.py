# ruff: noqa: RUF001 - Greek letters are meant
"""What to choose, in sentences made by rule from the numbers of page 1.

Nobody is chosen where photographs are too few to tell defences apart, and no defence whose radius
is not proved is chosen for its guarantee.  This module must not know how a leader is found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.analysis.audits import Share
from bench.analysis.decision import ALIKE, Broken, Leading
from bench.analysis.names import defense_order, defense_title
from bench.analysis.statistics import ENOUGH
from bench.analysis.widths import PROVED
from bench.report.numbers import PERCENT, SECONDS, number
from bench.report.parts.decision import WIDTH, Decision
from bench.report.parts.leaders import listed

LIKELY = 0.5
"""Share of planted errors from which an error of that size would likely have been found."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Who leads at one radius of one mode: by accuracy, and of those by width.

    Attributes:
        accuracy, width: Of defences with a proved radius, by either measure.
        vacuous: Widths of those left out because their intervals say nothing.
        sigmas: The noise levels it was made from.
        common: The same from the noise levels that all were run with, where some had more.
    """

    accuracy: Leading
    width: Leading
    vacuous: Mapping[str, float]
    sigmas: tuple[float, ...] = ()
    common: Choice | None = None


def choices(
    decision: Decision,
    plain: Mapping[str, Leading],
    guaranteed: Mapping[tuple[str, float], Choice],
) -> tuple[str, ...]:
    """One sentence for each thing that may matter.

    Args:
        decision: The numbers of page 1.
        plain: Who has the highest SRCC, whatever it guarantees, by mode.
        guaranteed: Who leads at each mode and radius.
    """
    return (
        *_too_few(decision),
        most_accurate(plain),
        *_guaranteed(guaranteed),
        *_cheapest(decision),
        *_proved(decision),
        *_unproved(decision),
    )


def _too_few(decision: Decision) -> Iterator[str]:
    few = [d.agreement for d in decision.data.values() if not d.agreement.enough]
    if few:
        yield (
            f"**Nobody is chosen for accuracy or width where photographs are fewer than {ENOUGH}** "
            f"({listed(f'{a.mode} {a.photographs}' for a in few)}): they cannot tell defences "
            "apart."
        )


def most_accurate(plain: Mapping[str, Leading]) -> str:
    """Who has the highest SRCC, whatever it guarantees."""
    told = [f"{mode} {_leader(leading)}" for mode, leading in plain.items() if leading.values]
    if not told:
        return (
            "**If only accuracy matters:** nobody has an SRCC: scores that are all alike have none."
        )
    return f"**If only accuracy matters**, not the guarantee: {'; '.join(told)} (best SRCC)."


def _leader(leading: Leading) -> str:
    values = leading.values
    high, low = (pick(values, key=lambda d: values[d]) for pick in (max, min))
    ends = f"{number(values[high])} ({defense_title(high)}) to {number(values[low])}"
    ends += f" ({defense_title(low)})"
    if len(values) == 1:
        return f"only {defense_title(high)} ({number(values[high])})"
    if not leading.first:
        return f"undecided, {ends}"
    if len(leading.first) == len(values):
        return f"all are tied, {ends}"
    best, *tied = leading.first
    beside = f", tied with {listed(map(defense_title, tied))}" if tied else ""
    return f"choose {defense_title(best)} ({number(values[best])}{beside})"


def _guaranteed(found: Mapping[tuple[str, float], Choice]) -> Iterator[str]:
    """Of those whose proved intervals say something and that lead in accuracy, the narrowest."""
    told: dict[str, list[str]] = {}
    for (mode, radius), one in found.items():
        told.setdefault(mode, []).append(f"ρ = {radius:g}: {choice_words(one)}")
    for mode, words in told.items():
        yield f"**If a proved interval matters, {mode}:** {'; '.join(words)}."


def choice_words(choice: Choice) -> str:
    """Who is chosen at one radius, who is as good, and whose intervals say nothing.

    Where some were run with more noise levels than others: who would be without these, too.
    """
    told = _choice_words(choice) + (_left_out(choice.vacuous) if choice.accuracy.values else "")
    if choice.common is None or choice.common.width.first[:1] == choice.width.first[:1]:
        return told
    levels = listed(f"{sigma:g}" for sigma in choice.common.sigmas)
    other = _best(choice.common) or "nobody"
    return f"{told}; if only σ = {levels} count, which all were run with: {other}"


def _best(choice: Choice, aside: str = "") -> str:
    """Who is chosen, with both numbers; nothing where nobody can be."""
    for best in choice.width.first[:1]:
        srcc, width = choice.accuracy.values[best], number(choice.width.values[best], WIDTH)
        return f"{defense_title(best)} (SRCC {number(srcc)}, width {width}{aside})"
    return ""


def _choice_words(choice: Choice) -> str:
    accuracy, width = choice.accuracy, choice.width
    if not accuracy.values and not choice.vacuous:
        return "nobody certifies enough images"
    if not accuracy.values:
        best = min(choice.vacuous, key=lambda d: choice.vacuous[d])
        return (
            f"nobody, even the narrowest ({defense_title(best)}) is wider than the spread of its "
            f"own scores (width {number(choice.vacuous[best], WIDTH)})"
        )
    if not accuracy.first or not width.first:
        return _leader(accuracy)
    tied = width.first[1:]
    beside = f", tied with {listed(map(defense_title, tied))}" if tied else ""
    others = [d for d in accuracy.first if d not in width.first]
    over = f"; wider, SRCC not told apart: {listed(map(defense_title, others))}" if others else ""
    return f"choose {_best(choice, beside + over)}"


def _left_out(vacuous: Mapping[str, float]) -> str:
    if not vacuous:
        return ""
    names = defense_order(vacuous)
    verb, whose = ("is", "its") if len(names) == 1 else ("are", "their")
    told = listed(map(defense_title, names))
    return (
        f", not {told}, which at {whose} most accurate σ {verb} wider than the spread of {whose} "
        "own scores"
    )


def _cheapest(decision: Decision) -> Iterator[str]:
    """The cheapest certificate of all, and of those with a proved radius."""
    seconds = {
        defense: values
        for defense in decision.order
        if defense not in decision.busy and (values := _both(decision, defense)) is not None
    }
    if len(seconds) < 2:
        why = "the machine was busy" if decision.busy else "not every defence was timed"
        yield f"**If time matters:** {why}, so nothing is said."
        return
    proved = {d: s for d, s in seconds.items() if decision.rigor[d] == PROVED}
    apart = max(ALIKE, _apart(decision, seconds))
    every, safe = (_cheap(found, apart) if found else "" for found in (seconds, proved))
    words = [every] if safe in ("", every) else [f"of proved radii, {safe}", f"of all, {every}"]
    at = f"N = {decision.draws:,}" if decision.draws else "equal N"
    busy = listed(map(defense_title, defense_order(decision.busy))) if decision.busy else ""
    beside = f"; not compared, timed on a busy machine: {busy}" if busy else ""
    yield f"**If time matters** (seconds of a certificate, {at}): {'; '.join(words)}{beside}."


def _both(decision: Decision, defense: str) -> float | None:
    found = [costs.get(defense) for costs in decision.costs.values()]
    values = [cost.certified for cost in found if cost is not None and cost.certified is not None]
    return sum(values) / len(values) if values and len(values) == len(found) else None


def _apart(decision: Decision, seconds: Mapping[str, float]) -> float:
    """Largest ratio of seconds between defences that make the same passes: the timing's own."""
    by_smoother: dict[str, list[float]] = {}
    for defense, value in seconds.items():
        by_smoother.setdefault(decision.smoothers.get(defense, defense), []).append(value)
    return max(max(same) / min(same) for same in by_smoother.values())


def _cheap(seconds: Mapping[str, float], apart: float) -> str:
    """Who takes the fewest seconds, with all that the timing cannot tell from it."""
    least = min(seconds.values())
    alike = [d for d, s in seconds.items() if s <= apart * least]
    rest = {d: s for d, s in seconds.items() if d not in alike}
    most = max(seconds[d] for d in alike)
    to = f" to {number(most, SECONDS)}" if most > ALIKE * least else ""
    text = f"choose {' or '.join(map(defense_title, alike))} ({number(least, SECONDS)}{to} s"
    if rest:
        nearest = min(rest, key=lambda d: rest[d])
        text += f"; next {defense_title(nearest)}, {number(rest[nearest], SECONDS)} s"
    return text + ")"


def _proved(decision: Decision) -> Iterator[str]:
    """What attacks broke of the proved radii, and whether they would have noticed a wrong one."""
    proved = [defense for defense in decision.order if decision.rigor[defense] == PROVED]
    tried = {d: one for d in proved if (one := decision.broken.get(d)) and one.share.claims}
    if not tried:
        if proved:
            yield "**Proved radii:** no certificate was attacked in this run."
        return
    found, shares = [*tried.values()], [one.share for one in tried.values()]
    spared = [defense_title(defense) for defense in proved if defense not in tried]
    beside = f"; not attacked: {listed(spared)}" if spared else ""
    broken, attacked = sum(one.found for one in shares), sum(one.claims for one in shares)
    yield (
        f"**Proved radii under attack:** {broken} of {attacked:,} certificates broken, on "
        f"{_span(one.images for one in shares)} images of "
        f"{_span(one.photographs for one in shares)} photographs of each defence"
        f"{_noticed(found)}{beside}."
    )


def _span(counts: Iterable[int]) -> str:
    """From the least to the most, or all there is.

    >>> _span([30, 18, 24]), _span([10, 10])
    ('18 to 30', '10')
    """
    ends = sorted(set(counts))
    return f"{ends[0]:,}" if len(ends) == 1 else f"{ends[0]:,} to {ends[-1]:,}"


def _noticed(found: Sequence[Broken]) -> str:
    """Errors planted in all of them, and what follows for a real one."""
    totals: dict[str, tuple[int, int]] = {}
    for name, one in (item for broken in found for item in broken.planted.items()):
        seen, claims = totals.get(name, (0, 0))
        totals[name] = seen + one.found, claims + one.claims
    shares = [seen / claims for seen, claims in totals.values() if claims]
    if not shares:
        return ""
    told = listed(f"{name} in {seen} of {claims:,}" for name, (seen, claims) in totals.items())
    chance = "have been seen" if max(shares) >= LIKELY else "have gone unseen"
    return f"; of errors planted they found {told}: one like the largest would likely {chance}"


def _unproved(decision: Decision) -> Iterator[str]:
    """What speaks for and against each defence whose radius is not proved."""
    for defense in decision.order:
        rigor = decision.rigor[defense]
        if rigor == PROVED:
            continue
        certified = _certified_at(decision, defense)
        yield (
            f"**{defense_title(defense)}**, radius not proved ({rigor}): "
            f"{_survived(decision, defense)}. "
            f"{certified}"
        )


def _survived(decision: Decision, defense: str) -> str:
    found = decision.broken.get(defense)
    if found is None or not found.share.claims:
        return "its certificates were not attacked in this run, so do not rely on its interval"
    share = found.share
    if not share.found:
        none = f"attacks broke none on {_images(share)}, which proves nothing"
        return f"{none}{_power(found)}"
    by_mode = {mode: of[defense] for mode, of in decision.broken_in.items() if defense in of}
    told = [
        f"{mode + ' ' if len(by_mode) > 1 else ''}{one.share.images_found} of "
        f"{_images(one.share)} ({one.share.found} of {one.share.claims} certificates)"
        for mode, one in by_mode.items()
        if one.share.claims
    ]
    return (
        f"do not rely on its interval, attacks broke it on {listed(told)}; photographs: "
        f"{listed(found.photographs)}{_power(found)}"
    )


def _images(share: Share) -> str:
    return f"{share.images} images of {share.photographs} photographs"


def _power(found: Broken) -> str:
    """What the same attacks saw of certificates made wrong on purpose."""
    told = [f"{name} in {one.found} of {one.claims}" for name, one in found.planted.items()]
    return f"; of errors planted they found {listed(told)}" if told else ""


def _certified_at(decision: Decision, defense: str) -> str:
    """SRCC and images with an interval, at the smallest radius of the page."""
    radius = decision.radii[0]
    parts = []
    for mode, data in decision.data.items():
        best = data.best
        chosen = best[(best["radius"] == radius) & (best["defense"] == defense)]
        if chosen.empty:
            continue
        srcc, share = float(chosen["srcc"].iloc[0]), float(chosen["certified"].iloc[0])
        parts.append(
            f"{mode} {number(srcc)} with an interval for {number(share, PERCENT)} of the images"
            if srcc == srcc
            else f"{mode} an interval for only {number(share, PERCENT)} of the images"
        )
    return f"SRCC at ρ = {radius:g}: {', '.join(parts)}." if parts else ""
