"""The page "Test on your own rated images" does what it says, with the photographs it names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.cli.app import OK, main
from bench.records.folder import RunFolder

PAGE = Path(__file__).parents[1] / "docs" / "own_images.md"


@pytest.mark.slow
def test_the_page_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trained on the shipped photographs, tested on others that lie in a folder with scores."""
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(block, str(PAGE), "exec"), {})  # noqa: S102 - the page's own words
    (command,) = re.findall(r"python -m bench run  (.*)", PAGE.read_text(encoding="utf-8"))
    less = ["--defenses", "ms", "--sigmas", "0.1", "--samples", "32", "--estimate-only", "--debug"]
    words = [word if word != "20" else "4" for word in command.split()]
    assert main(["run", *words, *less, "--device", "cpu"]) == OK, capsys.readouterr().err
    (folder,) = Path("results").iterdir()
    run = RunFolder.open(folder)
    table = run.table("evaluate")
    assert len(table) == 4 and set(table["dataset"]) == {"mine"}
    assert table["mos"].between(0, 100).all() and table["mos"].max() > 5
    calibration = run.table("calibration").iloc[0]
    assert calibration["images"] > 1000  # of the shipped photographs, none of mine
    assert "trained on" in calibration["label_kind"]
