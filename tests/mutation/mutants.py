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
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BOUNDS = "tests/defenses/test_bounds.py tests/defenses/test_certify.py"
TESTS = {
    "defenses/bounds.py": f"{BOUNDS} --doctest-modules defenses/bounds.py",
    "defenses/ranks.py": f"{BOUNDS} --doctest-modules defenses/ranks.py",
    "defenses/certify.py": f"{BOUNDS} --doctest-modules defenses/certify.py",
    "defenses/noise.py": "tests/defenses/test_noise.py --doctest-modules defenses/noise.py",
    "bench/measure/identity.py": "tests/bench/measure/test_identity.py",
    "bench/base/cache.py": "tests/bench/base tests/bench/execution/test_lost_parts.py",
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
    for place, node in enumerate(reachable(tree)):
        for number, (field, what, _) in enumerate(changes(node)):
            changed = copy.deepcopy(tree)
            target = list(reachable(changed))[place]
            setattr(target, field, list(changes(target))[number][2])
            text = ast.unparse(ast.fix_missing_locations(changed))
            line = getattr(node, "lineno", 0)
            yield f"line {line}: {what}: {ast.unparse(node)[:60]!r}", text


def reachable(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes that are executed, in order: no sentences, no types."""
    for child in ast.iter_child_nodes(tree):
        if not isinstance(child, SKIPPED):
            yield child
            yield from reachable(child)


def killed(place: Path, file: str, text: str, limit: float) -> bool:
    """Whether a file's tests notice a mutant; too slow counts as noticed."""
    target = place / file
    original = target.read_text(encoding="utf-8")
    target.write_text(text, encoding="utf-8")
    words = ["-q", "-x", "-n0", "-p", "no:cacheprovider", *TESTS[file].split()]
    try:
        done = subprocess.run(
            [sys.executable, "-B", "-m", "pytest", *words],
            cwd=place,
            env={**os.environ, "PYTHONPATH": str(place), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=limit,
        )
    except subprocess.TimeoutExpired:
        return True
    finally:
        target.write_text(original, encoding="utf-8")
    return done.returncode != 0


def main() -> None:
    """Try a sample, or all, and print the survivors and the score."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", nargs="*", default=list(TESTS))
    parser.add_argument("--sample", type=int, help="mutants per call, drawn with --seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=120.0, help="seconds per mutant")
    parser.add_argument("--minutes", type=float, default=600.0, help="stop after that long")
    asked = parser.parse_args()
    every = [(f, *m) for f in asked.files for m in mutants((ROOT / f).read_text("utf-8"))]
    chosen = random.Random(asked.seed).sample(every, min(asked.sample or len(every), len(every)))  # noqa: S311
    tally: dict[str, Counter[bool]] = {file: Counter() for file in asked.files}
    end = time.monotonic() + 60 * asked.minutes
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "copy"
        skip = shutil.ignore_patterns(".*", "__pycache__", "results", "reports")
        shutil.copytree(ROOT, place, ignore=skip)
        for file, what, text in chosen:
            if time.monotonic() > end:
                break
            if not tally[file] and killed(
                place, file, (ROOT / file).read_text("utf-8"), asked.limit
            ):
                raise SystemExit(f"{file}: its tests fail, or take too long, without any change.")
            noticed = killed(place, file, text, asked.limit)
            tally[file][noticed] += 1
            if not noticed:
                print(f"survived: {file} {what}", flush=True)
    done, dead = sum(map(Counter.total, tally.values())), sum(c[True] for c in tally.values())
    print(json.dumps({f: f"{c[True]}/{c.total()}" for f, c in tally.items()}, indent=1))
    print(f"{dead} of {done} mutants noticed ({len(every)} in all, seed {asked.seed})")


if __name__ == "__main__":
    main()
