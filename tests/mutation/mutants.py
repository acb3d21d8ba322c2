"""Plants small mistakes, one at a time, in the code that decides numbers; counts who notices.

    python tests/mutation/mutants.py --sample 60 --seed 0

Each mutant is a copy of the packages with one change in one file (a comparison, an operator, a
number, a condition, a keyword left out), on which that file's tests are run.  This script knows
syntax trees and pytest; it must not know what any number means.
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pandas as pd  # noqa: F401 - imported once, before the tests of every mutant would
import pydantic  # noqa: F401
import pytest
import scipy.stats  # noqa: F401
import torch  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]
BOUNDS = "tests/defenses/test_bounds.py tests/defenses/test_certify.py"
TESTS = {
    "defenses/bounds.py": f"{BOUNDS} --doctest-modules defenses/bounds.py",
    "defenses/ranks.py": f"tests/defenses/test_ranks.py {BOUNDS} "
    "--doctest-modules defenses/ranks.py",
    "defenses/certify.py": "tests/defenses/test_certify.py --doctest-modules defenses/certify.py",
    "defenses/noise.py": "tests/defenses/test_noise.py --doctest-modules defenses/noise.py",
    "bench/measure/identity.py": "tests/bench/measure/test_identity.py",
    "bench/base/cache.py": "tests/bench/base/test_cache.py --doctest-modules bench/base/cache.py",
    "bench/records/journal.py": "tests/bench/records/test_journal.py",
    "bench/analysis/statistics.py": "tests/bench/analysis/test_statistics.py "
    "--doctest-modules bench/analysis/statistics.py",
}
"""The tests that promise what a file does."""
SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
SKIPPED = (ast.JoinedStr, ast.AnnAssign, ast.Raise)
"""Sentences and types: their wording decides no number."""
LARGEST_FILE = 2**30
"""Bytes: a mutant that writes without end fills no disk."""


def changes(node: ast.AST) -> Iterator[tuple[str, str, object]]:
    """What may be changed in one node: field, description, new value."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
        yield "ops", "comparison", [SWAPS[type(node.ops[0])](), *node.ops[1:]]
    if isinstance(node, ast.BinOp | ast.BoolOp | ast.AugAssign) and type(node.op) in SWAPS:
        yield "op", "operator", SWAPS[type(node.op)]()
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        is_bool = isinstance(node.value, bool)
        yield "value", "constant", not node.value if is_bool else node.value + 1
    if isinstance(node, ast.If | ast.IfExp | ast.While):
        yield "test", "condition", ast.UnaryOp(ast.Not(), node.test)
    if isinstance(node, ast.Call) and node.keywords:
        for index in range(len(node.keywords)):
            rest = node.keywords[:index] + node.keywords[index + 1 :]
            yield "keywords", f"left out {node.keywords[index].arg}", rest


def mutants(source: str) -> Iterator[tuple[str, str]]:
    """Description and text of every mutant of a file."""
    tree = ast.parse(source)
    for place, (node, above) in enumerate(reachable(tree)):
        for number, (field, what, _) in enumerate(changes(node)):
            changed = copy.deepcopy(tree)
            target, _ = list(reachable(changed))[place]
            setattr(target, field, list(changes(target))[number][2])
            text = ast.unparse(ast.fix_missing_locations(changed))
            shown = ast.unparse(node)[:60]
            if isinstance(node, ast.Constant):
                shown += f" in {ast.unparse(above)[:60]}"
            yield f"line {getattr(node, 'lineno', 0)}: {what}: {shown!r}", text


def reachable(tree: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
    """Nodes that are executed, in order, with the one above: no sentences, no types."""
    for child in ast.iter_child_nodes(tree):
        if not isinstance(child, SKIPPED):
            yield child, tree
            yield from reachable(child)


class Quickest:
    """Runs the tests of a file from the quickest to the slowest, as one run without a change."""

    def __init__(self, place: Path, file: str) -> None:
        self.notes = place / f"{Path(file).stem}-seconds.json"
        known = json.loads(self.notes.read_text("utf-8")) if self.notes.exists() else {}
        self.known: dict[str, float] = known
        self.found: dict[str, float] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: self.known.get(item.nodeid, 0.0))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        spent = self.found.get(report.nodeid, 0.0) + report.duration
        self.found[report.nodeid] = spent

    def pytest_sessionfinish(self) -> None:
        if not self.known:
            self.notes.write_text(json.dumps(self.found), "utf-8")


