"""Parts and pictures that misbehave while a run is under way: a failed record, never a false ok."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.base.errors import OK, SOME_FAILED
from bench.cli.app import main
from bench.records.folder import RunFolder

ROOT = Path(__file__).resolve().parents[3]
DEFENSE = """
import sys
from dataclasses import dataclass, replace
from defenses.ms import DEFENSE as MS
from defenses.smoothers import InputSmoother

@dataclass(frozen=True, slots=True)
class Odd(InputSmoother):
    name: str = "odd"

    def sample(self, target, image, noise):
        scores = InputSmoother.sample(self, target, image, noise)
        return {body}

DEFENSE = replace(MS, name="odd", title="Odd", smoother=Odd())
"""
TABLE = """
name = "mine"
title = "Mine"
licence = "none"
citation = "none"
csv = "scores.csv"
image_column = "file"
mos_columns = ["score"]
higher_is_better = true
range = [1.0, 5.0]
split_column = "part"
"""
COUNT = 14


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fourteen scored pictures, two of them for the test."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    rows = ["file,score,part"]
    for index in range(COUNT):
        noise = np.random.default_rng(index).standard_normal((96, 96, 3)) * (5 + 6 * index)
        Image.fromarray((128 + noise).clip(0, 255).astype(np.uint8)).save(tmp_path / f"{index}.png")
        rows.append(f"{index}.png,{5 - index / 4:.2f},{'test' if index < 2 else 'train'}")
    (tmp_path / "scores.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (tmp_path / "dataset.toml").write_text(TABLE, encoding="utf-8")
    return tmp_path


def run_it(data: Path, defenses: str, *more: str) -> tuple[int, RunFolder]:
    """A run of some stages in this process; its exit code and its folder."""
    text = (ROOT / "bench" / "profiles" / "embedded.toml").read_text(encoding="utf-8")
    # Rows beside the tables would only be further cells.
    (data / "own.toml").write_text(
        re.sub(r"^\[extras.*?(?=^\[(?!extras)|\Z)", "", text, flags=re.M | re.S)
    )
    words = ["run", "--profile", "own.toml", "--dataset", "dataset.toml", "--models", "koncept"]
    chosen = ["--defenses", defenses, "--sigmas", "0.1", "--samples", "64", "--jobs", "1"]
    code = main([*words, *chosen, "--stages", "prepare,fit,evaluate", *more])
    (plan,) = data.glob("results/*/plan.json")
    return code, RunFolder.open(plan.parent)


def odd(data: Path, body: str) -> tuple[str, str]:
    """The option that brings a defence whose smoother returns ``body``."""
    (data / "odd.py").write_text(DEFENSE.format(body=body), encoding="utf-8")
    return "--plugin", str(data / "odd.py")


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("scores[:-1]", "expected one score for each of 44 draws, found shape (43,)"),
        ("scores.mean()", "expected one score for each of 44 draws, found shape ()"),
        ("scores * float('nan')", "64 of 64 draws are not finite numbers"),
    ],
)
def test_too_few_scores_or_none_that_is_a_number(
    data: Path, body: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, run = run_it(data, "ms,odd", *odd(data, body))
    assert code == SOME_FAILED
    said = capsys.readouterr().out
    assert said.startswith("1/2 cells ok\nfailed: mine / koncept / odd / sigma 0.1")
    assert words in said
    table = run.table("evaluate").set_index("defense")
    assert set(table.loc["ms", "status"]) == {"ok"}
    assert set(table.loc["odd", "status"]) == {"failed"}
    assert table.loc["odd", "lower"].isna().all()


@pytest.mark.usefixtures("no_report")
def test_a_plugin_that_ends_the_program_fails_alone(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, run = run_it(data, "ms,odd", *odd(data, "sys.exit(0)"))
    assert code == SOME_FAILED
    said = capsys.readouterr().out
    assert said.startswith("1/2 cells ok\nfailed: mine / koncept / odd / sigma 0.1")
    table = run.table("evaluate").set_index("defense")
    assert set(table.loc["ms", "status"]) == {"ok"}
    assert set(table.loc["odd", "reason"]) == {"SystemExit: 0"}


def test_a_plugin_that_ends_the_program_while_it_is_planned(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, plugin = odd(data, "scores")
    text = Path(plugin).read_text(encoding="utf-8")
    exits = "    def forward_passes(self, samples):\n        sys.exit(0)\n\nDEFENSE"
    Path(plugin).write_text(text.replace("DEFENSE = replace", exits + " = replace"))
    words = ["plan", "--dataset", "dataset.toml", "--models", "koncept", "--defenses", "odd"]
    assert main([*words, "--plugin", plugin]) == 2
    assert "a plugin that ends the program" in capsys.readouterr().err


@pytest.mark.usefixtures("no_report")
def test_a_damaged_training_image_is_named_and_the_others_train_on(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = data / "5.png"
    file.write_bytes(file.read_bytes()[:900])
    code, run = run_it(data, "ms,fs-iqa")
    assert code == OK
    said = capsys.readouterr().out
    assert said.startswith("2/2 cells ok\n")
    assert "left out of training: 1 image (5.png: expected a whole image file, found a dam" in said
    (row,) = run.table("training").to_dict("records")
    assert (row["status"], row["dataset"], row["image"]) == ("failed", "mine", "5.png")
    calibration = run.table("calibration").iloc[0]
    held_out = len(sorted(range(2, COUNT))[::6])  # of those 5.png is none
    assert (calibration["status"], calibration["images"]) == ("ok", COUNT - 2 - held_out - 1)
    assert set(run.table("fit")["status"]) == {"ok"}
    evaluated = run.table("evaluate")
    assert set(evaluated["defense"]) == {"ms", "fs-iqa"}
    assert "failed" not in set(evaluated["status"])


@pytest.mark.parametrize("left", [0, 1])
def test_no_training_rows_are_one_sentence_at_plan_time(
    data: Path, left: int, capsys: pytest.CaptureFixture[str]
) -> None:
    table = (data / "scores.csv").read_text().replace("train", "test", COUNT - 2 - left)
    (data / "scores.csv").write_text(table)
    assert main(["run", "--all", "--dataset", "dataset.toml", "--models", "koncept"]) == 2
    shown = capsys.readouterr().err
    assert shown == f"Error: mine: expected at least 2 training images, found {left}.\n"
    assert not (data / "results").exists()


MODEL = """
from dataclasses import dataclass, replace
from iqa_models.koncept import KonCept, MODEL as KONCEPT

