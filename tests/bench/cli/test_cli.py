"""The command line: quick help, one sentence per error, the promised exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.base.errors import OK, SOME_FAILED
from bench.cli import run as run_module
from bench.cli.app import main
from bench.execution.options import Execution
from bench.plan.units import STAGES
from bench.records.folder import RunFolder
from tests.bench.plans import small_plan

ROOT = Path(__file__).resolve().parents[3]


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom bench.cli.app import main\nassert main(['--help']) == 0\n"
        "heavy = {'torch', 'pandas', 'numpy', 'pyarrow', 'pydantic', 'joblib', 'matplotlib'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "LOADED []" in done.stdout, done.stdout + done.stderr
    assert "run " in done.stdout


@pytest.mark.parametrize("verb", ["run", "certify", "report"])
def test_help_teaches_by_examples(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    shown = capsys.readouterr().out
    examples = [line.split() for line in shown.splitlines() if line.startswith("    python -m")]
    assert len(examples) >= 3
    # An option that was renamed must not live on in an example.
    known = {word.strip(",") for word in shown.split("Examples:")[0].split()}
    for words in examples:
        assert words[3] == verb
        assert {word for word in words[4:] if word.startswith("-")} <= known


def test_version_and_completion() -> None:
    def shown(*words: str, **environment: str) -> str:
        code = (
            "import sys; sys.argv[0] = 'certified-iqa-bench'\n"
            "from bench.cli.app import entry; entry()"
        )
        return subprocess.run(
            [sys.executable, "-c", code, *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
            env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1", **environment},
        ).stdout

    assert shown("--version").startswith("certified-iqa-bench ")
    assert "--install-completion" in shown("--help")
    script = shown("--show-completion", "bash")
    assert "_CERTIFIED_IQA_BENCH_COMPLETE=complete_bash" in script
    assert script.rstrip().endswith("certified-iqa-bench")
    words = {"COMP_WORDS": "certified-iqa-bench cert", "COMP_CWORD": "1"}
    assert shown(_CERTIFIED_IQA_BENCH_COMPLETE="complete_bash", **words).split() == ["certify"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run"], "--all for the 108 cells"),
        (["run", "--models", "lpip"], "did you mean 'lpips'"),
        (["run", "--defenses", "fsiqa,ms"], "did you mean 'fs-iqa'"),
        (["run", "--all", "--profile", "embeded"], "did you mean 'embedded'"),
        (["run", "--all", "--profile", "no/such.toml"], "no/such.toml: expected"),
        (["run", "--sigmas", "0.1,x"], "--sigmas: expected numbers"),
        (["run", "--all", "--stages", "fitt"], "did you mean 'fit'"),
        (["run", "--all", "--stages", ""], "--stages: expected one or more of prepare"),
        (["run", "--all", "--stages", " ,"], "--stages: expected one or more of prepare"),
        (["run", "--all", "--device", "tpu"], "--device: expected auto"),
        (["run", "--limit", "0"], "data.limit"),
        (["run", "--all", "--plugin", "no/such.py"], "no/such.py: expected"),
        (["plan", "--models", "dist"], "did you mean 'dists'"),
        (["report", "no/such/run"], "no/such/run: expected"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    extra = ["--results", str(tmp_path / "r")] if arguments[0] == "run" else []
    assert main([*arguments, *extra]) == 2
    shown = capsys.readouterr()
    assert words in shown.err
    assert shown.err.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_plan_counts_the_work(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    chosen = ["--models", "dbcnn,lpips", "--sigmas", "0.1,0.5", "--limit", "3"]
    assert main(["plan", *chosen, "--results", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "24 cells" in shown
    tables = shown.split("beside them")[0].splitlines()
    units = {line.split()[0]: line.split()[1] for line in tables if len(line.split()) > 3}
    parts = [int(units[name]) for name in ("dbcnn", "lpips", "(shared)")]
    assert sum(parts) == int(units["all"]) and min(parts) > 0
    assert not list(tmp_path.iterdir())


def test_list_shows_every_kind(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("raise RuntimeError('boom')")
    assert main(["list", "--plugin", str(bad)]) == 0
    shown = capsys.readouterr()
    for name in ("fs-iqa", "dreamsim", "embedded"):
        assert name in shown.out
    assert "boom" in shown.err
    assert "Traceback" in shown.err


class _Selection:
    """Stands for the real selection: a small plan."""

    def make_plan(self, registry: Any, how: Execution) -> Any:
        return small_plan()


@pytest.fixture
def run_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_report: None) -> Any:
    """``run`` on the small plan, with fake stages; returns the exit code."""
    monkeypatch.setattr("bench.execution.planning.guarantee_cards", lambda plan, registry: [])

    def carry_out(
        *stages: Any, resume: bool = True, results: Path = tmp_path, report: bool = True
    ) -> int:
        how = Execution(
            jobs=1, stages=stages or STAGES, workshop="tests.bench.fake_workshop", debug=False
        )
        reports = tmp_path / "reports" if report else None
        selection: Any = _Selection()
        return run_module.run_benchmark(selection, how, results, reports, resume=resume)

    return carry_out


def test_verdict_and_exit_codes(
    run_small: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "orders").mkdir()
    bad = tmp_path / "orders" / "fail-c_4"
    bad.touch()
    assert run_small() == SOME_FAILED == 1
    assert capsys.readouterr().out.startswith("0/8 cells ok\nfailed: ")
    bad.unlink()
    assert run_small() == OK == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "8/8 cells ok"
    assert lines[-1].startswith("report: ")
    assert lines[-1].endswith("report.md")


def test_some_stages_only(run_small: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_small("prepare", "fit") == OK
    assert "stages not asked for: evaluate, time, attack, audit" in capsys.readouterr().out
    assert run_small("prepare", "fit", report=False) == OK
    assert "all parts trained: " in capsys.readouterr().out


def test_fresh_forgets(run_small: Any, tmp_path: Path) -> None:
    for times, resume in ((1, True), (1, True), (2, False)):
        assert run_small(resume=resume) == OK
        count = (tmp_path / "log").read_text().count("prepare|set|dbcnn")
        assert count == times


@pytest.mark.parametrize("place", ["middle", "other schema"])
def test_a_corrupt_journal_stops_the_run_and_changes_nothing(
    run_small: Any, tmp_path: Path, place: str
) -> None:
    from bench.base.errors import BenchError

    run = RunFolder.create(tmp_path, small_plan())
    run.journal.mkdir()
    journal = run.journal / "prepare-x.jsonl"
    journal.write_text('{"v":9}\n' if place == "other schema" else "garbage\n\n")
    before = journal.read_bytes()
    with pytest.raises(BenchError, match=r"prepare-x\.jsonl, line 1: expected"):
        run_small()
    assert journal.read_bytes() == before


def test_results_that_cannot_be_written(run_small: Any, tmp_path: Path) -> None:
    from bench.base.errors import BenchError

    (tmp_path / "file").touch()
    with pytest.raises(BenchError, match="can be written"):
        run_small(results=tmp_path / "file")
