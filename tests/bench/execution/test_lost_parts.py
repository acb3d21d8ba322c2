"""A cache that was deleted, cut short or exchanged in the middle of a run costs time, no number."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from joblib.externals.loky import get_reusable_executor
from PIL import Image

from bench.base.cache import Cache
from bench.base.errors import BAD_INPUT, OK
from bench.cli.app import main
from bench.records.folder import RunFolder
from tests.bench.unreported import without_report

DATASET = """
name = "tiny"
title = "Tiny"
csv = "scores.csv"
images = "."
image_column = "image"
mos_columns = ["score"]
higher_is_better = true
range = [0.0, 1.0]
licence = "none"
citation = "none"
test_share = 0.2
"""
PROFILE = """
name = "tiny"
edition = "compact"
models = ["dbcnn"]
defenses = ["fs-iqa"]
sigmas = [0.1, 0.2]

[data]
nr = "{data}"
fr = "{data}"

[certificate]
samples = 50
feature_samples = 50

[fit.ftn]
epochs = 2
width = 8
depth = 1
batch = 4
learning_rate = 1e-3
patience = 2
"""
BOTH = ("0.1", "0.2")


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for number in range(10):
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(
            folder / f"{number}.png"
        )
    rows = [f"{number}.png,{number / 10}" for number in range(10)]
    (folder / "scores.csv").write_text("\n".join(["image,score", *rows]) + "\n")
    (folder / "dataset.toml").write_text(DATASET)
    path = folder / "profile.toml"
    path.write_text(PROFILE.format(data=folder / "dataset.toml"))
    return path


class Machine:
    """A folder of results and a cache of its own."""

    def __init__(self, folder: Path, profile: Path) -> None:
        self.results, self.profile = folder / "results", profile
        self.cache = folder / "cache"
        self.workers = ("--debug",)

    def call(self, verb: str, *more: str) -> int:
        words = [verb, "--profile", str(self.profile), "--results", str(self.results)]
        return main([*words, "--device", "cpu", *self.workers, *more])

    def run(self, stages: str, *more: str) -> int:
        reports = str(self.results / "r")
        return self.call("run", "--all", "--stages", stages, "--reports", reports, *more)

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        plan = max(self.results.glob("*/plan.json"), key=lambda file: file.stat().st_mtime)
        run = RunFolder.open(plan.parent)
        names = ("fit", "draws", "evaluate")
        return {name: run.table(name).drop(columns=["seconds"], errors="ignore") for name in names}

    @property
    def parts(self) -> list[Path]:
        return sorted((self.cache / "parts").glob("*.safetensors"))


def machine(folder: Path, profile: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(folder, profile)
    monkeypatch.setenv("BENCH_CACHE", str(made.cache))
    # What counts here is in the records, and a report takes as long as the rest.
    without_report(monkeypatch)
    return made


@pytest.fixture(scope="module")
def undisturbed(profile: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    with pytest.MonkeyPatch.context() as patch:
        there = machine(tmp_path_factory.mktemp("whole"), profile, patch)
        assert there.run("prepare,fit,evaluate") == OK
        return there.tables


def exchange(there: Machine) -> None:
    """Other weights under the same key, whole in themselves: another machine's."""
    from iqa_models.weights import load_state

    store = Cache(there.cache)
    for path in there.parts:
        state = {name: value + 1 for name, value in load_state(path).items()}
        store.save_state(path.stem, state, store.notes(path.stem))


DAMAGES: dict[str, Callable[[Machine], object]] = {
    "all of it deleted": lambda there: shutil.rmtree(there.cache),
    "one part deleted": lambda there: there.parts[0].unlink(),
    "parts cut short": lambda there: [p.write_bytes(p.read_bytes()[:100]) for p in there.parts],
    "notes deleted": lambda there: [p.with_suffix(".json").unlink() for p in there.parts],
    "notes cut short": lambda there: there.parts[0].with_suffix(".json").write_text("{"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_same_command_ends_with_identical_tables(
    tmp_path: Path,
    profile: Path,
    undisturbed: dict[str, pd.DataFrame],
    monkeypatch: pytest.MonkeyPatch,
    damage: str,
) -> None:
    there = machine(tmp_path, profile, monkeypatch)
    assert there.run("prepare,fit") == OK and len(there.parts) == len(BOTH)
    DAMAGES[damage](there)
    assert there.run("prepare,fit,evaluate") == OK
    for name, table in there.tables.items():
        pd.testing.assert_frame_equal(table, undisturbed[name])


def test_parts_of_what_is_done_are_not_trained_again(
    tmp_path: Path,
    profile: Path,
    undisturbed: dict[str, pd.DataFrame],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another machine may train them otherwise, and would be refused for nothing."""
    there = machine(tmp_path, profile, monkeypatch)
    assert there.run("prepare,fit,evaluate", "--sigmas", BOTH[0]) == OK
    (done,) = there.parts
    done.unlink()
    assert there.run("prepare,fit,evaluate") == OK
    assert len(there.parts) == 1 and not done.exists()
    for name, table in there.tables.items():
        pd.testing.assert_frame_equal(table, undisturbed[name])


def test_two_workers_train_again_what_was_lost(
    tmp_path: Path, profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = machine(tmp_path, profile, monkeypatch)
    there.workers = ("--jobs", "2", "--yes")
    # Workers of an earlier test would keep its cache.
    get_reusable_executor().shutdown(wait=True)
    assert there.run("prepare,fit") == OK
    before = [path.read_bytes() for path in there.parts]
    shutil.rmtree(there.cache / "parts")
    assert there.run("prepare,fit,evaluate") == OK
    assert [path.read_bytes() for path in there.parts] == before and len(before) == len(BOTH)
    assert len(there.tables["evaluate"]) > 0


def test_fit_means_that_the_parts_are_there(
    tmp_path: Path, profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = machine(tmp_path, profile, monkeypatch)
    assert there.call("fit") == OK
    before = [path.read_bytes() for path in there.parts]
    shutil.rmtree(there.cache)
    assert there.call("fit") == OK
    assert [path.read_bytes() for path in there.parts] == before


def test_other_weights_than_the_recorded_ones_are_one_sentence(
    tmp_path: Path,
    profile: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    there = machine(tmp_path, profile, monkeypatch)
    assert there.run("prepare,fit") == OK
    exchange(there)
    assert there.run("prepare,fit,evaluate") == BAD_INPUT
    said = capsys.readouterr().err.splitlines()[-1]
    assert "'ftn' of dbcnn" in said and "other weights than the run recorded (2 such parts)" in said
    assert there.tables["evaluate"].empty