class Stiff(KonCept):
    def extract(self, images, reference):
        features = KonCept.extract(self, images, reference)
        return {features}

@dataclass(frozen=True)
class Plugin:
    card: object = replace(KONCEPT.card, name="stiff", title="Stiff")

    def build(self, edition):
        model = KONCEPT.build(edition)
        model.__class__, model.card = Stiff, self.card
        return model

MODEL = Plugin()
"""


@pytest.mark.parametrize(
    ("features", "code", "said"),
    [
        (
            "features.detach()",
            SOME_FAILED,
            "1/2 cells ok\nfailed: mine / stiff / fs-iqa / sigma 0.1 (2 units, the first "
            "evaluate: ValueError: "
            "the features of Stiff have no gradient: expected them to be computed",
        ),
        (
            "(8 * features).round() / 8",
            OK,
            "2/2 cells ok\nno certificate: mine / stiff / fs-iqa / sigma 0.1 (2 of 2 images "
            "abstained: ||J||_2 = 0.00e+00 is below tau = 0.001, the features do not move; "
            "features must follow the image differentiably, without rounding",
        ),
        (  # a tenth of the features' motion has a gradient
            "(8 * features).round() / 8 + 0.1 * features",
            OK,
            "2/2 cells ok\nno certificate: mine / stiff / fs-iqa / sigma 0.1 (2 of 2 images "
            "abstained: the features do not move as their gradient says: ",
        ),
    ],
)
def test_features_without_a_gradient_say_so(
    data: Path, features: str, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "stiff.py").write_text(MODEL.format(features=features), encoding="utf-8")
    plugin = ("--plugin", str(data / "stiff.py"), "--models", "stiff")
    assert run_it(data, "ms,fs-iqa", *plugin)[0] == code
    shown = capsys.readouterr().out
    assert shown.startswith(said)
    (report,) = data.glob("reports/*/report.md")
    assert ("no certificate: mine" in report.read_text(encoding="utf-8")) == (code == OK)
