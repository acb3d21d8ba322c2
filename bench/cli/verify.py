"""Verbs about trust: ``verify``, ``check-defense``, ``certify``."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.base.errors import BenchError
from bench.cli.app import OK, SOME_FAILED
from bench.cli.report import chosen_run
from bench.cli.selection import Selection, resolve_device, warn_of_broken
from bench.plan.loading import Overrides

if TYPE_CHECKING:
    from bench.measure.single import Question


def verify_run(folder: Path | None, results: Path) -> int:
    """Recompute every bound; returns the exit code."""
    from bench.review.verify import verify

    outcome = verify(chosen_run(folder, results))
    print(outcome)  # noqa: T201
    return OK if outcome.ok else SOME_FAILED


def check_defense(name: str, plugins: tuple[str, ...], *, seed: int) -> int:
    """Run the conformance kit on a defence; returns the exit code."""
    from bench.plugins.registry import Registry
    from defenses.conformance import check

    registry = Registry.open(plugins, kinds=("defense",))
    warn_of_broken(registry)
    report = check(registry.defense(name), seed=seed)
    print(report)  # noqa: T201
    return OK if report.ok else SOME_FAILED


def certify_one(question: Question, selection: Selection, *, as_json: bool) -> int:
    """Certify an image file; returns the exit code."""
    check_numbers(question)
    device = resolve_device(selection.device)
    changes = Overrides(
        models=(question.model,), defenses=(question.defense,), samples=selection.changes.samples
    )
    # All of the profile's noise levels stay: trained parts are known by them.
    plan = replace(selection, changes=changes).make_plan(device)
    from bench.measure.context import open_context
    from bench.measure.single import certify_image

    context = open_context(plan, plugins=selection.plugins, device=device)
    result = certify_image(question, context, dataset=plan.cells[0].dataset)
    if as_json:
        print(json.dumps(result, indent=1, allow_nan=False, default=str))  # noqa: T201
    else:
        Console().print(certificate_table(result))
    return OK


def check_numbers(question: Question) -> None:
    """Noise level and radius are positive numbers.

    Raises:
        BenchError: One is not.
    """
    for option, value in (("--sigma", question.sigma), ("--radius", question.radius)):
        if value is not None and not 0 < value < math.inf:
            raise BenchError(f"{option}: expected a number above 0, found {value}.")


def certificate_table(result: dict[str, Any]) -> Table:
    """The certificate in the words of a report; bounds are rounded to the safe side."""
    title = f"{result['image']}: {result['model']} defended by {result['defense']}"
    table = Table("", "", title=title, show_header=False)
    direction = "higher" if result["higher_is_better"] else "lower"
    low, high = result["range"]
    rows: list[tuple[str, str]] = [
        ("score", f"{_number(result.get('score'))} in [{low:g}, {high:g}], {direction} is better"),
        ("undefended", _number(result.get("undefended"))),
    ]
    if result["status"] == "ok":
        rows += [
            ("bounds", _interval(result["lower"], result["upper"])),
            ("radius", f"{result['radius']:.4g} (l2), {result['rms_levels']:.3g} levels RMS"),
        ]
    else:
        rows.append(("abstained", str(result["reason"])))
    if result.get("deployed_lower") is not None and result.get("deployed_upper") is not None:
        fresh = _interval(result["deployed_lower"], result["deployed_upper"])
        rows.append(("a fresh estimate", f"{fresh}, same radius"))
    if result.get("native_radius") is not None:
        rows.append(
            (
                "authors' own form",
                f"within {result['native_tolerance']:.4g} of the undefended score up to radius "
                f"{result['native_radius']:.4g}",
            )
        )
    rows += [
        ("claim", f"{result['claim']}, {result['rigor']}: {result['statement']}"),
        ("assumes", "; ".join(result["assumptions"])),
        ("may fail with", f"probability {result['failure']:.3g} (both sides and radius)"),
        ("from", f"{result['samples']} draws, sigma {result['sigma']:g}, {result['edition']}"),
    ]
    for name, text in rows:
        table.add_row(name, Text(text))  # brackets are no markup
    return table


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.5f}"


def _interval(lower: float, upper: float) -> str:
    """Bounds rounded outwards.

    >>> _interval(0.1234567, 0.1234567)
    '[0.12345, 0.12346]'
    """
    return f"[{math.floor(lower * 1e5) / 1e5:.5f}, {math.ceil(upper * 1e5) / 1e5:.5f}]"
