"""Plugin files that a folder declares, so that nobody has to repeat ``--plugin`` there.

``bench-plugins.toml`` in the working directory lists them; ``new-defense`` writes it.  Only the
working directory itself is looked at, never its parents, and every file is named on stderr before
it is executed.  This module knows paths; it must not import what lies there.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from bench.base.errors import BenchError
from bench.base.files import write_text

DECLARATION = "bench-plugins.toml"
HEADER = """\
# Plugin files that `python -m bench` loads when it is started in this folder, as if each were given
# with --plugin. They are Python programs and are executed.
"""


def plugin_files(given: Sequence[Path], *, folder: Path | None = None) -> tuple[str, ...]:
    """The folder's declared files, then the given ones, each once; names the declared on stderr.

    Args:
        given: Files of ``--plugin``.
        folder: Whose declaration counts; None takes the working directory.

    Raises:
        BenchError: The declaration is not readable, or names a file that is not there.
    """
    declared = declared_files(folder or Path())
    for file in declared:
        print(f"using plugin {file} (declared in {DECLARATION})", file=sys.stderr)  # noqa: T201
    by_place: dict[Path, Path] = {}
    for file in (*declared, *given):
        by_place.setdefault(file.resolve(), file)
    return tuple(map(str, by_place.values()))


def declared_files(folder: Path) -> list[Path]:
    """Files that a folder's declaration names, relative to the working directory.

    Raises:
        BenchError: The declaration is not readable, or names a file that is not there.
    """
    source = folder / DECLARATION
    if not source.is_file():
        return []
    try:
        content = tomllib.loads(source.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BenchError(f"{source}: expected TOML, found a mistake: {error}.") from error
    names = content.get("plugins")
    if set(content) != {"plugins"} or not isinstance(names, list):
        raise BenchError(f'{source}: expected plugins = ["file.py", ...] and nothing else.')
    for name in names:
        if not isinstance(name, str) or not (folder / name).is_file():
            raise BenchError(
                f"{source}: expected the names of Python files, found {name!r}, which is none; "
                "take it out of the list."
            )
    return [folder / name for name in names]


def declare(file: Path, *, folder: Path | None = None) -> Path:
    """Add a file to a folder's declaration; returns the declaration.

    Raises:
        BenchError: The present declaration is not readable, or the folder cannot be written.
    """
    where = folder or Path()
    files = declared_files(where)
    if file.resolve() not in {known.resolve() for known in files}:
        files.append(file)
    names = [_relative(known, where) for known in files]
    # A JSON list of strings is a TOML array as well.
    text = f"{HEADER}plugins = {json.dumps(names, indent=4, ensure_ascii=False)}\n"
    target = where / DECLARATION
    write_text(target, text)
    return target


def _relative(file: Path, folder: Path) -> str:
    """As short as possible: a moved folder keeps working."""
    try:
        return file.resolve().relative_to(folder.resolve()).as_posix()
    except ValueError:
        return file.resolve().as_posix()
