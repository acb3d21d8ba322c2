"""Without KonCept's files the five other published models finish, and the report says so.

Random weights, marked as such, in the layouts in which the authors' files are published.  It
takes a minute and a half of one core, most of it for HyperIQA's 25 crops.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from bench.base.errors import SOME_FAILED
from bench.cli.app import main
from bench.records.folder import RunFolder
from tests.bench.rated import write_rated

pytest.importorskip("pyiqa")
pytest.importorskip("dreamsim")
# pyiqa leaves a file of its own open where it is first imported.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

OTHERS = ("dbcnn", "hyperiqa", "lpips", "dists", "dreamsim")
PROFILE = """
name = "published"
edition = "published"
models = {models}
defenses = ["rs-reg"]
sigmas = [0.25]
[data]
nr = "{data}"
fr = "{data}"
[certificate]
samples = 4
radii = [0.01]
"""
ROW = """
[[artifact]]
name = "{name}"
file = "{file}"
urls = []
licence = "none: random"
needed_by = []
random = true
archive = {archive}
"""


def write_weights(folder: Path) -> str:
    """Files of five models, and the rows of a table that name them."""
    from iqa_models import dbcnn, hyperiqa
    from iqa_models.lpips import CHANNELS
    from iqa_models.trunks import alexnet_layers
    from tests.iqa_models.test_foreign_files import write_dreamsim
    from tests.iqa_models.test_parity import vgg

    torch.manual_seed(0)
    folder.mkdir()
    files: dict[str, dict[str, Tensor]] = {
        "dbcnn_koniq": dbcnn.published().state_dict(),
        "hyperiqa_koniq": hyperiqa.published().state_dict(),
        "alexnet_features": {f"features.{k}": v for k, v in alexnet_layers().state_dict().items()},
        "lpips_alex_lin": {
            f"lin{index}.model.1.weight": torch.rand(1, count, 1, 1)
            for index, count in enumerate(CHANNELS["alex"])
        },
        "vgg16_features": {f"features.{k}": v for k, v in vgg().state_dict().items()},
        "dists_alpha_beta": {name: torch.rand(1, 1475, 1, 1) for name in ("alpha", "beta")},
    }
    for name, state in files.items():
        torch.save(state, folder / f"{name}.pth")
    release = "dreamsim_clip_vitb32"
    write_dreamsim(folder / release)
    rows = [ROW.format(name=name, file=f"{name}.pth", archive="false") for name in files]
    return "".join([*rows, ROW.format(name=release, file=f"{release}.zip", archive="true")])


@pytest.mark.slow
def test_five_models_finish_without_the_sixth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_rated(tmp_path, splits=("train", "train", "validation", "test"), side=64)
    rows = write_weights(tmp_path / "weights")
    (tmp_path / "artifacts.toml").write_text(rows, encoding="utf-8")
    models = ["dbcnn", "hyperiqa", "koncept", "lpips", "dists", "dreamsim"]
    profile = tmp_path / "published.toml"
    profile.write_text(PROFILE.format(models=models, data=data), encoding="utf-8")
    monkeypatch.setenv("BENCH_ARTIFACTS", str(tmp_path / "artifacts.toml"))
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    places = ["--results", str(tmp_path / "results"), "--reports", str(tmp_path / "reports")]
    how = ["--all", "--estimate-only", "--debug", "--device", "cpu"]

    assert main(["run", "--profile", str(profile), *how, *places]) == SOME_FAILED
    said = capsys.readouterr()
    assert "koncept is skipped: koncept, published edition: koncept512 not found" in said.err
    assert "5/6 cells ok" in said.out and "skipped: rated / koncept" in said.out
    (folder,) = (tmp_path / "results").iterdir()
    table = RunFolder.open(folder).table("evaluate")
    assert sorted(table["model"]) == sorted(OTHERS)
    assert set(table["status"]) <= {"ok", "abstained"} and set(table["weights"]) == {"random"}
    assert table["score"].notna().all() and table["score"].nunique() == len(OTHERS)
    (report,) = tmp_path.glob("reports/**/report.md")
    text = report.read_text(encoding="utf-8")
    assert "skipped: rated / koncept" in text and "koncept512 not found" in text
