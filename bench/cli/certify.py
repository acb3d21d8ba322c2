"""The verb ``certify``: one image file, one defence, one certificate in words.

It knows options and words; it must not know how a certificate is computed.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.base.errors import BenchError
from bench.cli import options as opt

if TYPE_CHECKING:
    from rich.table import Table

EXAMPLES = """\b
Examples:
  python -m bench certify photo.png --model koncept --defense ms --sigma 0.25
  python -m bench certify jpeg.png --reference raw.png -m lpips -d fs-iqa -s 0.1 --radius 0.5
  python -m bench certify photo.png -m dbcnn -d ms -s 0.1 --samples 500 --json
"""


def certify(
    image: Annotated[Path, typer.Argument(help="Image file.")],
    model: Annotated[str, typer.Option("--model", "-m", help="Model.")],
    defense: Annotated[str, typer.Option("--defense", "-d", help="Defence.")],
    sigma: Annotated[float, typer.Option("--sigma", "-s", help="Noise level.")],
    reference: Annotated[
        Path | None, typer.Option("--reference", "-r", help="Pristine original, for FR models.")
    ] = None,
    radius: Annotated[
        float | None, typer.Option("--radius", help="l2 radius; default: the defence's own.")
    ] = None,
    as_json: opt.Json = False,
    profile: opt.Profile = "embedded",
    samples: opt.Samples = None,
    data_root: opt.DataRoot = None,
    device: opt.Device = "auto",
    plugin: opt.Plugin = None,
) -> None:
    """Certify one image: score, bounds, radius, and what exactly is claimed."""
    check_sigma(sigma)
    check_positive("--radius", radius)
    from bench.base.devices import resolve_device
    from bench.cli.selection import Selection, open_registry
    from bench.execution.options import Execution
    from bench.measure.context import open_context
    from bench.measure.single import Question, certify_image
    from bench.plan.loading import Overrides

    how = Execution(resolve_device(device), plugins=opt.plugin_paths(plugin), data_root=data_root)
    # All of the profile's noise levels stay: trained parts are known by them.
    changes = Overrides(models=(model,), defenses=(defense,), samples=samples, no_extras=True)
    registry = open_registry(how.plugins, data_root=how.data_root)
    plan = Selection(profile, changes).make_plan(registry, how)
    context = open_context(plan, plugins=how.plugins, data_root=data_root, device=how.device)
    question = Question(image, reference, model, defense, sigma, radius)
    result = certify_image(question, context, dataset=plan.cells[0].dataset)
    if as_json:
        print(json.dumps(result, indent=1, allow_nan=False, default=str))  # noqa: T201
        return
    from rich.console import Console

    Console().print(certificate_table(result))


def check_sigma(sigma: float) -> None:
    """The noise level is one that a profile may have.

    Raises:
        BenchError: It is not.
    """
    from bench.plan.profile import GREATEST_SIGMA, LEAST_SIGMA

    if not LEAST_SIGMA <= sigma <= GREATEST_SIGMA:
        raise BenchError(
            f"--sigma: expected a number from {LEAST_SIGMA:g} to {GREATEST_SIGMA:g}, found {sigma}."
        )


def check_positive(option: str, value: float | None) -> None:
    """A radius is a positive number.

    Raises:
        BenchError: One is not.
    """
    if value is not None and not 0 < value < math.inf:
        raise BenchError(f"{option}: expected a number above 0, found {value}.")


def certificate_table(result: dict[str, Any]) -> Table:
    """The certificate in the words of a report; bounds are rounded to the safe side."""
    from rich.table import Table
    from rich.text import Text

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
        ("may fail with", _failure(result["failure"], result["rigor"])),
        ("from", f"{result['samples']} draws, sigma {result['sigma']:g}, {result['edition']}"),
    ]
    for name, text in rows:
        table.add_row(name, Text(text))  # brackets are no markup
    return table


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.5f}"


def _failure(probability: float | None, rigor: str) -> str:
    """How likely the certificate is wrong, if anybody can say.

    >>> _failure(None, "first-order")
    'unknown, the radius is first-order'
    """
    if probability is None:
        return f"unknown, the radius is {rigor}"
    return f"probability {probability:.3g} (both sides and radius)"


def _interval(lower: float, upper: float) -> str:
    """Bounds rounded outwards.

    >>> _interval(0.1234567, 0.1234567)
    '[0.12345, 0.12346]'
    """
    return f"[{math.floor(lower * 1e5) / 1e5:.5f}, {math.ceil(upper * 1e5) / 1e5:.5f}]"
