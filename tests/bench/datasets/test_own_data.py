"""One's own images through ``--dataset``: which models they serve, and what a damaged file does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.analysis.source import from_folder
from bench.base.errors import BAD_INPUT, SOME_FAILED
from bench.cli.app import main
from bench.library.selection import Selection
from bench.plan.loading import Overrides
from bench.plugins.registry import Registry
from bench.records.folder import RunFolder

COUNT = 12


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve scored pictures, four of them for the test, with references if asked for."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "another"))  # the option comes first
    root = tmp_path / "data"
    root.mkdir()
    rows = ["file,ref,score,part"]
    for index in range(COUNT):
        noise = np.random.default_rng(index).standard_normal((96, 96, 3)) * (5 + 6 * index)
        pixels = (128 + noise).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(root / f"{index}.png")
        part = "test" if index % 3 == 0 else "train"
        rows.append(f"{index}.png,{index}.png,{5 - index / 3:.2f},{part}")
    (root / "scores.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    for name, extra in (("nr", ""), ("fr", 'reference_column = "ref"\n')):
        (root / f"{name}.toml").write_text(
            f'name = "mine-{name}"\ntitle = "Mine"\nlicence = "none"\ncitation = "none"\n'
            'csv = "scores.csv"\nimage_column = "file"\nmos_columns = ["score"]\n'
            f'higher_is_better = true\nrange = [1.0, 5.0]\nsplit_column = "part"\n{extra}',
            encoding="utf-8",
        )
    return root


@pytest.mark.parametrize(
    ("file", "models", "nr", "fr"),
    [
        ("nr", ("koncept",), True, False),
        ("nr", ("koncept", "lpips"), True, False),
        ("fr", ("koncept", "lpips"), True, True),
        ("fr", ("lpips",), False, True),
        ("fr", ("koncept",), True, False),
    ],
)
def test_data_serve_the_models_that_can_use_them(
    folder: Path, file: str, models: tuple[str, ...], nr: bool, fr: bool
) -> None:
    own = str(folder / f"{file}.toml")
    data = Selection("embedded", Overrides(models=models), own).load_profile(Registry.open()).data
    assert (data.nr, data.fr) == (own if nr else "embedded", own if fr else "embedded")


def test_full_reference_models_need_references(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = ["--dataset", "nr.toml", "--data-root", str(folder), "--models", "lpips"]
    assert main(["run", *own]) == BAD_INPUT
    assert "nr.toml: expected references for lpips, found none." in capsys.readouterr().err
    assert main(["run", "--data-root", str(folder / "nowhere"), "--all"]) == BAD_INPUT
    assert "--data-root: expected a folder" in capsys.readouterr().err


def test_a_damaged_image_is_a_failed_record_and_lowers_n(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:200])
    (folder / "6.png").unlink()
    results, reports = tmp_path / "results", tmp_path / "reports"
    code = main(
        [
            "run",
            "--dataset",
            "nr.toml",
            "--data-root",
            str(folder),
            "--models",
            "koncept",
            "--defenses",
            "ms",
            "--sigmas",
            "0.1",
            "--samples",
            "100",
            "--device",
            "cpu",
            "--jobs",
            "1",
            "--stages",
            "prepare,evaluate",
            "--no-extras",
            "--results",
            str(results),
            "--reports",
            str(reports),
        ]
    )
    assert code == SOME_FAILED, capsys.readouterr().err
    (path,) = results.iterdir()
    table = RunFolder.open(path).table("evaluate").set_index("image")
    assert len(table) == 4
    assert table["status"].to_dict() == {
        "0.png": "ok",
        "3.png": "failed",
        "6.png": "failed",
        "9.png": "ok",
    }
    assert "no such file" in str(table.loc["6.png", "reason"])
    assert "3.png: expected" in str(table.loc["3.png", "reason"])
    from bench.analysis.agreement import agreements

    cell = agreements(from_folder(RunFolder.open(path)), reps=10)["NR"].mean("srcc", "ms", 0.1)
    assert (cell.n, cell.wanted) == (2, 4)
    text = next(reports.rglob("report.md")).read_text(encoding="utf-8")
    assert "2/4" in text
    assert "--dataset nr.toml" in text
