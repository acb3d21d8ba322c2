"""What a report is made from: a run's tables, settings and provenance, and nothing live.

This module knows the little a report needs of a run; it must not know where a run is stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd

from bench.plan.profile import Profile
from bench.records.schema import BY_TABLE

if TYPE_CHECKING:
    from bench.records.folder import RunFolder


@dataclass(frozen=True, slots=True)
class CellCount:
    """Planned cells against finished ones."""

    ok: int
    expected: int
    remarks: tuple[str, ...] = ()
    """What is failed or missing, one sentence each."""

    @property
    def complete(self) -> bool:
        """Every planned cell is there and nothing is remarked."""
        return self.ok == self.expected and not self.remarks


class RunTables(Protocol):
    """A finished or unfinished run as tables."""

    @property
    def profile(self) -> Profile:
        """The settings of the run."""
        ...

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Versions, hashes, platform: plain values."""
        ...

    @property
    def completeness(self) -> CellCount:
        """Cells done of cells planned."""
        ...

    @property
    def cards(self) -> Sequence[Mapping[str, Any]]:
        """Guarantee cards with a ``name`` each."""
        ...

    def table(self, name: str) -> pd.DataFrame:
        """Records of one kind; empty if the stage was not run."""
        ...


@dataclass(frozen=True)
class FrameRun:
    """A run held in memory: what tests and :func:`from_folder` make."""

    profile: Profile
    tables: Mapping[str, pd.DataFrame]
    completeness: CellCount
    provenance: Mapping[str, Any] = field(default_factory=dict)
    cards: Sequence[Mapping[str, Any]] = ()

    def table(self, name: str) -> pd.DataFrame:
        """Records of one kind, with all columns of the schema."""
        columns = list(BY_TABLE[name].model_fields)
        frame = self.tables.get(name)
        if frame is None:
            return pd.DataFrame(columns=columns)
        # Records of an older run may lack a column that came later.
        return frame.reindex(columns=[*frame, *(name for name in columns if name not in frame)])


def from_folder(run: RunFolder, *, cards: Sequence[Mapping[str, Any]] = ()) -> FrameRun:
    """Read everything a report needs from a run's folder."""
    from bench.plan.units import STAGES

    plan = run.plan()
    counted = run.completeness(STAGES)
    remarks = tuple(str(counted).splitlines()[1:])
    facts = {
        **run.provenance(),
        "plan_sha256": plan.hash,
        "code_sha256": plan.code_sha256,
        "data_sha256": dict(plan.data_sha256),
        "noise_device": plan.device,
        "plugins": dict(plan.plugins),
    }
    return FrameRun(
        profile=plan.profile,
        tables={name: run.table(name) for name in BY_TABLE if name != "draws"},
        completeness=CellCount(counted.ok, len(counted.cells), remarks),
        provenance=facts,
        cards=tuple(cards) or tuple(facts.get("cards", ())),
    )
