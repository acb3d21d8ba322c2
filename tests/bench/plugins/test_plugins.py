"""Plugins: found, named, isolated when broken, refused when they clash."""

from __future__ import annotations

import pickle
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from bench.base.errors import BenchError
from bench.plugins.registry import BUILT_IN, GROUPS, Registry
from iqa_models.plugin import ENTRY_POINTS

ROOT = Path(__file__).resolve().parents[3]
TEMPLATE = """
from dataclasses import replace
from defenses.ms import DEFENSE as MS
{target} = {value}
"""
MODEL = """
from iqa_models.base import ModelCard
class M:
    build = None
    card = ModelCard("m", "M", {}, True, 8, "c", "l")
MODEL = M()
"""


def plugin(folder: Path, name: str, target: str, value: str) -> Path:
    path = folder / f"{name}.py"
    path.write_text(TEMPLATE.format(target=target, value=value))
    return path


def test_pyproject_declares_the_built_in_table() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for kind, group in GROUPS.items():
        assert project["entry-points"].get(group, {}) == BUILT_IN[kind]


def test_the_models_know_the_same_table() -> None:
    assert BUILT_IN["model"] == ENTRY_POINTS


def test_every_built_in_part_loads() -> None:
    registry = Registry.open()
    assert not [broken.traceback for broken in registry.broken]
    for kind in GROUPS:
        assert registry.names(kind) == list(BUILT_IN[kind])


def test_a_file_may_define_one_or_several(tmp_path: Path) -> None:
    one = plugin(tmp_path, "one", "DEFENSE", 'replace(MS, name="mine")')
    two = plugin(tmp_path, "two", "DEFENSES", '[replace(MS, name=n) for n in ("a", "b")]')
    registry = Registry.open([one, two, one])
    assert registry.names("defense")[-3:] == ["mine", "a", "b"]
    assert registry.defense("mine").name == "mine"
    assert Registry.open(registry.files).names("defense") == registry.names("defense")
    assert pickle.loads(pickle.dumps(registry.files)) == (str(one), str(two))  # noqa: S301


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("raise RuntimeError('boom')", "RuntimeError: boom"),
        ("def broken(:", "SyntaxError"),
        ("import no_such_module_anywhere", "ModuleNotFoundError"),
        ("x = 1", "defines none of"),
        ("class D: name = 'd'\nDEFENSE = D()", "title, smoother"),
        ("class D: name = 'd'\nDEFENSE = D", r"found the class D: DEFENSE = D(...)"),
        (MODEL.format("'nr', (0, 1)"), "mode: expected 'NR' or 'FR', found 'nr'"),
        (MODEL.format("'FR', (1, 1)"), "score_range: expected two ascending numbers, found (1, 1)"),
        (MODEL.format("'NR', (0, float('inf'))"), "found (0, inf)"),
    ],
)
def test_a_broken_file_is_reported_and_hurts_nobody_else(
    tmp_path: Path, text: str, word: str
) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text(text)
    registry = Registry.open([bad, plugin(tmp_path, "ok", "DEFENSE", 'replace(MS, name="good")')])
    (broken,) = registry.broken
    assert word in broken.error
    assert "Traceback" in broken.traceback or "SyntaxError" in broken.traceback
    assert registry.defense("good").name == "good"
    with pytest.raises(BenchError, match=r"'bad' from .*bad\.py cannot be loaded"):
        registry.defense("bad")
    with pytest.raises(BenchError, match=r"unknown defense 'mine': .* good\. .*bad\.py, which may"):
        registry.defense("mine")


def test_a_clash_names_both_origins(tmp_path: Path) -> None:
    same = plugin(tmp_path, "same", "DEFENSE", 'replace(MS, name="dms")')
    with pytest.raises(BenchError, match=r"'dms': one from .*defenses\.dms.*one from .*same\.py"):
        Registry.open([same])
    one, two = (plugin(tmp_path, n, "DEFENSE", 'replace(MS, name="x")') for n in ("p", "q"))
    with pytest.raises(BenchError, match=r"p\.py.*q\.py"):
        Registry.open([one, two])


def test_a_missing_file_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"none\.py: expected"):
        Registry.open([tmp_path / "none.py"])


@pytest.mark.parametrize(
    ("kind", "typo", "meant"),
    [
        ("defense", "fs_iqa", "fs-iqa"),
        ("model", "lipps", "lpips"),
        ("dataset", "embeded", "embedded"),
    ],
)
def test_did_you_mean(kind: str, typo: str, meant: str) -> None:
    with pytest.raises(BenchError, match=f"did you mean '{meant}'"):
        Registry.open().get(kind, typo)  # type: ignore[arg-type]


class _Entry:
    """An installed package's entry point."""

    dist = None

    def __init__(self, name: str, value: str, load: object) -> None:
        self.name, self.value, self.load = name, value, load


def _installed(monkeypatch: pytest.MonkeyPatch, *entries: object) -> None:
    def entry_points(*, group: str) -> list[object]:
        return list(entries) if group == GROUPS["defense"] else []

    monkeypatch.setattr(metadata, "entry_points", entry_points)


def test_a_broken_package_is_isolated(monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> None:
        raise ImportError("half installed")

    _installed(monkeypatch, _Entry("theirs", "theirs:DEFENSE", load))
    registry = Registry.open()
    assert [broken.name for broken in registry.broken] == ["theirs"]
    with pytest.raises(BenchError, match="ImportError: half installed"):
        registry.defense("theirs")


def test_our_own_entry_points_are_no_clash(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = [_Entry(n, v, lambda: None) for n, v in BUILT_IN["defense"].items()]
    _installed(monkeypatch, *ours)
    assert Registry.open().names("defense") == list(BUILT_IN["defense"])


def test_a_part_must_answer_to_its_announced_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from defenses.ms import DEFENSE

    _installed(monkeypatch, _Entry("other", "theirs:DEFENSE", lambda: DEFENSE))
    assert "calls itself 'ms'" in Registry.open().broken[0].error
