"""Writes a new defence from a template: a file that already passes the conformance kit.

This module knows names and templates; it must not know what a defence does.
"""

from __future__ import annotations

import importlib.util
import keyword
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template

from bench.base.errors import BenchError
from bench.base.files import writing
from bench.plugins.local import declare
from bench.plugins.registry import BUILT_IN, GROUPS


@dataclass(frozen=True, slots=True)
class Written:
    """What was written.

    Attributes:
        plugin: The defence.
        test: Its test.
        declaration: Where the plugin is declared.
    """

    plugin: Path
    test: Path
    declaration: Path


def new_defense(name: str, *, out: Path) -> Written:
    """Write ``NAME.py`` and ``test_NAME.py``, and declare the plugin in the working directory.

    Args:
        name: Lower-case letters, digits and hyphens.
        out: Folder of both files; made if it is missing.

    Raises:
        BenchError: The name cannot be used, a file exists already or cannot be written.
    """
    module = _checked_module(name, out)
    words = name.split("-")
    values = {
        "name": name,
        "module": module,
        "title": " ".join(word.capitalize() for word in words),
        "class_name": _class_name(name),
    }
    files = {
        "defense.py.txt": out / f"{module}.py",
        "test_defense.py.txt": out / f"test_{module}.py",
    }
    for file in files.values():
        if file.exists():
            raise BenchError(f"{file}: expected no such file yet, found one; choose another name.")
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        for template, file in files.items():
            file.write_text(filled(template, values), encoding="utf-8")
        plugin, test = files.values()
        return Written(plugin, test, declare(plugin))


def filled(template: str, values: dict[str, str]) -> str:
    """A template of the package with its placeholders replaced."""
    text = resources.files("bench").joinpath("templates", template).read_text(encoding="utf-8")
    return Template(text).substitute(values)


def _checked_module(name: str, out: Path) -> str:
    """The module name, if the name can be a defence's and a file's.

    Raises:
        BenchError: It cannot.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise BenchError(
            f"new-defense: expected a name of lower-case letters, digits and single hyphens that "
            f"starts with a letter, found {name!r}."
        )
    module = name.replace("-", "_")
    if keyword.iskeyword(module) or keyword.iskeyword(_class_name(name)):
        raise BenchError(f"new-defense: expected a name that is no word of Python, found {name!r}.")
    if name in BUILT_IN["defense"] or name in _installed_names():
        raise BenchError(f"new-defense: expected a new name, found the existing defence {name!r}.")
    exists = (out / f"{module}.py").exists()
    # A file named like a library would be imported in its place by everything started here.
    if not exists and importlib.util.find_spec(module) is not None:
        raise BenchError(
            f"new-defense: expected a name that is no Python module's, found {name!r}, whose file "
            f"would hide the module {module}."
        )
    return module


def _class_name(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("-"))


def _installed_names() -> set[str]:
    from importlib import metadata

    return {entry.name for entry in metadata.entry_points(group=GROUPS["defense"])}
