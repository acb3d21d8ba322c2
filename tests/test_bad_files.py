"""Files, folders and archives that are not what they should be: one sentence each, exit code 2."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from bench.base.errors import BenchError
from bench.cli.app import main
from bench.datasets.base import ImageError
from bench.datasets.images import Decoding
from bench.datasets.table import open_table
from bench.fetch import download
from bench.fetch.download import DownloadError, unpack
from bench.plan.loading import parse_profile
from bench.records.folder import RunFolder
from tests.bench.fake_run import fake_plan, fake_run
from tests.bench.plans import whole_plan
from tests.test_bad_input import JSON, TABLE

ROOT = Path(__file__).resolve().parents[1]
FUZZ = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
EMBEDDED = (ROOT / "bench" / "profiles" / "embedded.toml").read_text()


# --- tables of scores ---


def scores(folder: Path, text: bytes, more: str = "") -> Path:
    (folder / "dataset.toml").write_text(TABLE + more)
    (folder / "scores.csv").write_bytes(text)
    return folder / "dataset.toml"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "expected the column 'image' once, found no header"),
        (b"\n\n", "expected the column 'image' once, found no header"),
        (b"image,mos\n", "expected rows of scores, found none"),
        (b"image,mos\na.png\n", "line 2: expected 2 values, as the header has, found 1"),
        (b"image,mos\na.png,2\nb.png,3,4\n", "line 3: expected 2 values, as the header has, found"),
        (b"image,mos,mos\na.png,1,5\n", "expected the column 'mos' once, found it twice"),
        (b"image,mos\na\0.png,2\n", "NUL"),
        (b"image,mos\n" + b"a" * 200_000 + b",2\n", "expected a readable CSV file"),
    ],
)
def test_tables_that_are_none(tmp_path: Path, text: bytes, words: str) -> None:
    with pytest.raises(BenchError, match="expected") as refusal:
        open_table(scores(tmp_path, text))
    assert str(refusal.value).startswith(str(tmp_path / "scores.csv"))
    assert words in str(refusal.value)


@FUZZ
@given(
    st.lists(
        st.sampled_from(["image", "mos", "part", ",", "\n", '"', "\0", "a.png", "2", "test", "\r"]),
        max_size=30,
    )
)
def test_any_table(tmp_path_factory: pytest.TempPathFactory, words: list[str]) -> None:
    file = scores(
        tmp_path_factory.mktemp("set"),
        b"image,mos,part\n" + "".join(words).encode(),
        'split_column = "part"\ngroup_column = "part"\n',
    )
    try:
        data = open_table(file)
        assert len(data.sha256) == 64
        for item in data.items("test"):
            with pytest.raises(ImageError):
                data.load(item)
    except BenchError as error:
        assert "expected" in str(error)


@pytest.mark.parametrize("name", ["folder", "a" * 300, "folder/below.png/x"])
def test_names_that_are_no_files(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    data = open_table(scores(tmp_path, f"image,mos\n{name},2\nb.png,3\n".encode()))
    assert len(data.sha256) == 64
    item = next(i for s in ("train", "test") for i in data.items(s) if i.image_id == name)  # type: ignore[arg-type]
    with pytest.raises(ImageError, match="expected"):
        data.load(item)


def test_a_folder_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="expected an image file, found a folder"):
        Decoding().read(tmp_path, name="x")


# --- run folders ---


def set_at(content: object, path: list[object], value: object) -> None:
    for step in path[:-1]:
        content = content[step]  # type: ignore[index]
    content[path[-1]] = value  # type: ignore[index]


PLACES: list[list[object]] = [
    ["profile"],
    ["cells"],
    ["cells", 0],
    ["cells", 0, "sigma"],
    ["cells", 0, "model"],
    ["tasks"],
    ["tasks", 0],
    ["tasks", 0, "images"],
    ["tasks", 0, "dataset"],
    ["tasks", 0, "sigma"],
    ["tasks", 0, "forward_passes"],
    ["data_sha256"],
    ["code_sha256"],
    ["device"],
    ["plugins"],
]


@FUZZ
@given(st.sampled_from(PLACES), JSON)
def test_a_plan_of_wrong_types(
    tmp_path_factory: pytest.TempPathFactory, place: list[object], value: object
) -> None:
    folder = tmp_path_factory.mktemp("run")
    content = json.loads(json.dumps(whole_plan().to_json()))
    set_at(content, place, value)
    (folder / "plan.json").write_text(json.dumps(content))
    try:
        plan = RunFolder.open(folder).plan()
        assert len(plan.hash) == 64
        assert all(isinstance(unit.key, str) for unit in plan.units)
        assert all(isinstance(str(cell), str) for cell in plan.cells)
    except BenchError as error:
        assert str(error).startswith(f"{folder}/plan.json: ")
        assert "\n" not in str(error)


NOTED = ["rates", "seconds", "stages", "cards", "weights_sha256", "started", "finished", "machine"]


@FUZZ
@given(st.sampled_from(NOTED), JSON)
def test_facts_of_wrong_types(
    tmp_path_factory: pytest.TempPathFactory, name: str, value: object
) -> None:
    from bench.analysis.source import from_folder
    from bench.report.parts.provenance import flatten
    from bench.review.causes import facts_of

    folder = tmp_path_factory.mktemp("run")
    (folder / "plan.json").write_text(json.dumps(whole_plan().to_json()))
    (folder / "run.json").write_text(json.dumps({name: value}))
    try:
        run = from_folder(RunFolder.open(folder))
        assert list(flatten(run.provenance))
        assert facts_of(RunFolder.open(folder), "a").provenance == {name: value}
    except BenchError as error:
        assert str(error).startswith(f"{folder}/run.json: {name}")
        assert "\n" not in str(error)


@pytest.mark.parametrize("verb", ["verify", "report", "compare", "merge"])
@pytest.mark.parametrize(
    ("column", "change", "words"),
    [
        ("score", "drop", "expected a column 'score', found none"),
        ("score", "text", "expected double in column 'score', found string"),
        ("curve_radius", "text", "in column 'curve_radius', found string"),
    ],
)
def test_tables_of_other_columns(
    tmp_path: Path,
    verb: str,
    column: str,
    change: str,
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = fake_run(tmp_path, fake_plan(samples=50))
    file = run.path / "evaluate.parquet"
    found = pq.read_table(file)
    place = found.column_names.index(column)
    changed = found.remove_column(place)
    if change == "text":
        changed = changed.add_column(place, column, pa.array(["x"] * len(found)))
    pq.write_table(changed, file)
    two = {"compare": [str(run.path)], "merge": [str(run.path), "--out", str(tmp_path / "o")]}
    assert main([verb, str(run.path), *two.get(verb, [])]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"Error: {file}: expected")
    assert words in shown
    assert shown.count("\n") == 1


# --- archives ---


def archive(folder: Path, size: int = 10) -> Path:
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("a/b.txt", b"x" * size)
    return folder / "a.zip"


def test_an_archive_that_grows_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = archive(tmp_path, 100_000)
    assert unpack(file, tmp_path / "small").is_dir()
    monkeypatch.setattr(download, "ROOM", 1000)
    with pytest.raises(DownloadError, match="found 100,000; nothing was unpacked"):
        unpack(file, tmp_path / "large")
    monkeypatch.setattr(download, "GROWTH", 1000)
    assert unpack(file, tmp_path / "large").is_dir()


def test_an_encrypted_archive(tmp_path: Path) -> None:
    file = archive(tmp_path)
    content = bytearray(file.read_bytes())
    content[6] |= 1  # of the member
    content[content.index(b"PK\x01\x02") + 8] |= 1  # of the directory
    file.write_bytes(content)
    with pytest.raises(DownloadError, match=r"without a password, found 'a/b\.txt' encrypted"):
        unpack(file, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"a.zip"}


@FUZZ
@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=6))
def test_a_damaged_archive(
    tmp_path_factory: pytest.TempPathFactory, place: int, new: bytes
) -> None:
    folder = tmp_path_factory.mktemp("zip")
    file = archive(folder, 1000)
    content = bytearray(file.read_bytes())
    start = place % len(content)
    content[start : start + len(new)] = new
    file.write_bytes(content)
    try:
        unpack(file, folder / "out")
    except DownloadError as error:
        assert str(error).startswith(str(file))
        assert not (folder / "out").exists()


# --- names, numbers and places on the command line ---


@pytest.mark.parametrize("name", ["..", "../a", "a/b", "", ".a", "a b", "a\nb", "-a"])
def test_profile_names_that_would_be_places(name: str) -> None:
    text = EMBEDDED.replace('name = "embedded"', f"name = {json.dumps(name)}")
    with pytest.raises(BenchError, match=r"^p\.toml: name: expected"):
        parse_profile(text, source="p.toml")


@pytest.mark.parametrize("sigma", ["1e300", "1e-300", "0", "-1"])
def test_noise_levels_out_of_reach(sigma: str) -> None:
    with pytest.raises(BenchError, match=r"^p\.toml: sigmas"):
        parse_profile(f"sigmas = [{sigma}]\n" + EMBEDDED.replace("sigmas", "x"), source="p.toml")


CERTIFY = ["certify", "{here}/image.png", "-m", "koncept", "-d", "ms", "--samples", "16"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["new-defense", "class"], "expected a name that is no word of Python, found 'class'"),
        (["new-defense", "none"], "expected a name that is no word of Python, found 'none'"),
        ([*CERTIFY, "-s", "1e300"], "sigma: expected a number from 1e-06 to 1e+06"),
        ([*CERTIFY, "-s", "1e-320"], "sigma: expected a number from 1e-06 to 1e+06"),
        (
            ["certify", "{here}", *CERTIFY[2:], "-s", "0.1"],
            "expected an image file, found a folder",
        ),
        (["run", "--all", "--profile", "{here}/up.toml"], "name: expected"),
    ],
)
def test_words_on_the_command_line(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((96, 96, 3), np.uint8)).save("image.png")
    Path("up.toml").write_text(EMBEDDED.replace('name = "embedded"', 'name = "../up"'))
    there = set(tmp_path.iterdir())
    assert main([word.format(here=tmp_path) for word in arguments]) == 2
    shown = capsys.readouterr()
    assert words in shown.err
    assert shown.err.count("\n") == 1
    assert set(tmp_path.iterdir()) == there


@pytest.mark.parametrize("below", ["", "/cache"])
def test_a_cache_that_is_a_file(
    below: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("BENCH_CACHE", f"{tmp_path}/file{below}")
    for index in range(9):
        (tmp_path / f"{index}.png").touch()
    file = scores(tmp_path, b"image,mos\n" + b"".join(b"%d.png,3\n" % i for i in range(9)))
    assert main(["plan", "--dataset", str(file), "--models", "koncept"]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"Error: {tmp_path}/file")
    assert "expected a folder, or nothing yet, found a file" in shown
    assert shown.count("\n") == 1
    assert (tmp_path / "file").read_text() == "mine"
