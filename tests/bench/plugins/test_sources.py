"""An edited plugin is another plan: packages, linked packages, files and what these import."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.execution.planning import make_plan
from bench.plan.loading import Overrides, load_profile, overridden
from bench.plan.units import Plan
from bench.plugins.registry import GROUPS, Registry
from bench.plugins.sources import files_of_file, modules_sha256

PART = """
from dataclasses import replace
from defenses.ms import DEFENSE as MS
{imports}
DEFENSE = replace(MS, name="theirs", title="{title}")
"""


@pytest.fixture(autouse=True)
def fresh_modules() -> Iterator[None]:
    before = set(sys.modules)
    yield
    for name in sys.modules.keys() - before:
        if name.startswith(("their", "helper", "certified_iqa_bench_plugin_")):
            del sys.modules[name]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


def write_package(folder: Path) -> Path:
    """A package of two modules that defines a defence in one of them."""
    package = folder / "theirs"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    imports = "from theirs.formula import NUMBER"
    (package / "defense.py").write_text(PART.format(imports=imports, title="Theirs"))
    (package / "formula.py").write_text("NUMBER = 1\n")
    return package


def announce(site: Path, files: tuple[str, ...]) -> None:
    """What pip writes when it installs."""
    info = site / "their_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{GROUPS['defense']}]\ntheirs = theirs.defense:DEFENSE\n"
    )
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))


def plan_of(*files: Path, defense: str = "theirs") -> Plan:
    chosen = Overrides(models=("lpips",), defenses=(defense,), limit=1)
    return make_plan(overridden(load_profile("embedded"), chosen), Registry.open(files))


def test_an_edited_package_is_another_plan(site: Path) -> None:
    package = write_package(site)
    announce(site, ("theirs/__init__.py", "theirs/defense.py", "theirs/formula.py"))
    first, unused = plan_of(), plan_of(defense="ms")
    assert list(first.plugins) == ["their-package"] and not unused.plugins
    assert plan_of().hash == first.hash
    (package / "formula.py").write_text("NUMBER = 2\n")
    assert plan_of().hash != first.hash
    assert plan_of(defense="ms").hash == unused.hash, "who does not use it does not care"


def test_files_that_the_package_does_not_import_count_as_well(site: Path) -> None:
    write_package(site)
    announce(site, ("theirs/__init__.py", "theirs_more.py"))
    (site / "theirs_more.py").write_text("x = 1\n")
    first = plan_of()
    (site / "theirs_more.py").write_text("x = 2\n")
    assert plan_of().hash != first.hash


def test_an_edited_linked_package_is_another_plan(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = write_package(tmp_path / "work")
    monkeypatch.syspath_prepend(package.parent)
    (site / "__editable___theirs_finder.py").write_text(f"PLACE = {str(package)!r}\n")
    announce(site, ("__editable___theirs_finder.py",))
    first = plan_of()
    (package / "formula.py").write_text("NUMBER = 2\n")
    second = plan_of()
    assert second.hash != first.hash
    (site / "__editable___theirs_finder.py").write_text("PLACE = 'elsewhere'\n")
    assert plan_of().hash == second.hash, "not where it lies"


def test_modules_that_a_plugin_file_imports_count(site: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    imports = "import numpy\nfrom helper import used\n"
    plugin.write_text(PART.format(imports=imports, title="Mine"))
    folder = site / "helper"
    folder.mkdir()
    (folder / "__init__.py").write_text("from . import used\n")
    (folder / "used.py").write_text("def f():\n    import helper_of_helper\n")
    (site / "helper_of_helper.py").write_text("x = 1\n")
    (site / "helper_unused.py").write_text("x = 1\n")
    hashes = [plan_of(plugin).hash]
    for file in (folder / "used.py", site / "helper_of_helper.py", plugin):
        file.write_text(file.read_text() + "y = 2\n")
        hashes.append(plan_of(plugin).hash)
    assert len(set(hashes)) == 4
    (site / "helper_unused.py").write_text("x = 2\n")
    assert plan_of(plugin).hash == hashes[-1]
    moved = tmp_path / "elsewhere" / "other.py"
    moved.parent.mkdir()
    moved.write_text(plugin.read_text())
    assert plan_of(moved).hash == hashes[-1], "neither where it lies nor its name"


@pytest.mark.parametrize("folder", ["site-packages", "dist-packages", "packages"])
def test_what_another_environment_has_installed_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    """A linked environment: its torch alone would take minutes, and is not the plugin's code."""
    other = tmp_path / "lib" / folder
    other.mkdir(parents=True)
    (other / "helper_installed.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(other)
    plugin = tmp_path / "mine.py"
    plugin.write_text("import helper_installed\n")
    assert len(files_of_file(plugin)) == (2 if folder == "packages" else 1)


def test_caches_know_all_code_of_a_plugin(site: Path) -> None:
    """Trained parts and features are kept under the code that made them."""
    package = write_package(site)
    ours = modules_sha256("defenses.parts", "defenses.networks")
    first = modules_sha256("theirs.defense", "defenses.networks")
    (package / "formula.py").write_text("NUMBER = 2\n")
    assert modules_sha256("theirs.defense", "defenses.networks") != first
    assert modules_sha256("defenses.parts", "defenses.networks") == ours
    assert modules_sha256("defenses.parts", "defenses.certify") != ours
