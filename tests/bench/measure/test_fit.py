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


@pytest.mark.parametrize(
    ("more", "share"),
    [({"saturated_share": 0.07}, 0.07), ({"saturated_share": None}, None), ({}, None)],
)
def test_a_fit_record_carries_the_saturated_share_of_parts_that_have_one(
    more: dict[str, float | None], share: float | None, tmp_path: Path
) -> None:
    context = SimpleNamespace(store=Cache(tmp_path))
    context.store.save_state("k", {"weight": torch.zeros(2)}, {**NOTES, **more})
    unit = Unit("fit", "set", "lpips", "fs-iqa", sigma=0.1, detail="ftn")
    assert record(unit, "k", context).saturated_share == share  # type: ignore[arg-type]
