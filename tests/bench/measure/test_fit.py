"""What a fit record says of a stored part."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from bench.base.cache import Cache
from bench.measure.stages.fit import record
from bench.plan.units import Unit

NOTES = {"train_loss": [0.2], "validation_loss": [0.3], "seconds": 1.0, "parameters": 2}


@pytest.mark.parametrize("name", ["saturated_share", "filter_ratio"])
@pytest.mark.parametrize("noted", [(0.07,), (None,), ()])
def test_a_fit_record_carries_the_figures_of_parts_that_have_one(
    name: str, noted: tuple[float | None, ...], tmp_path: Path
) -> None:
    more = dict.fromkeys([name], *noted) if noted else {}
    context = SimpleNamespace(store=Cache(tmp_path))
    context.store.save_state("k", {"weight": torch.zeros(2)}, {**NOTES, **more})
    unit = Unit("fit", "set", "lpips", "fs-iqa", sigma=0.1, detail="ftn")
    found = record(unit, "k", context)  # type: ignore[arg-type]
    assert getattr(found, name) == (noted[0] if noted else None)
