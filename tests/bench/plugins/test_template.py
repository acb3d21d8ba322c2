"""``new-defense``: what it writes conforms, is found in its folder, and never overwrites."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest

from bench.base.errors import BenchError
from bench.cli.app import main
from bench.plugins.local import DECLARATION, declare, plugin_files
from bench.plugins.registry import Registry, import_file
from bench.plugins.template import filled, new_defense
from defenses.conformance import check


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_template_conforms(folder: Path) -> None:
    written = new_defense("quite-mine", out=Path())
    registry = Registry.open(plugin_files(()), kinds=("defense",))
    assert not registry.broken
    defense = registry.defense("quite-mine")
    assert defense.title == "Quite Mine"
    report = check(defense)
    assert report.ok, str(report)
    assert (written.plugin, written.declaration) == (Path("quite_mine.py"), Path(DECLARATION))


def test_its_test_is_the_conformance_kit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = new_defense("mine", out=Path())
    monkeypatch.syspath_prepend(folder)
    module = import_file(written.test)
    del sys.modules["mine"]
    from defenses.conformance import DefenseConformance

    assert issubclass(module.TestMine, DefenseConformance)


@pytest.mark.parametrize("template", ["defense.py.txt", "test_defense.py.txt"])
def test_templates_are_formatted_python(template: str) -> None:
    values = {"name": "mine", "module": "mine", "title": "Mine", "class_name": "Mine"}
    text = filled(template, values)
    compile(text, template, "exec")
    assert "$" not in text
    assert max(map(len, text.splitlines())) <= 100


def test_every_command_of_the_folder_finds_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new-defense", "mine", "--out", "sub/folder"]) == 0
    assert "check-defense mine" in capsys.readouterr().out
    assert tomllib.loads(Path(DECLARATION).read_text())["plugins"] == ["sub/folder/mine.py"]
    assert main(["plan", "--defenses", "mine,ms", "--models", "koncept", "--limit", "4"]) == 0
    shown = capsys.readouterr()
    assert "mine, ms" in shown.out
    assert shown.err == f"using plugin sub/folder/mine.py (declared in {DECLARATION})\n"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Mine", "lower-case letters"),
        ("../mine", "lower-case letters"),
        ("", "lower-case letters"),
        ("ms", "existing defence 'ms'"),
        ("json", "would hide the module json"),
        ("torch", "would hide the module torch"),
    ],
)
def test_names_that_cannot_be(folder: Path, name: str, words: str) -> None:
    with pytest.raises(BenchError, match=words):
        new_defense(name, out=Path())
    assert not list(folder.iterdir())


def test_nothing_is_overwritten(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new_defense("mine", out=Path())
    Path("mine.py").write_text("# an evening's work\n")
    monkeypatch.syspath_prepend(folder)
    with pytest.raises(BenchError, match=r"mine\.py: expected no such file yet"):
        new_defense("mine", out=Path())
    assert Path("mine.py").read_text() == "# an evening's work\n"


def test_a_second_one_joins_the_first(folder: Path) -> None:
    new_defense("mine", out=Path())
    new_defense("yours", out=Path())
    assert plugin_files([Path("./mine.py").absolute(), Path("third.py")]) == (
        "mine.py",
        "yours.py",
        "third.py",
    )
    declare(Path("mine.py"))
    assert plugin_files(()) == ("mine.py", "yours.py")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("plugins = [", "expected TOML"),
        ("plugins = 'mine.py'", "and nothing else"),
        ("plugins = []\nrun = 'x'", "and nothing else"),
        ("plugins = ['gone.py']", "found 'gone.py', which is none"),
        ("plugins = [3]", "found 3"),
    ],
)
def test_a_bad_declaration_is_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    Path(DECLARATION).write_text(text)
    assert main(["list"]) == 2
    shown = capsys.readouterr().err
    assert words in shown
    assert shown.count("\n") == 1


def test_only_the_working_directory_counts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new_defense("mine", out=Path())
    (folder / "below").mkdir()
    monkeypatch.chdir(folder / "below")
    assert plugin_files(()) == ()
