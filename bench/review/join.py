"""The plan and the results of several runs of the same inputs as one.

A plan's unit may serve several defences (one set of draws, one trained part).  Runs of different
selections group them differently; here every defence of a piece of work ends in exactly one unit:
those that are equally far share one, as in the plan of a single run.  So complete runs give the
very plan that one run of everything has, and a half-done one loses nothing.

This module knows plans and entries; it must not know files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from bench.plan.profile import ExtrasSection, MatchedSection, Profile
from bench.plan.units import STAGES, UNDEFENDED, Cell, Plan, Unit
from bench.records.journal import Entry
from bench.records.parquet import unique_rows
from bench.records.schema import Record
from bench.review.entries import belongs

_SHARED = frozenset({"evaluate", "fit", "attack", "audit"})
"""Stages with units that serve several defences."""

_USUAL: tuple[str, ...] = Profile.model_fields["defenses"].default
"""Defences in the order of the paper's tables."""

Name = TypeVar("Name", str, float)


@dataclass(frozen=True, slots=True)
class Run:
    """One run to be merged.

    Attributes:
        name: What to call it.
        plan: Its plan.
        entries: Finished units by key.
    """

    name: str
    plan: Plan
    entries: Mapping[str, Entry]


@dataclass(slots=True)
class _Work:
    """One piece of work, whoever does it.

    Attributes:
        unit: The unit without its defences.
        found: Results by defence, of all runs that asked for it.
    """

    unit: Unit
    found: dict[str, list[Entry]] = field(default_factory=dict)

    def state(self, defense: str) -> str:
        """How far a defence's part of it is; a trained part is the same for all of them."""
        entries = self.entries((defense,))
        if any(entry.final for entry in entries):
            return "done"
        return "failed" if entries else "missing"

    def entries(self, defenses: Iterable[str]) -> list[Entry]:
        """Results for some defences, the good ones if there are any."""
        names = self.found if self.unit.stage == "fit" else defenses
        entries = [entry for name in names for entry in self.found[name]]
        return [entry for entry in entries if entry.final] or entries


def merged(runs: Sequence[Run]) -> tuple[Plan, list[Entry]]:
    """The joint plan, and the finished units of it.

    The order of the runs does not matter.  Their inputs must be the same and no two results may
    contradict each other; who calls this has looked.
    """
    plans = [run.plan for run in runs]
    profile = joint_profile([plan.profile for plan in plans])
    cells = _cells(plans, profile)
    extras = _extras(plans, profile, cells)
    units: list[Unit] = []
    entries: list[Entry] = []
    for pieces in _tasks(runs).values():
        for names in _equally_far(pieces, (UNDEFENDED, *profile.all_defenses)):
            for work in pieces:
                unit = replace(work.unit, defense=",".join(names))
                units.append(unit)
                entry = _entry(unit, work.entries(names))
                entries += [entry] if entry is not None else []
    first = plans[0]
    plan = replace(
        first,
        profile=profile,
        cells=cells,
        extras=extras,
        units=tuple(_in_order(units, (*cells, *extras), profile)),
        data_sha256=_union(plan.data_sha256 for plan in plans),
        plugins=_union(plan.plugins for plan in plans),
    )
    return plan, entries


def joint_profile(profiles: Sequence[Profile]) -> Profile:
    """The settings that all share, with everything that any of them selects."""
    return profiles[0].model_copy(
        update={
            "models": _joined([p.models for p in profiles], Profile.model_fields["models"].default),
            "defenses": _joined([p.defenses for p in profiles], _USUAL),
            "sigmas": _joined([p.sigmas for p in profiles], ()),
            "extras": _joint_extras([p.extras for p in profiles]),
        }
    )


def _joint_extras(sections: Sequence[ExtrasSection]) -> ExtrasSection:
    """Everything that any of them wants beside its tables."""
    matched = [section.matched for section in sections]
    limits = {
        name: _joint_limit([s.models.get(name) for s in sections if name in s.defenses])
        for name in sorted({name for section in sections for name in section.defenses})
    }
    return ExtrasSection(
        defenses=_joined([s.defenses for s in sections], ()),
        models={name: models for name, models in limits.items() if models is not None},
        matched=MatchedSection(
            sigmas=_joined([m.sigmas for m in matched], ()),
            defenses=_joined([m.defenses for m in matched], _USUAL),
            models=_joint_limit([m.models for m in matched]),
        ),
    )


def _joint_limit(limits: Sequence[tuple[str, ...] | None]) -> tuple[str, ...] | None:
    """Models of any of them; no limit where one has none."""
    known = [names for names in limits if names is not None]
    return _joined(known, ()) if len(known) == len(limits) else None


