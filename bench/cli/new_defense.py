"""The verb ``new-defense``: a template, and what to do next.

It must not know what the template holds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def new_defense(
    name: Annotated[str, typer.Argument(help="Name, e.g. mine or my-defense.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the two files.")] = Path(),
) -> None:
    """Write a defence of your own, and its test, from a template that already conforms."""
    from bench.plugins.template import new_defense as write_defense

    written = write_defense(name, out=out)
    print(  # noqa: T201
        f"wrote {written.plugin} and {written.test}; {written.declaration} names the plugin, so "
        "it is loaded by every command in this folder.\n\n"
        f"python -m bench check-defense {name}\n"
        f"python -m bench run --defenses {name},ms --limit 4"
    )
