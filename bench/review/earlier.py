"""Results of earlier runs that are this run's too: the same units, under the same settings.

``--limit 8`` after ``--limit 4``, or all models after one, has half of its work done; so has
``--samples 400`` after ``--samples 200``.  This module knows plans and entries; it must not know
how a result is made.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from bench.base.errors import BenchError
from bench.plan.units import STAGES, Plan, canonical
from bench.records.folder import RunFolder
from bench.records.journal import Entry, beginnings, journal_files
from bench.records.schema import DrawRecord, FitRecord
from bench.review.entries import entries_of, place, place_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from bench.plan.units import StageName, Unit
    from bench.review.entries import Place

CHOICE = {"models", "defenses", "extras"}
"""Settings that choose among units, and decide nothing about any of them."""
OWN = {"time", "attack", "audit"}
"""Settings of one stage of the same name, which decide nothing about the others."""
OF_ONE_LEVEL = {"prepare", "fit", "evaluate"}
"""Stages whose units know one noise level at most."""
CHOICE_OF_IMAGES = {"limit", "limits"}
CHOICE_OF_ATTACKED = {"models", "images", "first_order_images"}
FIRST_DRAWS = "first draws"
"""No stage: what a larger number of draws begins with."""
NUMBERS_OF_DRAWS = {"samples", "feature_samples"}
UNCOUNTED = {"prepare", "fit", FIRST_DRAWS}
"""What these numbers decide nothing about."""


def terms(plan: Plan, stage: str, parts: Collection[str]) -> str | None:
    """All that a result of a stage depends on beside its unit; None if it depends on all others.

    The digest of the code has the shipped weights in it.

    Args:
        plan: What is to be run.
        stage: Of the result.
        parts: Trained parts that the result depends on; how others are trained decides nothing.
    """
    if plan.profile.certificate.familywise:
        return None
    fit = plan.profile.fit
    # A part for all noise levels is made of them, a shipped one serves those that it learnt; else a
    # unit has its own, whatever the others.
    own = stage in OF_ONE_LEVEL and all(
        part in fit and fit[part].noise_levels == "each" and not fit[part].shipped for part in parts
    )
    levels = {"sigmas"} if own else set()
    choice: dict[str, Any] = {
        "audit": CHOICE_OF_ATTACKED,
        **dict.fromkeys(CHOICE | levels | OWN - {stage}, True),
        "data": CHOICE_OF_IMAGES,
        "certificate": NUMBERS_OF_DRAWS if stage in UNCOUNTED else set(),
        "fit": set(fit).difference(parts),
    }
    return canonical(
        {
            "profile": plan.profile.model_dump(mode="json", exclude=choice),
            "data": dict(plan.data_sha256),
            "code": plan.code_sha256,
            "device": plan.device,
            "plugins": sorted(plan.plugins.values()),
        }
    )


def _alike(one: Plan, other: Plan, stage: str, parts: Collection[str]) -> bool:
    return terms(one, stage, parts) == terms(other, stage, parts) is not None


def _trained_parts(plan: Plan) -> Callable[[Unit], frozenset[str]]:
    """The trained parts that each unit depends on."""
    trained: dict[str, set[str]] = defaultdict(set)
    for unit in plan.of_stage("fit"):
        for name in unit.defense.split(","):
            trained[name].add(unit.detail)

    def parts(unit: Unit) -> frozenset[str]:
        if unit.stage == "fit":
            return frozenset({unit.detail})
        return frozenset().union(*(trained[name] for name in unit.defense.split(",")))

    return parts


def _others(run: RunFolder, results: Path) -> Iterator[tuple[RunFolder, Plan]]:
    """The other runs of a folder; one that cannot be read is passed over: nobody asked for it."""
    for folder in sorted(file.parent for file in results.glob("*/plan.json")):
        if folder.resolve() != run.path.resolve():
            with suppress(BenchError):
                yield (other := RunFolder(folder)), other.plan()


def earlier(run: RunFolder, results: Path) -> Iterator[tuple[str, list[tuple[StageName, Entry]]]]:
    """Runs in a folder with units of this one: name, and (stage, entry) of each such unit.

    Timings are left out: they are the machine's of that day.  So is what rests on a trained part
    that came out otherwise than in a run before: results of two networks are no one's.
    """
    plan = run.plan()
    parts = _trained_parts(plan)
    wanted = {unit.key: unit for unit in plan.units if unit.stage != "time"}
    known: dict[str, str | None] = {}
    for other, theirs in _others(run, results):
        common = _common(theirs, plan, wanted, parts)
        try:
            entries = entries_of(other, theirs) if common else {}
        except BenchError:
            continue
        fits, found = _fits(entries), []
        for key in (key for key, entry in entries.items() if key in common and entry.final):
            used = _used(fits, wanted[key], parts(wanted[key]))
            if all(known.get(name, part) == part for name, part in used.items()):
                known.update(used)
                found.append((wanted.pop(key).stage, entries[key]))
        if found:
            yield other.path.name, found


def _common(
    theirs: Plan, plan: Plan, wanted: Mapping[str, Unit], parts: Callable[[Unit], frozenset[str]]
) -> set[str]:
    """Units of another plan that are wanted, by key, and depend on nothing that differs."""
    alike = cache(partial(_alike, theirs, plan))
    keys = (unit.key for unit in theirs.units if unit.key in wanted)
    return {key for key in keys if alike(wanted[key].stage, parts(wanted[key]))}


def _fits(entries: Mapping[str, Entry]) -> list[FitRecord]:
    """Trained parts of a run."""
    records = (record for entry in entries.values() for record in entry.records)
    return [r for r in records if isinstance(r, FitRecord) and r.status == "ok"]


def _used(fits: Sequence[FitRecord], unit: Unit, parts: Collection[str]) -> dict[str, str | None]:
    """Digests of the trained parts that a unit rests on, by their content keys."""
    return {
        fit.artifact: fit.sha256
        for fit in fits
        if fit.part in parts
        and fit.dataset == unit.dataset
        and fit.model in (None, unit.model)
        and fit.sigma in (None, unit.sigma)
    }


def take_over(run: RunFolder, results: Path) -> dict[str, int]:
    """Put results of earlier runs into the journals of one that has none; units by run.

    Raises:
        BenchError: The run is in use.
    """
    if any(run.outcomes(stage) for stage in STAGES):
        return {}
    taken: dict[str, int] = {}
    with run.locked():
        for name, found in earlier(run, results):
            for stage in dict.fromkeys(stage for stage, _ in found):
                writer = run.writer(stage)
                for where, entry in found:
                    if where == stage:
                        writer.append(entry)
                writer.close()
            taken[name] = len(found)
    if taken:
        there = [RunFolder(results / name).provenance().get("processors", ()) for name in taken]
        processors = {*run.provenance().get("processors", ())}.union(*there)
        run.note(taken_over=taken, processors=sorted(processors))
    return taken


# --- a larger number of draws --------------------------------------------------------------------


def take_first_draws(run: RunFolder, results: Path) -> dict[str, int]:
    """Put what earlier runs drew, but fewer times, beside the journals of one; draws by run.

    A draw's noise is keyed by its number, and on a CPU its score is the same bits however many
    there are.  Where one pass serves all draws nothing is saved, so nothing is taken; nor are few
    draws taken from many, which are kept sorted: which came first is forgotten.

    Raises:
        BenchError: The run is in use.
    """
    plan, name = run.plan(), beginnings("evaluate")
    done = run.outcomes("evaluate")
    wanted = {place(unit): unit for unit in plan.of_stage("evaluate") if unit.key not in done}
    if plan.device != "cpu" or not wanted or journal_files(run.journal, name):
        return {}
    taken: dict[str, int] = {}
    with run.locked(), run.writer(name) as writer:
        for other, records in _shorter(run, results, wanted):
            for where, record in records.items():
                writer.append(Entry.of(wanted.pop(where).key, [record]))
            taken[other] = sum(len(record.scores) for record in records.values())
    if taken:
        run.note(first_draws=taken)
    return taken


def _shorter(
    run: RunFolder, results: Path, wanted: Mapping[Place, Unit]
) -> Iterator[tuple[str, dict[Place, DrawRecord]]]:
    """Runs that differ in fewer draws alone, the most draws first: name, and those of use."""
    plan = run.plan()
    parts = _trained_parts(plan)
    alike = [
        (other, theirs)
        for other, theirs in _others(run, results)
        if _alike(theirs, plan, FIRST_DRAWS, set(plan.profile.fit))
        and _draws(theirs) < _draws(plan)
    ]
    ours = _fits(entries_of(run, plan)) if alike else []
    for other, theirs in sorted(alike, key=lambda pair: -_draws(pair[1])):
        try:
            entries = entries_of(other, theirs)
        except BenchError:
            continue
        fits = _fits(entries)
        found = {
            place_of(record): record
            for entry in entries.values()
            for record in entry.records
            if isinstance(record, DrawRecord)
            and entry.final
            and (unit := wanted.get(place_of(record))) is not None
            and len(record.scores) == _draws(theirs)
            and record.forward_passes < unit.forward_passes
            # Draws of two networks are no sample of either.
            and _used(fits, unit, parts(unit)).items() <= _used(ours, unit, parts(unit)).items()
        }
        if found:
            yield other.path.name, found


def _draws(plan: Plan) -> int:
    return plan.profile.certificate.draws("input")
