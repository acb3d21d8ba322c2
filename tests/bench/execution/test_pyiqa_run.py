"""Metrics of pyiqa by name through a whole run, with random weights that are marked as such.

The slow ones take a minute and a half together, most of it for building networks.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bench.cli.app import OK, main
from bench.records.folder import RunFolder
from tests.bench.rated import write_rated

pytest.importorskip("pyiqa")
# pyiqa leaves a file of its own open where it is first imported.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

BY_FEATURES = ("cnniqa", "musiq", "topiq_nr")
FORMULAS = ("ssim", "gmsd", "vif", "piqe")  # the last judges an image alone, without a gradient
NETWORKS = (*BY_FEATURES, "lpips", "dists", "pieapp")
PROFILE = """
name = "metrics"
edition = "published"
models = {models}
defenses = {defenses}
sigmas = [0.1]
[data]
nr = "{data}"
fr = "{data}"
[certificate]
samples = 40
feature_samples = 40
radii = [0.01]
[certificate.spectral]
steps = 3
[fit.ftn]
epochs = 1
batch = 4
learning_rate = 1e-3
width = 4
depth = 2
"""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Seven pictures with references, and a file of random weights for every network."""
    from iqa_models.pyiqa_metrics import metric_network

    write_rated(tmp_path)
    weights = tmp_path / "weights"
    weights.mkdir()
    table = ""
    for name in NETWORKS:
        torch.manual_seed(1)
        torch.save(metric_network(name)[0].state_dict(), weights / f"pyiqa-{name}.pth")
        table += (
            f'[[artifact]]\nname = "pyiqa-{name}"\nfile = "pyiqa-{name}.pth"\nurls = []\n'
            'licence = "none: random"\nneeded_by = []\nrandom = true\n'
        )
    (tmp_path / "artifacts.toml").write_text(table, encoding="utf-8")
    monkeypatch.setenv("BENCH_ARTIFACTS", str(tmp_path / "artifacts.toml"))
    monkeypatch.setenv("BENCH_WEIGHTS", str(weights))
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path


def run(world: Path, names: tuple[str, ...], defense: str) -> tuple[int, RunFolder | None]:
    """Evaluate some metrics under one defence."""
    text = PROFILE.format(
        models=[f"pyiqa:{name}" for name in names],
        defenses=[defense],
        data=world / "dataset.toml",
    )
    (world / "metrics.toml").write_text(text, encoding="utf-8")
    results = world / defense
    places = ["--results", str(results), "--reports", str(world / "reports")]
    how = ["--all", "--estimate-only", "--debug", "--device", "cpu"]
    code = main(["run", "--profile", str(world / "metrics.toml"), *how, *places])
    found = [path.parent for path in results.glob("*/plan.json")]
    return code, RunFolder.open(found[0]) if found else None


@pytest.mark.slow
def test_ten_metrics_under_input_noise(world: Path) -> None:
    code, folder = run(world, (*NETWORKS, *FORMULAS), "ms")
    assert code == OK and folder is not None
    table = folder.table("evaluate")
    assert set(table["status"]) == {"ok"}
    names = [f"pyiqa:{name}" for name in (*NETWORKS, *FORMULAS)]
    assert sorted(table["model"]) == sorted(2 * names)  # each on both test pictures
    assert (table["lower"] <= table["score"]).all() and (table["score"] <= table["upper"]).all()
    # Random networks may leave the range of their metric, and are clamped to its end: formulas not.
    different = table.groupby("model")["score"].nunique()
    assert all(different[f"pyiqa:{name}"] == 2 for name in FORMULAS)
    weights = dict(zip(table["model"], table["weights"], strict=True))
    assert weights["pyiqa:musiq"] == "random" and weights["pyiqa:ssim"] == "trained"
    (report,) = world.glob("reports/**/report.md")
    text = report.read_text(encoding="utf-8")
    assert "10/10 cells ok" in text
    assert "complete for what was asked; not asked for: time, attack, audit" in text


@pytest.mark.slow
def test_three_of_them_under_feature_noise(world: Path) -> None:
    code, folder = run(world, BY_FEATURES, "fs-iqa")
    assert code == OK and folder is not None
    table = folder.table("evaluate")
    assert set(table["model"]) == {f"pyiqa:{name}" for name in BY_FEATURES}
    assert set(table["status"]) <= {"ok", "abstained"}
    assert set(folder.table("fit")["status"]) == {"ok"}


def test_without_a_known_layer_feature_noise_is_refused_in_one_sentence(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, folder = run(world, ("psnr",), "fs-iqa")
    assert code == 2 and folder is None
    said = capsys.readouterr().err
    assert "pyiqa:psnr: expected a known feature layer for fs-iqa, found none" in said
