"""The verb ``list``: what there is, where it comes from, and what is broken.

It prints a registry; it must not know how parts are found.
"""

from __future__ import annotations

from bench.cli import options as opt


def list_parts(plugin: opt.Plugin = None) -> None:
    """Show defences, models, data sets, attacks and profiles, and what could not be loaded."""
    from rich.console import Console
    from rich.table import Table

    from bench.cli.selection import open_registry
    from bench.plan.loading import built_in_profiles
    from bench.plugins.registry import GROUPS

    registry = open_registry(opt.plugin_paths(plugin))
    table = Table("kind", "name", "origin")
    for kind in GROUPS:
        for name in registry.names(kind):
            table.add_row(kind, name, registry.parts[kind, name].origin)
    for name in built_in_profiles():
        table.add_row("profile", name, "bench/profiles")
    Console().print(table)
