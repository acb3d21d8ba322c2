"""docs/adding_a_model.md and docs/adding_a_dataset.md, followed to the letter."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from joblib.externals.loky import get_reusable_executor
from PIL import Image

from bench.cli.app import main

DOCS = Path(__file__).resolve().parents[3] / "docs"
BLOCK = re.compile(r'^```(bash|python|toml) ?(?:title="(\S+)")?\n(.*?)^```$', re.M | re.S)


def steps(page: str) -> Iterator[tuple[str, str]]:
    """File names with their text, and commands as ``("$", command)``, in the page's order."""
    for language, file, text in BLOCK.findall((DOCS / page).read_text(encoding="utf-8")):
        if language == "bash":
            yield from (("$", line) for line in text.splitlines() if line.strip())
        elif file:
            yield file, text
        elif text.startswith("# "):  # a settings file names itself
            yield text.splitlines()[0][2:], text


def forget_plugins() -> None:
    """A process imports a plugin file once and its workers stay where they were started.

    A reader starts a process for each command.
    """
    get_reusable_executor().shutdown(wait=True)
    for name in [n for n in sys.modules if n.startswith("certified_iqa_bench_plugin_")]:
        del sys.modules[name]


def follow(page: str, capsys: pytest.CaptureFixture[str], *, runs: bool) -> list[str]:
    """Do what a page says in the current folder; what each command printed."""
    said = []
    for kind, text in steps(page):
        if kind != "$":
            Path(kind).write_text(text, encoding="utf-8")
        elif runs or " run " not in text:
            forget_plugins()
            assert main([*shlex.split(text)[3:]]) == 0, capsys.readouterr()
            said.append(capsys.readouterr().out)
    forget_plugins()
    return said


def pictures() -> None:
    """What the page on data sets asks a reader to have."""
    Path("pictures").mkdir()
    rows = ["file,mos"]
    for index in range(20):
        noise = np.random.default_rng(index).standard_normal((96, 96, 3)) * (5 + 4 * index)
        picture = Image.fromarray((128 + noise).clip(0, 255).astype(np.uint8))
        picture.save(f"pictures/{index}.png")
        rows.append(f"{index}.png,{5 - index / 5:.2f}")
    Path("scores.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def test_a_model_is_listed_and_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    listed, checked, planned = follow("adding_a_model.md", capsys, runs=False)
    assert "sharpness" in listed and "sharpness conforms" in checked
    assert "2 cells" in planned and "could not be probed" not in planned


def test_a_data_set_is_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    pictures()
    files, reader = follow("adding_a_dataset.md", capsys, runs=False)
    assert "mine" in files and "koncept, dbcnn" in files
    assert "squares" in reader and "fs-iqa" in reader


@pytest.mark.slow
@pytest.mark.parametrize("page", ["adding_a_model.md", "adding_a_dataset.md"])
def test_all_of_it(
    page: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    pictures()
    runs = [said for said in follow(page, capsys, runs=True) if "report: " in said]
    assert len(runs) == {"adding_a_model.md": 1, "adding_a_dataset.md": 2}[page]
    for ran in runs:
        counted = re.match(r"(\d+)/(\d+) cells ok", ran)
        assert counted is not None and counted[1] == counted[2]
        assert Path(ran.rsplit("report: ", 1)[1].strip()).is_file()
