"""Prices of passes are those of the model that the run will load."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bench.execution.pricing import RunsModels, _operations
from bench.execution.timing_points import Suite
from bench.plan.loading import load_profile
from iqa_models.plugin import model_plugin
from iqa_models.weights import WeightsError


def rig(plugin: Any) -> RunsModels:
    """A rig whose only model is the given one."""
    suite = Suite(models=("dbcnn",), defenses=(), edition="compact", size=(96, 128), device="cpu")
    registry = SimpleNamespace(model=lambda name: plugin)
    return RunsModels(suite, registry, load_profile("embedded"))  # type: ignore[arg-type]


class Variant:
    """A model whose loaded network is not the one that its architecture names."""

    def __init__(self, loaded: str, *, here: bool) -> None:
        self.loaded, self.here = loaded, here
        self.architecture = model_plugin("dbcnn").architecture

    def build(self, edition: Any) -> Any:
        """Another network, if its files are here."""
        if not self.here:
            raise WeightsError("files: not found.")
        return model_plugin(self.loaded).build(edition)


@pytest.mark.parametrize(("here", "expected"), [(True, "koncept"), (False, "dbcnn")])
def test_the_model_that_a_run_loads_is_priced(here: bool, expected: str) -> None:
    """By its variant's cost where files are here, else by the architecture's; they differ."""
    plain = {
        name: _operations(rig(model_plugin(name)), name, None) for name in ("dbcnn", "koncept")
    }
    assert plain["dbcnn"] != plain["koncept"]
    assert _operations(rig(Variant("koncept", here=here)), "dbcnn", None) == plain[expected]
