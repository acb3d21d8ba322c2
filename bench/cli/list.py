"""The verb ``list``: what there is, where it comes from, and what is broken.

It prints a registry; it must not know how parts are found.
"""

from __future__ import annotations

import typer

from bench.cli import options as opt


def list_parts(plugin: opt.Plugin = None) -> None:
    """Show defences, models, data sets, attacks and profiles, and what could not be loaded."""
    from bench.cli.selection import open_registry
    from bench.cli.tables import console_table
    from bench.plan.loading import built_in_profiles
    from bench.plugins.registry import GROUPS

    registry = open_registry(opt.plugin_paths(plugin))
    rows: list[tuple[str, str, str]] = [
        (kind, name, registry.parts[kind, name].origin)
        for kind in GROUPS
        for name in registry.names(kind)
    ]
    rows += [("profile", name, "bench/profiles") for name in built_in_profiles()]
    typer.echo(console_table(rows, ("kind", "name", "origin")))
