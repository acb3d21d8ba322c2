"""The verb ``check-defense``: the conformance kit, on one's own defence or one of ours.

It must not know what the kit checks.
"""

from __future__ import annotations

from typing import Annotated

import typer

from bench.base.errors import OK, SOME_FAILED
from bench.cli import options as opt


def check_defense(
    name: Annotated[str, typer.Argument(help="Defence, ours or a plugin's.")],
    plugin: opt.Plugin = None,
    seed: Annotated[int, typer.Option("--seed", help="Fixes every random number.")] = 0,
) -> None:
    """Run the conformance kit on a defence: does it keep what it promises?"""
    from bench.library.selection import open_registry
    from defenses.conformance import Report, outcomes

    registry = open_registry(opt.plugin_paths(plugin), kinds=("defense",))
    known = []
    for outcome in outcomes(registry.defense(name), seed=seed):
        known.append(outcome)
        print(outcome, flush=True)  # noqa: T201
    report = Report(name, tuple(known))
    print(report.verdict)  # noqa: T201
    raise typer.Exit(OK if report.ok else SOME_FAILED)
