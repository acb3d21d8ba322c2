"""The verb ``certify``: one image file, one defence, one certificate in words.

It knows options and words; it must not know how a certificate is computed.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

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
    from bench.library.defended import certify as certified

    found = certified(
        model,
        image,
        defense=defense,
        sigma=sigma,
        reference=reference,
        radius=radius,
        samples=samples,
        profile=profile,
        data_root=data_root,
        device=device,
        plugins=opt.plugin_paths(plugin),
    )
    result = {"image": image.name, **found.columns}
    if as_json:
        print(json.dumps(result, indent=1, allow_nan=False, default=str))  # noqa: T201
        return
    from rich.console import Console

    Console().print(certificate_table(result))


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
