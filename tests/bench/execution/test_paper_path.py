"""The paper profile from download to report: a server on the loopback, official layouts in
miniature, random weights that are marked as such, and a report that refuses their scores."""

from __future__ import annotations

import csv
import functools
import re
import shutil
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.base.errors import SOME_FAILED
from bench.cli.app import OK, main
from bench.datasets.koniq10k import LABELS, SETS
from bench.plan.units import STAGES
from bench.records.folder import RunFolder
from iqa_models.weights import file_sha256

SIZE = (80, 64)
"""Width and height: the smallest that both models take, so that minutes become seconds."""
MODELS = ("dbcnn", "lpips")
SMALL = {
    "samples": "32",
    "feature_samples": "32",
    "epochs": "1",
    "batch": "4",
    "repeats": "1",
    "fresh_samples": "32",
    "restarts": "0",
    "width": "4",
}
FEWER = {
    "attack": 'models = ["dbcnn"]\nsteps = 1\nepsilons = [0.05]\nfaint = []\nexpectation = 2\n'
    "pictures = 1",
    "audit": "looks = [32]\nsteps = 1\nexpectation = 2\nfeature_expectation = 2\nscales = [1.0]",
    "fit.denoiser-iqa": "score_epochs = 1",
    "time": "samples = 4",
}


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder without a word."""

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


def small_paper_profile(path: Path) -> Path:
    """The shipped profile with tiny numbers: the same sections, data sets, defences, edition."""
    text = (resources.files("bench") / "profiles" / "paper.toml").read_text(encoding="utf-8")
    for key, value in SMALL.items():
        text = re.sub(rf"^{key} = \S+", f"{key} = {value}", text, flags=re.MULTILINE)
    for section, lines in FEWER.items():
        text = re.sub(rf"^(\[{section}\].*)$", rf"\1\n{lines}", text, flags=re.MULTILINE)
    for old, new in (
        ("images = 2000", "images = 2"),
        ("images = 100\n", "images = 2\n"),
        ("images = 10\n", "images = 1\n"),
        ("depth = 17", "depth = 2"),
    ):
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
    return path


# --- what the authors publish, with random content -----------------------------------------------


def weights(folder: Path) -> None:
    """Three checkpoints in the published layouts, values as PyTorch draws them."""
    from iqa_models.dbcnn import published
    from iqa_models.lpips import CHANNELS
    from iqa_models.trunks import alexnet_layers

    torch.manual_seed(0)
    dbcnn = published().state_dict()
    dbcnn["fc.weight"] *= 10  # else every image has the same score
    dbcnn["fc.bias"].fill_(0.5)
    alexnet = {f"features.{key}": value for key, value in alexnet_layers().state_dict().items()}
    linear = {
        f"lin{index}.model.1.weight": torch.rand(1, count, 1, 1)
        for index, count in enumerate(CHANNELS["alex"])
    }
    torch.save({"params": dbcnn}, folder / "dbcnn.pth")
    torch.save(alexnet | {"classifier.1.bias": torch.zeros(3)}, folder / "alexnet.pth")
    torch.save(linear, folder / "lpips.pth")


def picture(path: Path, seed: int, spread: float) -> None:
    pixels = 128 + spread * np.random.default_rng(seed).standard_normal((SIZE[1], SIZE[0], 3))
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


def koniq10k(folder: Path) -> None:
    """Both official archives: five grades, their counts and mean."""
    images = folder / "k" / "512x384"
    images.mkdir(parents=True)
    with (folder / LABELS).open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["image_name", *(f"c{i}" for i in range(1, 6)), "c_total", "MOS", "SD"])
        for index in range(10):
            picture(images / f"{index}.jpg", index, 60 - 5 * index)
            counts = [5 + (grade * index) % 7 for grade in range(5)]
            mean = sum(g * n for g, n in enumerate(counts, start=1)) / sum(counts)
            table.writerow([f"{index}.jpg", *counts, sum(counts), f"{mean:.6f}", "0.5"])
    sets = ["training"] * 6 + ["validation"] * 2 + ["test"] * 2
    rows = "".join(f"{index}.jpg,{10 * index},{word}\n" for index, word in enumerate(sets))
    (folder / SETS).write_text(f"image_name,MOS,set\n{rows}", encoding="utf-8")
    shutil.make_archive(str(folder / "koniq"), "zip", folder / "k")
    with zipfile.ZipFile(folder / "scores.zip", "w") as packed:
        packed.write(folder / LABELS, LABELS)


def kadid10k(folder: Path) -> None:
    """The archive of the mirror: five references, one distortion at two levels."""
    images = folder / "f" / "kadid10k" / "images"
    images.mkdir(parents=True)
    rows = ["dist_img,ref_img,dmos,var"]
    for number in range(1, 6):
        picture(images / f"I{number:02d}.png", number, 20.0)
        for level in (1, 5):
            name = f"I{number:02d}_10_{level:02d}.png"
            picture(images / name, number, 20.0 + 8 * level)
            rows.append(f"{name},I{number:02d}.png,{4.9 - 0.7 * level - 0.01 * number:.2f},0.5")
    (images.parent / "dmos.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    with tarfile.open(folder / "kadid.tgz", "w:gz") as packed:
        packed.add(images.parent, "kadid10k")


ARTIFACTS = (
    # name, file as published, file on the server, who needs it, what it is
    ("dbcnn_koniq", "DBCNN_KonIQ10k.pth", "dbcnn.pth", "dbcnn", "random = true"),
    ("alexnet_features", "alexnet-owt.pth", "alexnet.pth", "lpips", "random = true"),
    ("lpips_alex_lin", "LPIPS_v0.1_alex.pth", "lpips.pth", "lpips", "random = true"),
    ("koniq10k_512x384", "koniq10k_512x384.zip", "koniq.zip", "koniq10k", "archive = true"),
    ("koniq10k_scores", "koniq10k_scores.zip", "scores.zip", "koniq10k", "archive = true"),
    ("koniq10k_sets", SETS, SETS, "koniq10k", ""),
    (
        "kadid10k",
        "kadid10k.zip",
        "gone.zip",
        "kadid10k",
        "archive = true\nfallback = 'kadid10k_mirror'",
    ),
    ("kadid10k_mirror", "kadid10k.tgz", "kadid.tgz", "", "archive = true"),
)
"""KADID-10k's own host is down: its mirror has another kind of archive."""


