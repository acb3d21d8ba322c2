"""The verb ``check-model``: is a model of one's own what the defences take it for?

It must not know what is checked.
"""

from __future__ import annotations

from typing import Annotated

import typer

from bench.cli import options as opt
from bench.cli.check_defense import tell


def check_model(
    name: Annotated[str, typer.Argument(help="Model, ours or a plugin's.")],
    plugin: opt.Plugin = None,
    seed: Annotated[int, typer.Option("--seed", help="Fixes the images.")] = 0,
) -> None:
    """Ask a model whether it is what its contract says: shapes, range, bits, gradient."""
    from bench.library.model_check import outcomes
    from bench.library.models import subject
    from bench.library.selection import open_registry

    registry = open_registry(opt.plugin_paths(plugin), kinds=("model",))
    tell(name, outcomes(subject(name, registry, "compact", "NR").load(), seed=seed))
