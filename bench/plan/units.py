"""The frozen plan of a run: which cells there are, and every unit of work, before any of it starts.

This module holds the value objects, their keys and their JSON form; it must not know how a plan is
made (see ``planning``) or carried out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import groupby
from typing import Any, Literal, TypeVar
from urllib.parse import quote

from pydantic import ValidationError

from bench.base.errors import BenchError, invalid
from bench.plan.profile import ExtrasSection, Profile, Section

PLAN_VERSION = 1

StageName = Literal["prepare", "fit", "evaluate", "time", "attack", "audit"]
STAGES: tuple[StageName, ...] = ("prepare", "fit", "evaluate", "time", "attack", "audit")
"""In the order in which they run; a stage starts when the one before is complete."""

UNDEFENDED = "undefended"
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Cell:
    """One row of the answer: a defence of a model on a data set at a noise level."""

    dataset: str
    model: str
    defense: str
    sigma: float

    def __str__(self) -> str:
        return f"{self.dataset} / {self.model} / {self.defense} / sigma {self.sigma:g}"


@dataclass(frozen=True, slots=True)
class Unit:
    """The smallest piece of work that is recorded, retried and resumed.

    Attributes:
        stage: Stage that carries it out.
        dataset: Data set name.
        model: Model name; None where one part serves all models.
        defense: Defence names, joined by commas where one unit serves several.
        smoother: Smoother name; empty where the stage does not use one.
        sigma: Noise level; None where one part serves all of them.
        image: Image id; None for work that is not about one image.
        detail: Rest of the identity: the part's name (fit), ``norm:epsilon:direction`` (attack).
        forward_passes: Estimated cost; not part of the identity.
    """

    stage: StageName
    dataset: str
    model: str | None = None
    defense: str = ""
    smoother: str = ""
    sigma: float | None = None
    image: str | None = None
    detail: str = ""
    forward_passes: float = 0.0

    @property
    def key(self) -> str:
        """Stable identity.

        >>> Unit("evaluate", "embedded", "lpips", "ms,rs-reg", "input", 0.1, "a/b").key
        'evaluate|embedded|lpips|ms,rs-reg|input|0.1||a/b'
        """
        return f"{self.task}|{_text(self.image)}"

    @property
    def task(self) -> str:
        """The key without the image: units of a task share everything else."""
        parts = (
            self.stage,
            self.dataset,
            self.model,
            self.defense,
            self.smoother,
            self.sigma,
            self.detail,
        )
        return "|".join(map(_text, parts))

    @property
    def one_model(self) -> str:
        """The model of a unit that has one; raises ValueError for any other."""
        return self._given("model", self.model)

    @property
    def one_image(self) -> str:
        """The image of a unit that has one; raises ValueError for any other."""
        return self._given("image", self.image)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The rows of the answer that share this unit, one for each of its defences.

        Raises:
            ValueError: It has no model or no noise level.

        >>> [cell.defense for cell in Unit("evaluate", "a", "lpips", "ms,dms", "", 0.1).cells]
        ['ms', 'dms']
        """
        sigma = self._given("noise level", self.sigma)
        return tuple(
            Cell(self.dataset, self.one_model, defense, sigma)
            for defense in self.defense.split(",")
        )

    @property
    def cell(self) -> Cell:
        """The one row of the answer that this unit is about; raises ValueError for any other."""
        (cell,) = self.cells
        return cell

    def _given(self, what: str, value: Value | None) -> Value:
        if value is None:
            raise ValueError(f"the unit {self.key} has no {what}")
        return value

    def serves(self, cell: Cell) -> bool:
        """Whether the cell is incomplete without this unit."""
        return (
            self.dataset == cell.dataset
            and self.model in (None, cell.model)
            and self.sigma in (None, cell.sigma)
            and (not self.defense or cell.defense in self.defense.split(","))
        )