def hash_of(file: Path) -> str:
    """The line of a row for checkpoints; archives and tables have no published hash."""
    return f'sha256 = "{file_sha256(file)}"\n' if file.suffix == ".pth" else ""


@pytest.fixture
def published_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """All files on a server; yields the paths that were asked for."""
    folder = tmp_path / "server"
    folder.mkdir()
    weights(folder)
    koniq10k(folder)
    kadid10k(folder)
    asked: list[str] = []

    class Noting(Quiet):
        def do_GET(self) -> None:
            asked.append(self.path[1:])
            super().do_GET()

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Noting, directory=str(folder)))
    address = f"http://127.0.0.1:{server.server_address[1]}"
    rows = "".join(
        f'[[artifact]]\nname = "{name}"\nfile = "{file}"\nurls = ["{address}/{place}"]\n'
        f'licence = "none: random"\nneeded_by = ["{user}"]\n{hash_of(folder / place)}{kind}\n'
        for name, file, place, user, kind in ARTIFACTS
    )
    (tmp_path / "artifacts.toml").write_text(rows, encoding="utf-8")
    monkeypatch.setenv("BENCH_ARTIFACTS", str(tmp_path / "artifacts.toml"))
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    for name in ("BENCH_WEIGHTS", "BENCH_DATA"):
        monkeypatch.delenv(name, raising=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield asked
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.slow
def test_the_whole_path_and_its_refusal(
    published_files: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bench.execution.options.cores", lambda: 1)  # no quarrel
    profile = small_paper_profile(tmp_path / "paper.toml")
    chosen = [
        "--profile",
        str(profile),
        "--models",
        ",".join((*MODELS, "koncept")),
        "--sigmas",
        "0.25",
        "--device",
        "cpu",
        "--debug",
        "--results",
        str(tmp_path / "results"),
    ]

    assert main(["run", *chosen, "--limit", "2"]) != OK
    assert "python -m bench prefetch" in capsys.readouterr().err  # none of them is there
    fetch = ["prefetch", "--models", ",".join(MODELS), "--datasets", "koniq10k,kadid10k"]
    assert main(fetch) == OK
    assert sorted(published_files) == sorted(place for _, _, place, _, _ in ARTIFACTS)

    assert main(["fit", *chosen, "--limit", "2", "--strict"]) != OK
    assert "koncept512 not found in the cache" in capsys.readouterr().err
    said = incomplete(["fit", *chosen, "--limit", "2"], capsys)
    assert "skipped: koniq10k / koncept" in said
    (folder,) = (tmp_path / "results").iterdir()
    trained = RunFolder.open(folder).table("fit")
    assert sorted(set(trained["part"])) == ["denoiser", "denoiser-iqa", "ftn"]
    assert set(trained["status"]) == {"ok"}
    assert not list(tmp_path.glob("reports*"))

    reports = tmp_path / "reports"
    said = incomplete(["run", *chosen, "--limit", "2", "--reports", str(reports)], capsys)
    assert "12/18 cells ok" in said
    assert re.search(
        r"skipped: koniq10k / koncept .* and 5 more cells .*koncept512 not found", said
    )
    assert "stages not asked for" not in said
    assert sorted(published_files) == sorted(place for _, _, place, _, _ in ARTIFACTS)

    run = RunFolder.open(folder)
    for stage in STAGES[2:]:
        table = run.table(stage)
        assert set(table["status"]) <= {"ok", "abstained"}, stage
        assert len(table)
    assert set(run.table("evaluate")["weights"]) == {"random"}
    assert set(run.table("time")["weights"]) == {"random"}
    titles = set(run.table("calibration")["model_title"])
    assert titles == {"DBCNN (random weights)", "LPIPS (random weights)"}

    (report,) = reports.rglob("report.md")
    text = report.read_text(encoding="utf-8")
    assert "DBCNN, LPIPS have random weights: their scores are no result" in text
    assert "SRCC" not in text
    assert "## Accuracy" not in text
    assert "authors' weights" not in text
    assert "12/18 cells ok" in text
    assert "skipped: koniq10k / koncept" in text
    skipped = {u.model for u in run.plan().units if run.outcomes(u.stage)[u.key].absent}
    assert skipped == {"koncept"}


def incomplete(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a verb prints that does all it can, and says what it could not."""
    code = main(arguments)
    said = capsys.readouterr()
    assert code == SOME_FAILED, said.err
    assert "koncept is skipped: koncept, published edition: koncept512 not found" in said.err
    return said.out


# --- the table of artifacts -------------------------------------------------------------------


def test_a_table_of_ones_own_replaces_rows(published_files: list[str]) -> None:
    from iqa_models.artifacts import artifact, artifacts

    assert artifact("dbcnn_koniq").random
    assert artifact("dbcnn_koniq").urls[0].startswith("http://127.0.0.1")
    assert not artifact("dists_alpha_beta").random
    assert len(artifacts()) > len(ARTIFACTS)


@pytest.mark.parametrize(
    "spoil", [lambda p: p.unlink(), lambda p: p.write_text("a ="), lambda p: p.write_text("a = 1")]
)
def test_a_table_with_a_mistake(
    spoil: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from iqa_models.artifacts import artifacts
    from iqa_models.weights import WeightsError

    path = tmp_path / "own.toml"
    path.write_text("", encoding="utf-8")
    spoil(path)
    monkeypatch.setenv("BENCH_ARTIFACTS", str(path))
    with pytest.raises(WeightsError, match=r"BENCH_ARTIFACTS=.*expected a table like"):
        artifacts()
