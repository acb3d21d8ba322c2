"""Nothing in a folder that a stranger handed over is executed, whatever is done with it.

A run, a data set, weights, a cache and an archive are full of Python files and pickles that leave a
mark when executed; every verb is let loose on them.
"""

from __future__ import annotations

import contextlib
import json
import pickle
import runpy
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import EpsImagePlugin, Image

import bench
from bench.cli.app import app, main
from bench.datasets.base import ImageError
from bench.datasets.images import open_rgb
from bench.fetch.download import unpack
from iqa_models.artifacts import artifacts
from tests.bench.fake_run import fake_plan, fake_run
from tests.bench.selections import with_profile

SMALL = (
    *("--models", "dbcnn", "--defenses", "ms", "--sigmas", "0.1"),
    *("--limit", "1", "--samples", "16"),
)
CERTIFY = ("--model", "dbcnn", "--defense", "ms", "--sigma", "0.1", "--samples", "16")


PROFILES = Path(bench.__file__).parent / "profiles"
DATASET = """
name = "theirs"
title = "Theirs"
csv = "scores.csv"
images = "."
image_column = "image"
mos_columns = ["score"]
higher_is_better = true
range = [0.0, 1.0]
licence = "none"
citation = "none"
"""


class Marker:
    """Leaves a mark when unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


class Stranger:
    """A folder with everything that somebody may hand over."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.mark = folder, folder / "executed"
        self.pickle = pickle.dumps(Marker(self.mark))
        plan = fake_plan()
        plan = with_profile(plan, defenses=(*plan.profile.defenses, "planted"))
        names = ("planted.py", str(folder / "run" / "planted.py"), "stranger/run/planted.py")
        made = fake_run(folder, replace(plan, plugins=dict.fromkeys(names, "0" * 64)))
        self.run = made.path.rename(folder / "run")
        self.data, self.weights, self.cache, self.timing = (
            folder / name for name in ("data", "weights", "cache", "timing")
        )
        for place in (self.run, self.data, self.weights, self.cache, self.timing):
            place.mkdir(exist_ok=True)
            self.plant(place)
        self.pickled = shutil.copytree(self.run, folder / "pickled")
        for file in (*self.pickled.rglob("*.parquet"), self.pickled / "run.json"):
            file.write_bytes(self.pickle)
        for name in ("time.json", "time.parquet", "run.json"):
            (self.timing / name).write_bytes(self.pickle)
        for name in artifacts():
            (self.weights / f"{name}.pth").write_bytes(self.pickle)
        self.dataset = self.data / "dataset.toml"
        self.dataset.write_text(DATASET)
        self.profile = self.data / "profile.toml"
        text = (PROFILES / "real-cpu.toml").read_text()
        for name in ("biq2021.toml", "pristine.toml"):
            text = text.replace(f'"{name}"', json.dumps(str(self.dataset)))
        self.profile.write_text(text)
        rows = [f"{number}.png,0.{number}" for number in range(1, 10)]
        (self.data / "scores.csv").write_text("\n".join(["image,score", *rows]) + "\n")
        for number in range(1, 10):
            (self.data / f"{number}.png").write_bytes(self.pickle)
        self.archive = self.cache / "archive.zip"
        with zipfile.ZipFile(self.archive, "w") as opened:
            for name in ("planted.py", "__init__.py", "sitecustomize.py"):
                opened.writestr(f"artifacts/{name}", self.code)

    @property
    def code(self) -> str:
        return f"from pathlib import Path\nPath({str(self.mark)!r}).touch()\n"

    def plant(self, place: Path) -> None:
        """Files that something might import, or a declaration might name."""
        for name in ("planted", "conftest", "sitecustomize", "__init__", "setup", "torch"):
            (place / f"{name}.py").write_text(self.code)
        (place / "bench-plugins.toml").write_text(f"plugins = {json.dumps(['planted.py'])}\n")

    def commands(self, home: Path) -> dict[str, list[list[str]]]:
        """Every verb on everything that it can be given."""
        on_data = [*SMALL, "--dataset", str(self.dataset), "--results", str(home / "results")]
        runs = [str(self.run), str(self.pickled)]
        twins = [runs[0], str(shutil.copytree(self.run, home / "twin"))]
        timing = ["--size", "32x32", "--samples", "16", "--repeats", "1"]
        timing += ["--out", str(self.timing), "--reports", str(home / "reports")]
        photo = home / "photo.png"
        Image.new("RGB", (32, 32), "grey").save(photo)
        return {
            "run": [["run", *on_data, "--jobs", "1", "--stages", "prepare,evaluate"]],
            "fit": [["fit", *on_data, "--jobs", "1"]],
            "plan": [["plan", *on_data]],
            "prefetch": [["prefetch", "--offline"]],
            "list": [["list"]],
            "report": [["report", run] for run in (*runs, str(self.timing))],
            "verify": [["verify", run] for run in runs],
            "compare": [["compare", *two] for two in (runs, runs[::-1], twins)],
            "merge": [["merge", *two, "--out", str(home / "merged")] for two in (runs, twins)],
            "submit": [
                ["submit", run, "--name", "planted", "--url", "https://example.org"] for run in runs
            ],
            "board": [["board", *runs], ["board", str(self.run.parent)]],
            "check-defense": [["check-defense", "planted"]],
            "check-model": [["check-model", "planted"]],
            "new-defense": [["new-defense", "planted", "--out", str(home)]],
            "certify": [
                ["certify", str(self.data / "1.png"), *CERTIFY],
                ["certify", str(photo), *CERTIFY, "--profile", str(self.profile)],
            ],
            "time": [["time", *SMALL[:4], *timing]],
        }


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stranger:
    found = Stranger(tmp_path / "stranger")
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.setenv("BENCH_WEIGHTS", str(found.weights))
    return found


