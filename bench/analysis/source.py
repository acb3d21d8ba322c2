"""What a report is made from: a run's tables, settings and provenance, and nothing live.

A run is read as its own tables; the rows beside them (``extras``) only where they are asked for.

This module knows the little a report needs of a run; it must not know where a run is stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from bench.analysis.cost import as_certified
from bench.analysis.frames import nested, plain
from bench.plan.profile import Profile
from bench.records.completeness import Completeness
from bench.records.parquet import completed
from bench.records.schema import BY_TABLE

if TYPE_CHECKING:
    from bench.plan.units import Plan
    from bench.records.folder import RunFolder


@dataclass(frozen=True)
class FrameRun:
    """A finished or unfinished run held in memory: what tests and :func:`from_folder` make.

    Attributes:
        profile: The settings of the run.
        tables: Records by kind.
        completeness: Cells done of cells planned.
        provenance: Versions, hashes, platform: plain values.
        cards: Guarantee cards with a ``name`` each.
        beside: Records of the rows beside the tables, by kind.
    """

    profile: Profile
    tables: Mapping[str, pd.DataFrame]
    completeness: Completeness
    provenance: Mapping[str, Any] = field(default_factory=dict)
    cards: Sequence[Mapping[str, Any]] = ()
    beside: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    def table(self, name: str) -> pd.DataFrame:
        """Records of one kind, with all columns of the schema; empty if the stage was not run."""
        columns = [c for c in BY_TABLE[name].model_fields if c not in _UNREAD.get(name, ())]
        frame = self.tables.get(name)
        if frame is None:
            return pd.DataFrame(columns=columns)
        # Records of an older run may lack a column that came later.
        frame = completed(frame, BY_TABLE[name])
        return frame.reindex(columns=[*frame, *(name for name in columns if name not in frame)])

    def extras(self) -> FrameRun:
        """The records beside the tables; those of models as a whole are the same."""
        shared = {name: self.tables[name] for name in _OF_MODELS if name in self.tables}
        return replace(self, tables={**shared, **self.beside}, beside={})

    def timed_as_certified(self) -> FrameRun:
        """The same with seconds at the draws of its certificates."""
        drawn = ["defense", "samples"]
        parts = [t["evaluate"][drawn] for t in (self.tables, self.beside) if "evaluate" in t]
        if not parts:
            return self
        evaluate = pd.concat(parts)

        def scaled(tables: Mapping[str, pd.DataFrame]) -> Mapping[str, pd.DataFrame]:
            if "time" not in tables:
                return tables
            return {**tables, "time": as_certified(tables["time"], evaluate)}

        return replace(self, tables=scaled(self.tables), beside=scaled(self.beside))

    def everything(self) -> FrameRun:
        """All records, the tables' own first."""
        joined = {
            name: pd.concat([self.table(name), frame], ignore_index=True)
            for name, frame in self.beside.items()
            if name in (*_ROWS, "time") and not frame.empty
        }
        return replace(self, tables={**self.tables, **joined}, beside={})


_OF_MODELS = ("calibration",)
"""Kinds of records that belong to no row."""


def from_folder(run: RunFolder) -> FrameRun:
    """Read everything a report needs from a run's folder."""
    from bench.plan.units import STAGES

    plan, asked = run.plan(), run.asked()
    counted = run.completeness(asked)
    unasked = [stage for stage in STAGES if stage not in asked]
    scope = f"complete for what was asked; not asked for: {', '.join(unasked)}" if unasked else ""
    facts = {
        **run.provenance(),
        "plan_sha256": plan.hash,
        "code_sha256": plan.code_sha256,
        "data_sha256": dict(plan.data_sha256),
        "noise_device": plan.device,
        "plugins": dict(plan.plugins),
    }
    found = {name: _read(run, name) for name in BY_TABLE if name != "draws"}
    extra = {name: _beside(plan, name, found[name]) for name in _ROWS} if plan.extras else {}
    return FrameRun(
        profile=plan.profile,
        tables={**found, **{name: found[name][~mask] for name, mask in extra.items()}},
        beside={name: found[name][mask] for name, mask in extra.items()},
        completeness=replace(counted, scope=scope),
        provenance=facts,
        cards=tuple(facts.get("cards", ())),
    )


_UNREAD: Mapping[str, frozenset[str]] = {
    "evaluate": frozenset(
        {"reason", "statistic", "claim", "r"} | {"lower_rank", "upper_rank", "native_reason"}
    )
}
"""Columns that no part of a report reads."""
_WORDS = (
    *("status", "dataset", "model", "edition", "weights", "mode", "defense", "smoother"),
    *("group", "rigor"),
)
"""Columns with few different words."""


def _read(run: RunFolder, name: str) -> pd.DataFrame:
    """A table with what reports read of it, in little memory: lists and words stay as Arrow's."""
    kind = BY_TABLE[name]
    wanted = [column for column in kind.model_fields if column not in _UNREAD.get(name, ())]
    stored = run.arrow(name, wanted)
    if name != "evaluate":
        return completed(stored.to_pandas(), kind)
    radii = _shared(stored["curve_radius"])
    stored = stored.drop_columns(["curve_radius"])
    frame = stored.to_pandas(types_mapper=_lists, split_blocks=True, self_destruct=True)
    frame = frame.astype(dict.fromkeys(_WORDS, "category"))
    return completed(frame.assign(curve_radius=pd.Series(radii, dtype=object)), kind)


def _shared(column: pa.ChunkedArray) -> list[list[float]]:
    """Lists of which most are alike, each different one once."""
    different: dict[bytes, list[float]] = {}
    found: list[list[float]] = []
    for chunk in column.chunks:
        lists: pd.Series = chunk.to_pandas(types_mapper=_lists)
        values, ends = nested(lists)
        for start, end in pairwise(ends.tolist()):
            key = values[start:end].tobytes()
            if key not in different:
                different[key] = values[start:end].tolist()
            found.append(different[key])
    return found


def _lists(kind: pa.DataType) -> pd.ArrowDtype | None:
    """Lists as they are: an object for each would take ten times as much."""
    return pd.ArrowDtype(kind) if pa.types.is_list(kind) else None


_CELL = ("dataset", "model", "defense", "sigma")
_ROWS = {"evaluate": _CELL, "audit": _CELL, "fit": ("dataset", "model", "part", "sigma")}
"""Kinds of records that rows beside the tables have too, and what tells these apart."""


def _beside(plan: Plan, table: str, frame: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Which records of a table only belong to rows beside the tables."""
    if table == "fit":
        fits = (unit for unit in plan.extra_units if unit.stage == "fit")
        known = {(unit.dataset, unit.model, unit.detail, unit.sigma) for unit in fits}
    else:
        known = {astuple(cell) for cell in plan.extras}
    keys = zip(*(map(plain, frame[column]) for column in _ROWS[table]), strict=True)
    return np.fromiter((key in known for key in keys), dtype=bool, count=len(frame))
