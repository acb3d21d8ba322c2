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


def plugin_files(given: Sequence[Path]) -> tuple[str, ...]:
    """Files declared here, then those of ``--plugin``, each once; names the declared on stderr.

    Raises:
        BenchError: The declaration is not readable, or names a file that is not there.
    """
    declared = declared_files()
    for file in declared:
        print(f"using plugin {file} (declared in {DECLARATION})", file=sys.stderr)  # noqa: T201
    by_place: dict[Path, Path] = {}
    for file in (*declared, *given):
        by_place.setdefault(file.resolve(), file)
    return tuple(map(str, by_place.values()))


def declared_files() -> list[Path]:
    """Files that the working directory's declaration names.

    Raises:
        BenchError: The declaration is not readable, or names a file that is not there.
    """
    source = Path(DECLARATION)
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
        if not isinstance(name, str) or not Path(name).is_file():
            raise BenchError(
                f"{source}: expected the names of Python files, found {name!r}, which is none; "
                "take it out of the list."
            )
    return [Path(name) for name in names]


def declare(file: Path) -> Path:
    """Add a file to the working directory's declaration; returns the declaration.

    Raises:
        BenchError: The present declaration is not readable, or the folder cannot be written.
    """
    files = declared_files()
    if file.resolve() not in {known.resolve() for known in files}:
        files.append(file)
    names = [_relative(known) for known in files]
    # A JSON list of strings is a TOML array as well.
    text = f"{HEADER}plugins = {json.dumps(names, indent=4, ensure_ascii=False)}\n"
    write_text(Path(DECLARATION), text)
    return Path(DECLARATION)


def _relative(file: Path) -> str:
    """As short as possible: a moved folder keeps working."""
    try:
        return file.resolve().relative_to(Path().resolve()).as_posix()
    except ValueError:
        return file.resolve().as_posix()
