"""From the options that several verbs share to a profile, a registry and a plan."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass

from bench.base.errors import BenchError
from bench.plan.loading import Overrides, load_profile, overridden
from bench.plan.profile import Profile
from bench.plan.units import Plan
from bench.plugins.registry import Registry


@dataclass(frozen=True, slots=True)
class Selection:
    """What is to be run, as given on the command line.

    Attributes:
        profile: Name or path.
        changes: Overrides.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:i``.
        plugins: Plugin files.
        dataset: Name or ``dataset.toml`` that replaces the profile's data wherever it fits.
    """

    profile: str
    changes: Overrides
    device: str = "auto"
    plugins: tuple[str, ...] = ()
    dataset: str | None = None

    @property
    def selects(self) -> bool:
        """Whether anything was chosen from the profile."""
        return self.changes != Overrides()

    def load_profile(self) -> Profile:
        """The profile with the overrides."""
        profile = overridden(load_profile(self.profile), self.changes)
        return profile if self.dataset is None else self._on(self.dataset, profile)

    def _on(self, dataset: str, profile: Profile) -> Profile:
        """The profile on one's own data: for FR models only if there are references.

        Raises:
            BenchError: There is no such data set, or no chosen model can use it.
        """
        registry = Registry.open(self.plugins)
        fits = {"NR": "nr"}
        if registry.dataset(dataset).card.has_references:
            fits["FR"] = "fr"
        modes = {registry.model(model).card.mode for model in profile.models}
        used = {fits[mode]: dataset for mode in modes if mode in fits}
        if not used:
            raise BenchError(
                f"--dataset {dataset}: expected references for {', '.join(profile.models)}, "
                "found none."
            )
        data = profile.data.model_copy(update=used)
        return profile.model_copy(update={"data": data})

    def open_registry(self) -> Registry:
        """All parts; says on stderr what is broken, with its traceback."""
        registry = Registry.open(self.plugins)
        warn_of_broken(registry)
        return registry

    def make_plan(self, device: str, registry: Registry | None = None) -> Plan:
        """The plan on a resolved device."""
        from bench.execution.planning import make_plan

        profile = self.load_profile()
        return make_plan(profile, registry or self.open_registry(), device=device.split(":")[0])


def warn_of_broken(registry: Registry) -> None:
    """Say on stderr which parts could not be loaded, each with its traceback."""
    for broken in registry.broken:
        print(  # noqa: T201
            f"Warning: {broken.origin} cannot be loaded and is left out:\n"
            f"{broken.traceback.rstrip()}",
            file=sys.stderr,
        )


def resolve_device(name: str) -> str:
    """``auto`` to what the machine has.

    Raises:
        BenchError: The name is no device, or the machine has no such device.
    """
    if name == "cpu":
        return name
    if name != "auto" and not re.fullmatch(r"cuda(:\d+)?", name):
        raise BenchError(f"--device: expected auto, cpu, cuda or cuda:1, found {name!r}.")
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda" if count else "cpu"
    index = int(name.partition(":")[2] or 0)
    if index >= count:
        raise BenchError(f"--device: expected one of {count} CUDA devices, found {name!r}.")
    return name
