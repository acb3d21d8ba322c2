"""The floor plan: which room may import which.  The table is docs/architecture.md's, and exact."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("bench", "defenses", "iqa_models")

ALLOWED: Mapping[str, frozenset[str]] = {
    room: frozenset(others.split())
    for room, others in {
        "iqa_models": "",
        "bench.base": "iqa_models",
        "defenses": "iqa_models",
        "bench.plan": "bench.base",
        "bench.datasets": "bench.base iqa_models",
        "bench.fetch": "bench.base iqa_models",
        "bench.records": "bench.plan bench.base",
        "bench.plugins": "bench.datasets bench.base iqa_models",
        "bench.training": "bench.datasets bench.base defenses iqa_models",
        "bench.measure": "bench.records bench.plugins bench.plan bench.datasets bench.base "
        "defenses iqa_models",
        "bench.analysis": "bench.records bench.plan bench.base",
        "bench.execution": "bench.measure bench.analysis bench.records bench.plugins bench.plan "
        "bench.datasets bench.base defenses iqa_models",
        "bench.review": "bench.measure bench.analysis bench.records bench.plugins bench.plan "
        "bench.base defenses",
        "bench.report": "bench.analysis bench.records bench.plan bench.base",
        "bench.cli": "bench.execution bench.review bench.report bench.measure bench.analysis "
        "bench.records bench.plugins bench.fetch bench.plan bench.base defenses iqa_models",
        "bench.__main__": "bench.cli",
    }.items()
}


def modules(root: Path) -> dict[str, Path]:
    """Every module of the three packages by its dotted name."""
    found = {}
    for package in PACKAGES:
        for path in (root / package).rglob("*.py"):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path, known: Mapping[str, Path]) -> set[str]:
    """Modules of this project that a file imports, wherever in the file it does."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            inner = {f"{module}.{alias.name}" for alias in node.names}
            names |= {name if name in known else module for name in inner}
    return {name for name in names if name in known}


def room(module: str) -> str:
    """The room of a module: the package, or the first folder of ``bench``."""
    parts = module.split(".")
    return parts[0] if parts[0] != "bench" else ".".join(parts[:2])


def arrows(root: Path) -> Iterator[tuple[str, str]]:
    """(importer, imported) modules of different rooms."""
    known = modules(root)
    for name, path in known.items():
        for other in imported(path, known):
            if room(name) != room(other):
                yield name, other


def forbidden(root: Path) -> list[str]:
    """Imports that the table does not have."""
    return sorted(
        f"{name} imports {other}"
        for name, other in arrows(root)
        if room(other) not in ALLOWED[room(name)]
    )


def test_only_allowed_imports() -> None:
    assert forbidden(ROOT) == []


def test_every_arrow_of_the_table_is_used() -> None:
    used = {(room(name), room(other)) for name, other in arrows(ROOT)}
    assert {(a, b) for a, others in ALLOWED.items() for b in others} == used


def test_every_module_has_a_room() -> None:
    rooms = {room(name) for name in modules(ROOT)} - {"bench"}
    assert rooms == ALLOWED.keys()


def test_nothing_lies_loose_in_bench() -> None:
    files = {path.name for path in (ROOT / "bench").iterdir() if path.is_file()}
    assert files == {"__init__.py", "__main__.py", "py.typed"}


def test_rooms_stand_on_floors() -> None:
    TopologicalSorter(ALLOWED).prepare()


def test_no_circle_among_modules() -> None:
    """Neither at import time nor through an import inside a function or for types alone."""
    known = modules(ROOT)
    graph = {name: imported(path, known) - {name} for name, path in known.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ("bench/base/files.py", "from bench.cli.app import app"),
        ("bench/measure/clock.py", "def late():\n    from bench.report import build"),
        ("defenses/ms.py", "import bench.base.errors"),
        ("bench/plan/units.py", "from bench import records"),
    ],
)
def test_an_arrow_planted_upwards_is_refused(tmp_path: Path, where: str, line: str) -> None:
    for name, path in modules(ROOT).items():
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
        assert name
    before = set(forbidden(tmp_path))
    place = tmp_path / where
    place.write_text(f"{place.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")
    assert len(set(forbidden(tmp_path)) - before) == 1


def test_every_module_says_what_it_must_not_know() -> None:
    silent = []
    for name, path in modules(ROOT).items():
        words = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        if not re.search(r"not\s+know|must\s+not|knows\s+no|never|nothing", words):
            silent.append(name)
    assert silent == []
