"""What a run names is never executed; what the user names must be what the run was made with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.base.errors import BAD_INPUT, OK, BenchError
from bench.cli.app import main
from bench.execution.options import Execution
from bench.execution.worker import Assignment
from bench.execution.workshop import check_plugins, open_context
from bench.plan.units import Plan
from bench.plugins.registry import Registry
from bench.review.verify import verify
from tests.bench.fake_run import fake_plan, fake_run
from tests.bench.selections import with_profile

PART = """
from dataclasses import replace
from pathlib import Path
from defenses.ms import DEFENSE as MS
Path({mark!r}).touch()
DEFENSE = replace(MS, name={name!r}, title={title!r})
"""


def plugin(folder: Path, *, file: str = "mine.py", name: str = "mine", title: str = "Mine") -> Path:
    path = folder / file
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(PART.format(mark=str(folder / "executed"), name=name, title=title))
    return path


def made_with(file: Path, name: str = "mine") -> Plan:
    """A plan that asks for a plugin's defence; its file is recorded as ``make_plan`` does."""
    plan = fake_plan()
    defenses = (*plan.profile.defenses, name)
    recorded = Registry.open([file]).code([("defense", name)])
    return replace(with_profile(plan, defenses=defenses), plugins=recorded)


@pytest.mark.parametrize("recorded", ["mine.py", "{folder}/mine.py", "run/mine.py"])
def test_a_plugin_that_only_the_run_names_is_not_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorded: str
) -> None:
    file = plugin(tmp_path)
    plan = made_with(file)
    plan = replace(plan, plugins={recorded.format(folder=tmp_path): plan.plugins["mine.py"]})
    run = fake_run(tmp_path / "results", plan)
    plugin(run.path)
    (tmp_path / "executed").unlink()  # left by making the plan
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BenchError, match=r"needs 'mine'.*mine\.py with --plugin"):
        verify(run)
    assert not (tmp_path / "executed").exists() and not (run.path / "executed").exists()


def test_the_plugin_that_a_run_was_made_with_verifies_it(tmp_path: Path) -> None:
    file = plugin(tmp_path)
    run = fake_run(tmp_path / "results", made_with(file))
    assert verify(run, plugins=[str(file)]).ok
    moved = file.rename(tmp_path / "renamed.py")
    assert verify(run, plugins=[str(moved)]).ok, "the code counts, not its name"
    assert main(["verify", str(run.path), "--plugin", str(moved)]) == OK


def test_a_changed_plugin_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = fake_run(tmp_path / "results", made_with(plugin(tmp_path / "old")))
    changed = plugin(tmp_path / "new", title="Changed")
    assert main(["verify", str(run.path), "--plugin", str(changed)]) == BAD_INPUT
    said = capsys.readouterr().err
    assert "plugin mine.py changed: the run fake-" in said and said.count("\n") == 1


def test_another_plugin_does_not_stand_in(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "results", made_with(plugin(tmp_path / "old")))
    other = plugin(tmp_path / "new", file="other.py", title="Changed")
    with pytest.raises(BenchError, match=r"plugin other\.py: expected one that the run fake-"):
        verify(run, plugins=[str(other)])


def test_plugins_that_serve_no_defence_of_the_run_do_not_matter(tmp_path: Path) -> None:
    file = plugin(tmp_path / "a")
    unrelated = plugin(tmp_path / "b", file="other.py", name="unrelated")
    run = fake_run(tmp_path / "results", made_with(file))
    assert verify(run, plugins=[str(file), str(unrelated)]).ok


def test_a_worker_with_another_plugin_than_the_plan_refuses(tmp_path: Path) -> None:
    file = plugin(tmp_path / "here")
    plan = made_with(file)
    check_plugins(plan, Execution(plugins=(str(file),)))
    there = plugin(tmp_path / "there", title="Changed")
    with pytest.raises(BenchError, match=r"plugin mine\.py changed: the plan was made with"):
        open_context(plan, Assignment(run="", how=Execution(plugins=(str(there),))))
