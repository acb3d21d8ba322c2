"""The fake stages on a machine with two pretended GPUs: every worker claims one and says which."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bench.base.devices import own_device
from bench.execution.worker import Assignment
from bench.plan.units import Plan
from tests.bench import fake_workshop
from tests.bench.fake_workshop import load_stage

__all__ = ["DEVICES", "load_stage", "open_context"]
DEVICES = 2


def open_context(plan: Plan, assignment: Assignment) -> dict[str, Any]:
    """As the real one does: a pinned worker takes a device of its own."""
    assert assignment.pinned
    pretended = SimpleNamespace(cuda=SimpleNamespace(device_count=lambda: DEVICES))
    sys.modules["torch"] = pretended  # type: ignore[assignment]
    device = own_device()
    folder = Path(assignment.run).parent / "devices"
    folder.mkdir(exist_ok=True)
    (folder / f"{os.getpid()}").write_text(device)
    return fake_workshop.open_context(plan, assignment)
