"""Why two runs may differ: what their plans and records say about code, weights, data and settings.

This module knows plans, ``run.json`` and the digests in records; it must not know any result.  It
names what differs; several causes of one change cannot be told apart from two runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from bench.analysis.frames import plain
from bench.base.provenance import dotted
from bench.plan.units import Cell, Plan

if TYPE_CHECKING:
    import pandas as pd

    from bench.records.folder import RunFolder

Kind = Literal["code", "weights", "data", "seed", "settings", "hardware", "versions"]

_SELECTION = frozenset({"models", "defenses", "sigmas", "seed", "extras"})
"""Fields of a profile that are no settings: they choose cells, or have a kind of their own."""
_NOT_ABOUT_CELLS = frozenset({"name", "time", "attack", "audit"})
"""Settings that change no evaluation record."""
_MACHINE = ("device", "machine.machine", "machine.system", "processors")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a run says about its inputs.

    Attributes:
        name: What to call the run.
        plan: Its plan.
        provenance: Content of run.json; may be empty.
        models: Digest of each model by (data set, model), from the calibration records.
        parts: Artifact and digest of each trained part by (part, data set, model, sigma).
    """

    name: str
    plan: Plan
    provenance: Mapping[str, Any] = field(default_factory=dict)
    models: Mapping[tuple[Any, ...], str] = field(default_factory=dict)
    parts: Mapping[tuple[Any, ...], str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing that differs, and the cells it can have changed (None: all of them).

    Attributes:
        kind: What kind of thing.
        text: What differs, with both values.
        dataset, model, sigma: Only cells of these.
        defenses: Only cells of these defences; empty: no cell.
        numbers: Whether it decides results, so that runs that differ in it cannot be joined.
    """

    kind: Kind
    text: str
    dataset: str | None = None
    model: str | None = None
    sigma: float | None = None
    defenses: tuple[str, ...] | None = None
    numbers: bool = True

    def concerns(self, cell: Cell) -> bool:
        """Whether it can have changed this cell."""
        return (
            self.dataset in (None, cell.dataset)
            and self.model in (None, cell.model)
            and self.sigma in (None, cell.sigma)
            and (self.defenses is None or cell.defense in self.defenses)
        )

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


def facts_of(run: RunFolder, name: str) -> Facts:
    """Read a run's facts.

    Raises:
        BenchError: The run cannot be read.
    """
    models = _digests(run.table("calibration"), ("dataset", "model"), ("model_sha256",))
    keys = ("part", "dataset", "model", "sigma")
    parts = _digests(run.table("fit"), keys, ("artifact", "sha256"))
    return Facts(name, run.plan(), run.provenance(), models, parts)


def _digests(
    frame: pd.DataFrame, keys: tuple[str, ...], columns: tuple[str, ...]
) -> dict[tuple[Any, ...], str]:
    """A digest by key, of the rows that have one."""
    found = {}
    for row in frame.to_dict("records"):
        values = [plain(row.get(column)) for column in columns]
        if row["status"] == "ok" and None not in values:
            found[tuple(plain(row[key]) for key in keys)] = " ".join(map(str, values))
    return found


def causes(a: Facts, b: Facts) -> tuple[Cause, ...]:
    """Everything that differs between the inputs of two runs."""
    return tuple(
        cause
        for find in (_code, _weights, _data, _seed, _settings, _machines)
        for cause in find(a, b)
    )


def _code(a: Facts, b: Facts) -> Iterator[Cause]:
    one, other = a.plan.code_sha256, b.plan.code_sha256
    if one != other:
        yield Cause("code", f"code and shipped weights {_short(one)} -> {_short(other)}")
    for name, x, y in _both(a.plan.plugins, b.plan.plugins):
        yield Cause("code", f"plugin {name} {_short(x)} -> {_short(y)}")


def _weights(a: Facts, b: Facts) -> Iterator[Cause]:
    files = [f.provenance.get("weights_sha256", {}) for f in (a, b)]
    for name, x, y in _both(files[0], files[1]):
        stem = name.split(".")[0]
        model = stem if stem in {c.model for c in (*a.plan.all_cells, *b.plan.all_cells)} else None
        yield Cause("weights", f"file {name} {_short(x)} -> {_short(y)}", model=model)
    for (dataset, model), x, y in _both(a.models, b.models):
        text = f"parameters or code of {model} {_short(x)} -> {_short(y)}"
        yield Cause("weights", text, dataset, model)
    for (part, dataset, model, sigma), x, y in _both(a.parts, b.parts):
        of = [dataset, *([model] if model else []), *([f"sigma {sigma:g}"] if sigma else [])]
        # The artifact says what it was trained from, the digest what came out.
        same_recipe = x.split()[0] == y.split()[0]
        why = "same recipe, another result" if same_recipe else "another recipe"
        yield Cause(
            "weights",
            f"trained part {part} of {' / '.join(of)} ({why})",
            dataset,
            model,
            sigma,
            _users(part, a.plan, b.plan),
        )


def _data(a: Facts, b: Facts) -> Iterator[Cause]:
    for name, x, y in _both(a.plan.data_sha256, b.plan.data_sha256):
        yield Cause("data", f"{name} {_short(x)} -> {_short(y)}", name)


def _seed(a: Facts, b: Facts) -> Iterator[Cause]:
    one, other = a.plan.profile.seed, b.plan.profile.seed
    if one != other:
        yield Cause("seed", f"{one} -> {other}")


def _settings(a: Facts, b: Facts) -> Iterator[Cause]:
    one, other = (dict(dotted(f.plan.profile.model_dump(mode="json"))) for f in (a, b))
    for name in [*one, *(name for name in other if name not in one)]:
        x, y = one.get(name), other.get(name)
        section, _, rest = name.partition(".")
        if x == y or section in _SELECTION:
            continue
        defenses: tuple[str, ...] | None = None
        if section in _NOT_ABOUT_CELLS:
            defenses = ()
        elif section == "options":
            defenses = (rest.split(".")[0],)
        elif section == "fit":
            defenses = _users(rest.split(".")[0], a.plan, b.plan)
        yield Cause("settings", f"{name} {_value(x)} -> {_value(y)}", defenses=defenses)
    confidence = [f.plan.per_side_confidence for f in (a, b)]
    if a.plan.profile.certificate == b.plan.profile.certificate and len(set(confidence)) > 1:
        text = f"per-side confidence {confidence[0]} -> {confidence[1]} (family-wise)"
        yield Cause("settings", text)
    if a.plan.profile.sigmas != b.plan.profile.sigmas:
        for part in sorted(_shared(a.plan) & _shared(b.plan)):
            levels = [_value(f.plan.profile.sigmas) for f in (a, b)]
            text = f"{part} is trained for all noise levels of its run: {' -> '.join(levels)}"
            yield Cause("settings", text, defenses=_users(part, a.plan, b.plan))


def _machines(a: Facts, b: Facts) -> Iterator[Cause]:
    one, other = a.plan.device, b.plan.device
    if one != other:
        yield Cause("hardware", f"noise streams of {one} -> {other}")
    noted = [dict(dotted(f.provenance)) for f in (a, b)]
    for name in _MACHINE:
        x, y = (facts.get(name) for facts in noted)
        if None not in (x, y) and x != y:
            yield Cause("hardware", f"{name} {_value(x)} -> {_value(y)}", numbers=False)
    for name in sorted(noted[0].keys() & noted[1].keys()):
        if name == "machine.python" or name.startswith("machine.packages."):
            x, y = noted[0][name], noted[1][name]
            if x != y:
                yield Cause("versions", f"{name.split('.')[-1]} {x} -> {y}", numbers=False)


def _users(part: str, *plans: Plan) -> tuple[str, ...]:
    """Defences that use a trained part."""
    units = (unit for plan in plans for unit in plan.of_stage("fit") if unit.detail == part)
    return tuple(dict.fromkeys(name for unit in units for name in unit.defense.split(",")))


def _shared(plan: Plan) -> set[str]:
    """Parts that serve all noise levels of their run."""
    return {unit.detail for unit in plan.of_stage("fit") if unit.sigma is None}


def _both(one: Mapping[Any, Any], other: Mapping[Any, Any]) -> Iterator[tuple[Any, Any, Any]]:
    """Keys that both have, with different values."""
    for key in sorted(one.keys() & other.keys(), key=str):
        if one[key] != other[key]:
            yield key, one[key], other[key]


def _short(digest: str) -> str:
    return digest[:8]


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "(" + ", ".join(map(str, value)) + ")"
    return str(value)
