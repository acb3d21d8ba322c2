"""From what was asked for to a profile, a registry, a plan or a run.

This module knows what was chosen; it must not know what is done with it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.base.errors import BenchError, unknown, weights_asked_for
from bench.plan.loading import Overrides, load_profile, overridden
from bench.plugins.registry import GROUPS, Kind, Registry
from bench.records.folder import RunFolder

if TYPE_CHECKING:
    from bench.execution.options import Execution
    from bench.plan.profile import Profile
    from bench.plan.units import Plan, StageName


@dataclass(frozen=True, slots=True)
class Selection:
    """What is to be run, as given on the command line.

    Attributes:
        profile: Name or path.
        changes: Overrides.
        dataset: Name or ``dataset.toml`` that replaces the profile's data wherever it fits.
    """

    profile: str
    changes: Overrides
    dataset: str | None = None

    def changed_profile(self) -> Profile:
        """The profile with the overrides, on its own data."""
        return overridden(load_profile(self.profile), self.changes)

    def check_intent(self) -> None:
        """The whole matrix must be asked for.

        Raises:
            BenchError: Nothing was chosen from the profile.
        """
        profile = self.changed_profile()
        if not self.changes.chooses:
            cells = len(profile.models) * len(profile.defenses) * len(profile.sigmas)
            raise BenchError(
                f"nothing chosen: say --all for the {cells} cells of profile {profile.name!r}, or "
                "choose with --models, --defenses, --sigmas or --limit."
            )

    def load_profile(self, registry: Registry) -> Profile:
        """The profile, on one's own data if there are any: for FR models only with references.

        Raises:
            BenchError: There is no such data set, or no chosen model can use it.
        """
        profile = self.changed_profile()
        if self.dataset is None:
            return profile
        fits = {"NR": "nr"}
        if registry.dataset(self.dataset).card.has_references:
            fits["FR"] = "fr"
        modes = {registry.model(model).card.mode for model in profile.models}
        used = {fits[mode]: self.dataset for mode in modes if mode in fits}
        if not used:
            raise BenchError(
                f"--dataset {self.dataset}: expected references for {', '.join(profile.models)}, "
                "found none."
            )
        data = profile.data.model_copy(update=used)
        return profile.model_copy(update={"data": data})

    def make_plan(self, registry: Registry, how: Execution) -> Plan:
        """The plan, for the device that it is to be carried out on.

        Raises:
            BenchError: It cannot be made.
        """
        from bench.execution.planning import make_plan

        try:
            return make_plan(self.load_profile(registry), registry, device=how.device.split(":")[0])
        except SystemExit as error:  # of a plugin: it would pass for the end of a good run
            raise BenchError(
                f"expected a plan, found a plugin that ends the program (exit {error.code!r})."
            ) from error


def open_registry(
    plugins: Iterable[str], *, kinds: Iterable[Kind] = tuple(GROUPS), data_root: Path | None = None
) -> Registry:
    """All parts; says on stderr which could not be loaded, each with its traceback."""
    registry = Registry.open(plugins, kinds=kinds, data_root=data_root)
    for broken in registry.broken:
        print(  # noqa: T201
            f"Warning: {broken.origin} cannot be loaded and is left out:\n"
            f"{broken.traceback.rstrip()}",
            file=sys.stderr,
        )
    return registry


def chosen_run(folder: Path | None, results: Path) -> RunFolder:
    """The named run, or the one that was worked on last.

    Raises:
        BenchError: There is none.
    """
    if folder is not None:
        return RunFolder.open(folder)
    plans = sorted(results.glob("*/plan.json"), key=lambda file: file.parent.stat().st_mtime)
    if not plans:
        raise BenchError(f"{results}: expected a run, found none; start one with `run`.")
    return RunFolder.open(plans[-1].parent)


def chosen_stages(names: tuple[str, ...] | None) -> tuple[StageName, ...]:
    """Stages in their order.

    Raises:
        BenchError: A stage is unknown, or none is named.
    """
    from bench.plan.units import STAGES

    if names == ():
        raise BenchError(f"--stages: expected one or more of {', '.join(STAGES)}, found none.")
    for name in names or ():
        if name not in STAGES:
            raise unknown("stage", name, STAGES)
    return STAGES if names is None else tuple(stage for stage in STAGES if stage in names)


def absent_models(plan: Plan, registry: Registry, *, strict: bool) -> tuple[tuple[str, str], ...]:
    """Published models whose files are missing, each with how to get them.

    Raises:
        BenchError: All are missing, or with ``strict`` any.
    """
    if plan.profile.edition != "published":
        return ()
    from iqa_models.artifacts import Shelf
    from iqa_models.assembly import chosen_recipe
    from iqa_models.weights import WeightsError

    absent: dict[str, str] = {}
    with weights_asked_for():
        shelf = Shelf.open()
    for model in plan.profile.models:
        try:
            if recipes := getattr(registry.model(model), "recipes", ()):
                chosen_recipe(model, recipes, shelf)
        except WeightsError as error:
            absent[model] = str(error)
    if absent and (strict or len(absent) == len(plan.profile.models)):
        raise BenchError(next(iter(absent.values())))
    return tuple(absent.items())
