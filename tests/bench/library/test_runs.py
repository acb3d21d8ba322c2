"""A run from Python: the same folder as the command line's, its tables as frames."""

from __future__ import annotations

from pathlib import Path

import pytest

import bench
from bench.cli.app import main


def test_a_run_its_tables_and_going_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = {"models": ["dbcnn"], "defenses": ["ms", "rs-reg"], "sigmas": [0.1], "no_extras": True}
    run = bench.run(
        **asked, limit=2, samples=50, stages=["evaluate"], jobs=1, results=tmp_path, device="cpu"
    )
    rows = run.table("evaluate")
    assert len(rows) == 4 and set(rows["defense"]) == {"ms", "rs-reg"}
    assert (rows["status"] == "ok").all() and (rows["lower"] <= rows["upper"]).all()
    assert len(run.table("audit")) == 0
    assert run.complete and run.verdict.startswith("2/2 cells ok")
    assert run.verify().certificates == 4
    before = (run.path / "evaluate.parquet").read_bytes()
    words = "--models dbcnn --defenses ms,rs-reg --sigmas 0.1 --no-extras --limit 2 --samples 50"
    options = f"{words} --stages evaluate --jobs 1 --device cpu --results {tmp_path}"
    assert main(["run", *options.split(), "--reports", str(tmp_path / "reports")]) == 0
    assert [f.name for f in tmp_path.glob("embedded-*")] == [run.path.name]
    assert (run.path / "evaluate.parquet").read_bytes() == before
    assert "2/2 cells ok" in capsys.readouterr().out
    (report,) = (tmp_path / "reports").glob("*/report.md")
    text = report.read_text(encoding="utf-8")
    assert "2/2 cells ok" in text and "not asked for: prepare" in text
    with pytest.raises(bench.BenchError, match="did you mean 'evaluate'"):
        run.table("evalute")
    with pytest.raises(bench.BenchError, match="unknown stage 'evalute'"):
        bench.run(stages=["evalute"])


def test_a_larger_limit_computes_only_what_is_new(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--limit 8` after `--limit 4`: both defences share their draws, so an image is a unit."""
    rows = {}
    for limit in (4, 8):
        run = bench.run(
            models=["lpips"],
            defenses=["ms", "rs-reg"],
            sigmas=[0.1],
            no_extras=True,
            limit=limit,
            samples=50,
            stages=["evaluate"],
            jobs=1,
            results=tmp_path,
            device="cpu",
        )
        assert run.complete
        rows[limit] = run.table("evaluate").set_index(["image", "defense"])
    assert "evaluate: 4/8 units" in capsys.readouterr().err  # where the second began
    assert sum(run.folder.provenance()["taken_over"].values()) == 4
    assert (len(rows[4]), len(rows[8])) == (8, 16)
    assert (rows[8].loc[rows[4].index, "score"] == rows[4]["score"]).all()


def test_one_defence_alone_is_not_called_unequal() -> None:
    from bench.report.compose import compose
    from tests.bench.report.synthetic import synthetic_run

    text = repr(compose(synthetic_run(defenses=("ms",)), reps=20))
    assert "One defence alone is not ranked." in text
    assert "nequal sets" not in text and "Not all defences have" not in text
