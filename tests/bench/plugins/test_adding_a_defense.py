"""docs/adding_a_defense.md, followed to the letter."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.cli.app import main

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "adding_a_defense.md"
BLOCK = re.compile(r'^```(bash|python) ?(?:title="(\S+)")?\n(.*?)^```$', re.M | re.S)


def steps() -> Iterator[tuple[str, str]]:
    """File names with their text, and commands as ``("$", command)``, in the page's order."""
    for language, file, text in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        if language == "python":
            yield file, text
        else:
            yield from (("$", line) for line in text.splitlines() if line.strip())


def test_the_page_has_what_is_tested() -> None:
    commands = [text for kind, text in steps() if kind == "$"]
    assert [kind for kind, _ in steps() if kind != "$"] == ["mine.py"]
    assert [shlex.split(command)[3] for command in commands] == [
        "new-defense",
        "check-defense",
        "plan",
        "run",
        "check-defense",
        "run",
    ]
    assert all(command.startswith("python -m bench ") for command in commands)


def forget_plugins() -> None:
    """A process imports a plugin file once; a reader starts a process for each command."""
    for name in [n for n in sys.modules if n.startswith("certified_iqa_bench_plugin_")]:
        del sys.modules[name]


def test_its_quick_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for kind, text in steps():
        if kind != "$":
            Path(kind).write_text(text, encoding="utf-8")
        elif " run " not in text:
            forget_plugins()
            assert main(shlex.split(text)[3:]) == 0, capsys.readouterr()
    forget_plugins()
    assert "mine conforms" in capsys.readouterr().out


@pytest.mark.slow
def test_all_of_it(tmp_path: Path) -> None:
    home = {**os.environ, "OMP_NUM_THREADS": "1", "BENCH_CACHE": str(tmp_path / "cache")}
    work = tmp_path / "work"
    work.mkdir()
    reports: list[Path] = []
    for kind, text in steps():
        if kind != "$":
            (work / kind).write_text(text, encoding="utf-8")
            continue
        done = subprocess.run(
            [sys.executable, *shlex.split(text)[1:]],
            cwd=work,
            env=home,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        if " run " in text:
            assert done.stdout.splitlines()[0].split("; ")[0] == "2/2 cells ok"
            reports.append(work / done.stdout.rsplit("report: ", 1)[1].strip())
    first, second = (report.read_text(encoding="utf-8") for report in reports)
    for text in (first, second):
        assert re.search(r"^\| (mine|Mine|Quartile) \| 4/4 \|", text, re.M)
    assert "lower quartile" in second
    assert "lower quartile" not in first