def _joined(lists: Sequence[tuple[Name, ...]], usual: Sequence[Name]) -> tuple[Name, ...]:
    """Everything in any list, in the order of those that have it all, else in the usual one.

    >>> _joined([("b", "a"), ("a",)], ()), _joined([("c", "x"), ("a",)], ("a", "b", "c"))
    (('b', 'a'), ('a', 'c', 'x'))
    """
    everything = {name for names in lists for name in names}
    whole = {names for names in lists if set(names) == everything}
    if len(whole) == 1:
        return whole.pop()
    place = {name: index for index, name in enumerate(usual)}
    return tuple(sorted(everything, key=lambda name: (place.get(name, len(place)), name)))


def _union(mappings: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """All keys, sorted; values of a key are the same everywhere."""
    return dict(sorted({key: value for m in mappings for key, value in m.items()}.items()))


def _cells(plans: Sequence[Plan], profile: Profile) -> tuple[Cell, ...]:
    """All cells, in the order in which one run has them."""
    orders = (profile.models, profile.defenses, profile.sigmas)

    def place(cell: Cell) -> tuple[int, ...]:
        names = (cell.model, cell.defense, cell.sigma)
        return tuple(o.index(n) for o, n in zip(orders, names, strict=True))

    return tuple(sorted({cell for plan in plans for cell in plan.cells}, key=place))


def _extras(plans: Sequence[Plan], profile: Profile, cells: tuple[Cell, ...]) -> tuple[Cell, ...]:
    """All cells beside the tables that no run has in its tables, in the order of one run."""

    def place(cell: Cell) -> tuple[int, int]:
        rows = profile.extras.rows(cell.model, profile.sigmas)
        return profile.models.index(cell.model), rows.index((cell.defense, cell.sigma))

    found = {cell for plan in plans for cell in plan.extras}
    return tuple(sorted(found - set(cells), key=place))


def _tasks(runs: Sequence[Run]) -> dict[str, list[_Work]]:
    """Work by what it has in common but the image and the defences that share it."""
    tasks: dict[str, dict[str, _Work]] = {}
    for run in runs:
        for unit in run.plan.units:
            shared = unit.stage in _SHARED
            bare = replace(unit, defense="") if shared else unit
            # Strengths of an attack stand image by image, and some are told apart by a picture.
            task = (replace(bare, detail="") if unit.stage == "attack" else bare).task
            work = tasks.setdefault(task, {}).setdefault(bare.key, _Work(bare))
            entry = run.entries.get(unit.key)
            for name in unit.defense.split(","):
                work.found.setdefault(name, []).extend([entry] if entry is not None else [])
    return {task: list(pieces.values()) for task, pieces in tasks.items()}


def _equally_far(pieces: Sequence[_Work], order: Sequence[str]) -> list[list[str]]:
    """Defences of a task in groups that stand the same on every image."""
    groups: dict[tuple[str, ...], list[str]] = {}
    names = {name for work in pieces for name in work.found}
    for name in sorted(names, key=lambda n: (order.index(n) if n in order else len(order), n)):
        states = tuple(w.state(name) if name in w.found else "missing" for w in pieces)
        groups.setdefault(states, []).append(name)
    return list(groups.values())


def _entry(unit: Unit, found: Sequence[Entry]) -> Entry | None:
    """The result of a unit from the results of those that did parts of it."""
    if not found:
        return None
    tables: dict[str, list[Record]] = {}
    for record in (record for entry in found for record in entry.records):
        if belongs(record, unit):
            tables.setdefault(record.table, []).append(record)
    records = [record for rows in tables.values() for record in unique_rows(rows)]
    attempt = max(entry.attempt for entry in found)
    entry = Entry.of(unit.key, records, attempt=attempt)
    if records or found[0].final:
        return entry
    if found[0].status == "skipped":
        return replace(found[0], attempt=attempt)
    return entry.without_records(min(str(failed.reason) for failed in found))


def _in_order(units: Iterable[Unit], cells: Sequence[Cell], profile: Profile) -> list[Unit]:
    """Units in the order in which one run plans them: by the first cell that they serve."""
    first: dict[str, int] = {}
    attack = profile.attack

    def place(unit: Unit) -> tuple[int, int, int]:
        stage = STAGES.index(unit.stage)
        if unit.stage == "attack" and unit.model in attack.models:
            first_name = unit.defense.split(",")[0]
            known = first_name in attack.defenses
            rank = attack.defenses.index(first_name) if known else len(attack.defenses)
            return stage, attack.models.index(unit.model), rank
        if unit.task not in first:
            served = (i for i, cell in enumerate(cells) if unit.serves(cell))
            first[unit.task] = next(served, len(cells))
        return stage, first[unit.task], 0

    return sorted(units, key=place)
