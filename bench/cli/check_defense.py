"""The verb ``check-defense``: the conformance kit, on one's own defence or one of ours.

It must not know what the kit checks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from bench.base.errors import OK, SOME_FAILED
from bench.cli import options as opt

if TYPE_CHECKING:
    from defenses.conformance import CheckResult


def check_defense(
    name: Annotated[str, typer.Argument(help="Defence, ours or a plugin's.")],
    plugin: opt.Plugin = None,
    seed: Annotated[int, typer.Option("--seed", help="Fixes every random number.")] = 0,
) -> None:
    """Run the conformance kit on a defence: does it keep what it promises?"""
    from bench.library.selection import open_registry
    from defenses.conformance import outcomes

    registry = open_registry(opt.plugin_paths(plugin), kinds=("defense",))
    tell(name, outcomes(registry.defense(name), seed=seed))


def tell(name: str, found: Iterator[CheckResult]) -> NoReturn:
    """Print every check when it is known, and the verdict.

    Raises:
        Exit: With the code that says whether a check failed.
    """
    from defenses.conformance import Report

    known = []
    for outcome in found:
        known.append(outcome)
        print(outcome, flush=True)  # noqa: T201
    report = Report(name, tuple(known))
    print(report.verdict)  # noqa: T201
    raise typer.Exit(OK if report.ok else SOME_FAILED)