def test_what_was_planted_would_leave_a_mark(stranger: Stranger) -> None:
    for act in (
        lambda: runpy.run_path(str(stranger.run / "planted.py")),
        lambda: pickle.loads(stranger.pickle),  # noqa: S301
    ):
        act()
        assert stranger.mark.exists()
        stranger.mark.unlink()


VERBS = sorted(str(command.name) for command in app.registered_commands)


@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_executes_what_was_handed_over(stranger: Stranger, verb: str) -> None:
    for words in stranger.commands(Path.cwd())[verb]:
        try:
            main(words)
        except Exception as error:  # how it is refused is another test's promise
            assert not isinstance(error, KeyError | TypeError), words
        assert not stranger.mark.exists(), words


def test_an_archive_is_unpacked_and_not_executed(stranger: Stranger) -> None:
    found = unpack(stranger.archive, stranger.cache / "unpacked")
    assert (found / "artifacts" / "planted.py").read_text() == stranger.code
    assert not stranger.mark.exists()


@pytest.mark.parametrize("name", ["arrays/{key}.npy", "parts/{key}.safetensors"])
def test_a_cache_with_pickles_is_made_again_or_refused(stranger: Stranger, name: str) -> None:
    """Whatever a shared cache holds under the right key."""
    from bench.base.cache import Cache
    from iqa_models.weights import WeightsError, load_state

    store, key = Cache(stranger.cache), "0" * 64
    place = stranger.cache / name.format(key=f"array-{key[:16]}" if "arrays" in name else key)
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(stranger.pickle)
    if "arrays" in name:
        import numpy as np

        assert (store.array(key, lambda: np.ones(2)) == 1).all()
    else:
        with pytest.raises(WeightsError):
            load_state(store.state_path(key))
    assert not stranger.mark.exists()


def test_postscript_is_no_photograph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its name: Pillow would have another program run it."""
    mark, tools = tmp_path / "executed", tmp_path / "bin"
    tools.mkdir()
    (tools / "gs").write_text(f"#!/bin/sh\ntouch {mark}\n")
    (tools / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=":")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", str(tools / "gs"))
    photo = tmp_path / "photo.png"
    photo.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n%%EndComments\nshowpage\n")
    with pytest.raises(ImageError, match="found something that is not an image"):
        open_rgb(photo, name="photo.png")
    assert not mark.exists()
    with Image.open(photo) as opened, contextlib.suppress(OSError, ValueError):
        opened.load()
    assert mark.exists()  # the trap works
