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
    from defenses.conformance import CHECKS, Report, run
    from defenses.conformance.report import Candidate

    registry = open_registry(opt.plugin_paths(plugin), kinds=("defense",))
    candidate = Candidate(registry.defense(name), seed)
    outcomes = []
    for title in CHECKS:  # each line when it is known: the whole kit may take a minute
        outcomes.append(run(title, candidate))
        print(outcomes[-1], flush=True)  # noqa: T201
    report = Report(name, tuple(outcomes))
    print(str(report).rsplit("\n", 1)[-1])  # noqa: T201 - the verdict, below the lines above
    raise typer.Exit(OK if report.ok else SOME_FAILED)
