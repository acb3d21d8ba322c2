"""The benchmark from Python: certify an image, run the matrix, read its tables.

``from bench import certify, run``: the names below are public and stay until a release says
otherwise; everything else of the package is an inner part, docs/architecture.md shows the rooms.
It must not know the paper's networks, and imports a room only when one of its names is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.base.errors import BenchError
    from bench.library.defended import DefendedModel, certify, defend, fit_features
    from bench.library.models import as_model
    from bench.library.rated import Rated
    from bench.library.runs import Run, run
    from bench.library.score import DefendedScore

__all__ = [
    "BenchError",
    "DefendedModel",
    "DefendedScore",
    "Rated",
    "Run",
    "as_model",
    "certify",
    "defend",
    "fit_features",
    "run",
]

_HOME = {
    "BenchError": "bench.base.errors",
    "DefendedScore": "bench.library.score",
    "Rated": "bench.library.rated",
    "Run": "bench.library.runs",
    "as_model": "bench.library.models",
    "run": "bench.library.runs",
}


def __getattr__(name: str) -> Any:
    """A public name, imported when it is first asked for: ``--help`` must not wait for torch."""
    if name not in __all__:
        raise AttributeError(f"module 'bench' has no attribute {name!r}")
    return getattr(import_module(_HOME.get(name, "bench.library.defended")), name)
