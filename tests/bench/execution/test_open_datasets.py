"""A run opens the data sets of its models and no other: to make one may take long."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.execution.planning import make_plan
from bench.measure.context import data_sources, open_context
from bench.plan.loading import Overrides, load_profile, overridden
from bench.plugins.registry import Registry
from tests.bench.datasets.test_across import table

NR, FR = "set-of-images", "set-of-pairs"


@pytest.mark.parametrize(
    ("models", "wanted"),
    [
        (("koncept",), {"koncept": NR}),
        (("lpips",), {"lpips": FR}),
        (("lpips", "koncept", "dists"), {"lpips": FR, "koncept": NR, "dists": FR}),
    ],
)
def test_a_model_has_the_data_set_of_its_mode(
    models: tuple[str, ...], wanted: dict[str, str]
) -> None:
    profile = overridden(load_profile("embedded"), Overrides(models=models))
    data = profile.data.model_copy(update={"nr": NR, "fr": FR})
    assert data_sources(profile.model_copy(update={"data": data}), Registry.open()) == wanted


def test_what_no_model_needs_is_opened_neither_by_the_plan_nor_by_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = table(tmp_path, "mine", 0.0, 10.0)
    opened: list[str] = []
    dataset = Registry.dataset

    def noted(self: Registry, name: str, *, train: str | None = None) -> object:
        opened.append(name)
        return dataset(self, name, train=train)

    monkeypatch.setattr(Registry, "dataset", noted)
    profile = overridden(
        load_profile("embedded"),
        Overrides(models=("koncept",), defenses=("ms",), no_extras=True, limit=2),
    )
    data = profile.data.model_copy(update={"nr": own, "fr": "embedded"})
    plan = make_plan(profile.model_copy(update={"data": data}), Registry.open())
    context = open_context(plan, folder=tmp_path / "cache")
    assert opened == [own] * 2
    (name,) = plan.data_sha256
    assert context.dataset(name).sha256 == plan.data_sha256[name]
