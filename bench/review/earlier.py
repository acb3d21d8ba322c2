"""Results of earlier runs that are this run's too: the same units, under the same settings.

``--limit 8`` after ``--limit 4``, or all models after one, has half of its work done.  This module
knows plans and entries; it must not know how a result is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bench.base.errors import BenchError
from bench.plan.units import STAGES, Plan, canonical
from bench.records.folder import RunFolder
from bench.review.entries import entries_of

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from bench.records.journal import Entry

CHOICE = {"models", "defenses", "extras"}
"""Settings that choose among units, and decide nothing about any of them."""
OWN = {"time", "attack", "audit"}
"""Settings of one stage of the same name, which decide nothing about the others."""
CHOICE_OF_IMAGES = {"limit", "limits"}
CHOICE_OF_ATTACKED = {"models", "images", "first_order_images"}


def terms(plan: Plan, stage: str) -> str | None:
    """All that a result of a stage depends on beside its unit; None if it depends on all others.

    The digest of the code has the shipped weights in it.
    """
    if plan.profile.certificate.familywise:
        return None
    choice: dict[str, Any] = {
        "audit": CHOICE_OF_ATTACKED,
        **dict.fromkeys(CHOICE | OWN - {stage}, True),
        "data": CHOICE_OF_IMAGES,
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


def earlier(run: RunFolder, results: Path) -> Iterator[tuple[str, list[tuple[str, Entry]]]]:
    """Runs in a folder with units of this one: name, and (stage, entry) of each such unit.

    Timings are left out: they are the machine's of that day.  A run that cannot be read is passed
    over: nobody asked for it.
    """
    plan = run.plan()
    wanted = {unit.key: unit.stage for unit in plan.units if unit.stage != "time"}
    for folder in sorted(file.parent for file in results.glob("*/plan.json")):
        if folder.resolve() == run.path.resolve() or not wanted:
            continue
        try:
            found = _entries(RunFolder(folder), plan, wanted)
        except BenchError:
            continue
        if found:
            yield folder.name, [(wanted.pop(entry.unit), entry) for entry in found]


def _entries(other: RunFolder, plan: Plan, wanted: Collection[str]) -> list[Entry]:
    theirs = other.plan()
    alike = [stage for stage in STAGES if terms(theirs, stage) == terms(plan, stage) is not None]
    common = {unit.key for stage in alike for unit in theirs.of_stage(stage)} & set(wanted)
    if not common:
        return []
    return [
        entry for key, entry in entries_of(other, theirs).items() if key in common and entry.final
    ]


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
        run.note(taken_over=taken)
    return taken