def outcome(place: Path, file: str, text: str, limit: int) -> str:
    """What becomes of a mutant: ``noticed`` by a file's tests, ``survived``, or ``too slow``."""
    target = place / file
    original = target.read_text(encoding="utf-8")
    target.write_text(text, encoding="utf-8")
    work = multiprocessing.get_context("fork").Process(target=run_tests, args=(place, file, limit))
    try:
        work.start()
        work.join()
    finally:
        target.write_text(original, encoding="utf-8")
    if work.exitcode in (-signal.SIGXCPU, -signal.SIGKILL):
        return "too slow"
    return "survived" if work.exitcode == 0 else "noticed"


def prepare(place: Path, file: str, limit: int) -> None:
    """Run a file's tests without any change, which compiles what every mutant then imports.

    Raises:
        SystemExit: They fail as it is, so what they say of a mutant is worth nothing.
    """
    sys.dont_write_bytecode = False
    if outcome(place, file, (place / file).read_text("utf-8"), limit) != "survived":
        raise SystemExit(f"{file}: its tests fail, or take too long, without any change.")
    sys.dont_write_bytecode = True
    for compiled in place.rglob("*.pyc"):
        # A mutant of the same second and length would be taken for the file as it is.
        if any(compiled.name.startswith(f"{Path(other).stem}.") for other in TESTS):
            compiled.unlink()


def run_tests(place: Path, file: str, limit: int) -> None:
    """A file's tests in a copy, by a process in which nothing of ours is imported yet."""
    used = int(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]))
    resource.setrlimit(resource.RLIMIT_CPU, (used + limit, used + limit + 5))
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))
    os.chdir(place)
    os.environ["PYTHONPATH"] = str(place)
    sys.path = [str(place), *(p for p in sys.path if not Path(p).resolve().is_relative_to(ROOT))]
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    # A deadline would be missed on a busy machine, and every mutant be noticed by it.
    words = ["-q", "-x", "-n0", "-p", "no:cacheprovider", "--hypothesis-profile=ci"]
    words += TESTS[file].split()
    sys.exit(pytest.main(words, [Quickest(place, file)]))


def main() -> None:
    """Try a sample, or all, and print the survivors and the score."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", nargs="*", default=list(TESTS))
    parser.add_argument("--only", nargs="*", default=[""], help="mutants of one of these words")
    parser.add_argument("--sample", type=int, help="mutants per call, drawn with --seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=60, help="processor seconds per mutant")
    parser.add_argument("--minutes", type=float, default=600.0, help="stop after that long")
    asked = parser.parse_args()
    every = [(f, *m) for f in asked.files for m in mutants((ROOT / f).read_text("utf-8"))]
    every = [one for one in every if any(words in f"{one[0]} {one[1]}" for words in asked.only)]
    chosen = random.Random(asked.seed).sample(every, min(asked.sample or len(every), len(every)))  # noqa: S311
    tally: dict[str, Counter[str]] = {file: Counter() for file in asked.files}
    end = time.monotonic() + 60 * asked.minutes
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "copy"
        skip = shutil.ignore_patterns(".*", "__pycache__", "results", "reports")
        shutil.copytree(ROOT, place, ignore=skip)
        for file, what, text in chosen:
            if time.monotonic() > end:
                break
            if not tally[file]:
                prepare(place, file, asked.limit)
            found = outcome(place, file, text, asked.limit)
            tally[file][found] += 1
            print(f"{found}: {file} {what}", flush=True)
    print(json.dumps(tally, indent=1))
    whole = sum(tally.values(), Counter[str]())
    print(f"{dict(whole)} of {len(every)} mutants in all, seed {asked.seed}")
    print(f"{sum(os.times()[:4]) / max(1, whole.total()):.1f} processor seconds a mutant")


if __name__ == "__main__":
    main()