def _text(part: object) -> str:
    """A key's part; the separator cannot occur in it."""
    return "" if part is None else quote(str(part), safe="/,:.+- ")


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything a run depends on, and all it has to do.

    Attributes:
        profile: All settings.
        cells: Rows of the answer: those of the tables.
        units: All work, by stage; units of a task stand together.
        data_sha256: Digest of each data set.
        code_sha256: Digest of the code and shipped weights that numbers depend on.
        device: Device type the noise streams are defined on: ``cpu`` or ``cuda``.
        plugins: Digest of each plugin file's code by its bare name, and of each used package's.
        extras: Further rows beside the tables; empty in plans that know none.
    """

    profile: Profile
    cells: tuple[Cell, ...]
    units: tuple[Unit, ...]
    data_sha256: Mapping[str, str] = field(default_factory=dict)
    code_sha256: str = ""
    device: str = "cpu"
    plugins: Mapping[str, str] = field(default_factory=dict)
    extras: tuple[Cell, ...] = ()

    @property
    def all_cells(self) -> tuple[Cell, ...]:
        """Every row: those of the tables, then those beside them."""
        return (*self.cells, *self.extras)

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON; of a plugin file the text matters, not the place."""
        content = {**self.to_json(), "plugins": sorted(self.plugins.values())}
        return hashlib.sha256(canonical(content).encode()).hexdigest()

    @property
    def name(self) -> str:
        """Name of the run's folder."""
        return f"{self.profile.name}-{self.hash[:8]}"

    @property
    def per_side_confidence(self) -> float:
        """Confidence of each side of each certificate.

        With ``familywise`` the profile's failure probability is split evenly over both sides of
        every certificate of the tables (Bonferroni), and the radius' own over every certificate,
        so 1 - confidence + delta bounds the chance that *any* proved one of them fails.  Rows
        beside the tables have the same confidence, but are no part of that family: what stands
        in the tables does not depend on what else was asked for.
        """
        settings = self.profile.certificate
        if not self._family:
            return settings.confidence
        return 1.0 - (1.0 - settings.confidence) / (2.0 * self._family)

    @property
    def spectral_delta(self) -> float:
        """Failure probability of each certificate's radius; split with ``familywise``."""
        return self.profile.certificate.spectral.delta / (self._family or 1)

    @property
    def _family(self) -> int:
        """Certificates that share the profile's failure probability; 0 where each has its own."""
        if not self.profile.certificate.familywise:
            return 0
        tables = set(self.cells)
        return sum(cell in tables for unit in self.of_stage("evaluate") for cell in unit.cells)

    def of_stage(self, stage: str) -> tuple[Unit, ...]:
        """Units of one stage, in order."""
        return tuple(unit for unit in self.units if unit.stage == stage)

    @property
    def extra_units(self) -> tuple[Unit, ...]:
        """Units that only the rows beside the tables need, in order."""
        if not self.extras:
            return ()
        beside: dict[str, bool] = {}
        for unit in self.units:
            if unit.task not in beside:
                beside[unit.task] = _serves_any(unit, self.extras) and not _serves_any(
                    unit, self.cells
                )
        return tuple(unit for unit in self.units if beside[unit.task])

    def to_json(self) -> dict[str, Any]:
        """Plain values; units are written once per task with the list of their images."""
        return {
            "v": PLAN_VERSION,
            "profile": _profile_json(self.profile),
            "cells": [asdict(cell) for cell in self.cells],
            "tasks": [_task_json(list(units)) for _, units in groupby(self.units, _task_cost)],
            "data_sha256": dict(self.data_sha256),
            "code_sha256": self.code_sha256,
            "device": self.device,
            "plugins": dict(self.plugins),
            **({"extras": [asdict(cell) for cell in self.extras]} if self.extras else {}),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any], *, source: str = "plan.json") -> Plan:
        """The plan that ``to_json`` wrote.

        Raises:
            BenchError: The content is not a plan of this version.
        """
        if content.get("v") != PLAN_VERSION:
            raise BenchError(
                f"{source}: expected a plan of version {PLAN_VERSION}, found {content.get('v')!r}."
            )
        try:
            found = _Content.model_validate(content)
        except ValidationError as error:
            raise BenchError(f"{source}: {invalid(error, whole='the plan')}") from error
        return cls(
            profile=found.profile,
            cells=tuple(found.cells),
            units=tuple(unit for task in found.tasks for unit in task.units()),
            data_sha256=found.data_sha256,
            code_sha256=found.code_sha256,
            device=found.device,
            plugins=found.plugins,
            extras=found.extras,
        )


def _serves_any(unit: Unit, cells: Iterable[Cell]) -> bool:
    return any(unit.serves(cell) for cell in cells)


def canonical(content: Any) -> str:
    """JSON text that depends on the content alone.

    >>> canonical({"b": 1, "a": [1.5, None]})
    '{"a":[1.5,null],"b":1}'
    """
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _profile_json(profile: Profile) -> dict[str, Any]:
    """All settings; without those that older plans lack, where they are not used."""
    unused: dict[str, Any] = {"extras": True} if profile.extras == ExtrasSection() else {}
    unused["data"] = _at_default(profile.data, "train", "balance")
    unused["fit"] = {
        name: _at_default(part, "held_out", "score_learning_rate")
        for name, part in profile.fit.items()
    }
    return profile.model_dump(mode="json", exclude=unused)


def _at_default(section: Section, *names: str) -> set[str]:
    """Those of the settings that are as if nobody had named them."""
    known = type(section).model_fields
    return {name for name in names if getattr(section, name) == known[name].default}


def _task_cost(unit: Unit) -> tuple[str, float]:
    """What the units of one written task have in common."""
    return unit.task, unit.forward_passes


def _task_json(units: list[Unit]) -> dict[str, Any]:
    """Units of one task as one entry; settings at their defaults are left out."""
    first = units[0]
    entry = {
        f.name: getattr(first, f.name)
        for f in fields(Unit)
        if f.name != "image" and getattr(first, f.name) != f.default
    }
    return {**entry, "images": [unit.image for unit in units]}


class _Task(Section):
    """One entry: a unit but for its images."""

    stage: StageName
    dataset: str
    model: str | None = None
    defense: str = ""
    smoother: str = ""
    sigma: float | None = None
    detail: str = ""
    forward_passes: float = 0.0
    images: list[str | None]

    def units(self) -> list[Unit]:
        """Units of the entry."""
        first = Unit(**self.model_dump(exclude={"images"}))
        return [replace(first, image=image) for image in self.images]


class _Content(Section):
    """What ``to_json`` writes, with its types; anything else is no plan."""

    v: int
    profile: Profile
    cells: list[Cell]
    tasks: list[_Task]
    data_sha256: dict[str, str]
    code_sha256: str
    device: str
    plugins: dict[str, str]
    extras: tuple[Cell, ...] = ()
