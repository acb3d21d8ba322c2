"""The digest is a room: it holds everything that stages import, and only what decides numbers."""

from __future__ import annotations

import ast
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.base.provenance import MEASURING, code_sha256, processor

ROOT = Path(__file__).resolve().parents[3]
OURS = ("bench", "defenses", "iqa_models")
DECIDES_NO_NUMBER = {
    "bench/__init__.py": "the version",
    "bench/base/__init__.py": "empty",
    "bench/base/cache.py": "keys name all of a content; what is stored is checked when opened",
    "bench/base/errors.py": "sentences",
    "bench/base/files.py": "whole files and their digests",
    "bench/plan/__init__.py": "empty",
    "bench/plan/profile.py": "all of its values are in the plan, whose hash names the run",
    "bench/plan/units.py": "likewise",
    "bench/plugins/__init__.py": "empty",
    "bench/plugins/registry.py": "names to parts; the digest of what it finds is in the plan",
    "bench/plugins/sources.py": "digests of that",
    "bench/records/__init__.py": "empty",
}


def in_room(path: str) -> bool:
    return any(path == room or path.startswith(f"{room}/") for room in MEASURING)


def module_files(name: str) -> Iterator[str]:
    """Files that an import of our module runs: its packages' and its own."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        place = "/".join(parts[:end])
        for file in (f"{place}/__init__.py", f"{place}.py"):
            if (ROOT / file).is_file():
                yield file


def imported(file: str) -> Iterator[str]:
    """Our files that a file imports, wherever the import stands, types excepted."""
    waiting: list[ast.AST] = [ast.parse((ROOT / file).read_bytes())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        waiting += ast.iter_child_nodes(node)
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name.split(".")[0] in OURS:
                yield from module_files(name)


def reached() -> dict[str, str]:
    """Every file that the stages need, with the file that first asked for it."""
    stages = sorted((ROOT / "bench/measure").rglob("*.py"))
    found = {stage.relative_to(ROOT).as_posix(): "" for stage in stages}
    waiting = list(found)
    while waiting:
        file = waiting.pop()
        for new in imported(file):
            if new not in found:
                found[new] = file
                waiting.append(new)
    return found


def test_stages_import_nothing_that_is_in_no_digest() -> None:
    found = reached()
    assert "defenses/certify.py" in found and "bench/plan/profile.py" in found, "the walk works"
    outside = {file: by for file, by in found.items() if not in_room(file)}
    unnamed = {file: by for file, by in outside.items() if file not in DECIDES_NO_NUMBER}
    assert not unnamed, "in the digest's rooms, or named above with a reason"
    assert outside.keys() == DECIDES_NO_NUMBER.keys(), "no reason for what nobody imports"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code, its weights cut short."""

    def cut(source: str, target: str) -> None:
        Path(target).write_bytes(Path(source).read_bytes()[:2000])

    root = tmp_path_factory.mktemp("tree")
    for package in OURS:
        shutil.copytree(
            ROOT / package,
            root / package,
            copy_function=cut,
            ignore=shutil.ignore_patterns("__pycache__", ".*"),
        )
    return root


def touch(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\n")


def test_every_file_of_the_rooms_changes_the_digest(tree: Path) -> None:
    before = code_sha256(tree)
    files = [file for file in tree.rglob("*") if in_room(file.relative_to(tree).as_posix())]
    assert len([file for file in files if file.is_file()]) > 90
    for file in (file for file in files if file.is_file()):
        touch(file)
        after = code_sha256(tree)
        assert after != before, file
        before = after


def test_no_other_file_does(tree: Path) -> None:
    before = code_sha256(tree)
    others = [file for file in tree.rglob("*.py") if not in_room(file.relative_to(tree).as_posix())]
    rooms = {file.relative_to(tree).parts[1] for file in others}
    assert {"report", "cli", "execution", "review", "analysis"} <= rooms
    for file in others:
        touch(file)
    assert code_sha256(tree) == before


def test_the_processor_is_what_the_listing_calls_it(tmp_path: Path) -> None:
    listing = tmp_path / "cpuinfo"
    assert processor(listing) == platform.processor()
    listing.write_text("processor\t: 0\nflags\t: fpu\n")
    assert processor(listing) == platform.processor()
    listing.write_text("processor\t: 0\nmodel name\t: A: 9 \nmodel name\t: B\n")
    assert processor(listing) == "A: 9"
