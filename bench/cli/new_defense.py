"""The verb ``new-defense``: a template, and what to do next."""

from __future__ import annotations

from pathlib import Path

from bench.plugins.template import new_defense


def write_defense(name: str, out: Path) -> None:
    """Write the files and print the next two commands."""
    written = new_defense(name, out=out)
    print(  # noqa: T201
        f"wrote {written.plugin} and {written.test}; {written.declaration} names the plugin, so "
        "it is loaded by every command in this folder.\n\n"
        f"python -m bench check-defense {name}\n"
        f"python -m bench run --defenses {name},ms --limit 4"
    )
