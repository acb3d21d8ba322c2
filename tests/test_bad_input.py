"""Bad input at every door: one clear sentence, nothing lost, nothing executed from a data file.

A door may accept what it is given or refuse it with its own error; any other exception is a fault.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from bench.base.errors import BenchError
from bench.cli.app import main
from bench.datasets.base import ImageError
from bench.datasets.images import Decoding
from bench.datasets.table import open_table
from bench.plan.loading import parse_profile
from bench.plugins.registry import Registry
from bench.records.folder import RunFolder
from bench.records.journal import Entry, parse_line, read_file
from defenses.certify import CertificateError, sorted_draws
from iqa_models.base import ModelInputError
from iqa_models.weights import WeightsError, load_into, load_state
from tests.bench.fake_workshop import record
from tests.bench.plans import whole_plan

ROOT = Path(__file__).resolve().parents[1]
FUZZ = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
EMBEDDED = (ROOT / "bench" / "profiles" / "embedded.toml").read_bytes()
EDITS = st.lists(
    st.tuples(st.integers(0, 10**6), st.integers(0, 12), st.binary(max_size=8)),
    min_size=1,
    max_size=4,
)
"""Where, how many bytes go, and what comes in their place."""


def edited(text: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    """A file after some accidents."""
    for place, gone, new in edits:
        start = place % (len(text) + 1)
        text = text[:start] + new + text[start + gone :]
    return text


def is_a_sentence(error: Exception) -> bool:
    return "expected" in str(error) and len(str(error)) < 2000


# --- profiles, plans and journals ---


@FUZZ
@given(EDITS)
def test_a_damaged_profile(edits: list[tuple[int, int, bytes]]) -> None:
    try:
        parse_profile(edited(EMBEDDED, edits).decode("utf-8", "replace"), source="p.toml")
    except BenchError as error:
        assert str(error).startswith("p.toml: ")
        assert is_a_sentence(error)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@FUZZ
@given(st.sampled_from(["certificate", "data", "sigmas", "models", "time", "fit", "seed"]), JSON)
def test_settings_of_the_wrong_kind(setting: str, value: object) -> None:
    from bench.plan.loading import load_profile, validated

    content = {**load_profile("embedded").model_dump(), setting: value}
    try:
        validated(content, source="p.toml")
    except BenchError as error:
        assert str(error).startswith("p.toml: ")


LINES = [
    Entry.of(unit.key, [record(unit, value=0.5)]).line()
    for unit in whole_plan().units[:: len(whole_plan().units) // 8]
]


@FUZZ
@given(st.sampled_from(LINES), EDITS)
def test_a_damaged_journal_line(line: bytes, edits: list[tuple[int, int, bytes]]) -> None:
    try:
        parse_line(edited(line, edits), path=Path("journal/x.jsonl"), number=3)
    except BenchError as error:
        assert str(error).startswith("journal/x.jsonl, line 3: expected")


@FUZZ
@given(EDITS)
def test_a_damaged_journal_is_not_changed(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int, bytes]]
) -> None:
    file = tmp_path_factory.mktemp("journal") / "attack-x.jsonl"
    file.write_bytes(text := edited(b"".join(LINES), edits))
    try:
        list(read_file(file))
    except BenchError as error:
        assert "attack-x.jsonl, line " in str(error)
    assert file.read_bytes() == text


@FUZZ
@given(JSON)
def test_a_damaged_plan(tmp_path_factory: pytest.TempPathFactory, content: object) -> None:
    folder = tmp_path_factory.mktemp("run")
    plan = whole_plan().to_json()
    for key in ("cells", "tasks", "profile"):
        (folder / "plan.json").write_text(json.dumps({**plan, key: content}))
        try:
            RunFolder.open(folder).plan()
        except BenchError as error:
            assert "plan.json: " in str(error) and "expected" in str(error)


@pytest.mark.parametrize("keep", [0, 3, 100, -1])
def test_a_damaged_table_of_results(tmp_path: Path, keep: int) -> None:
    from tests.bench.fake_run import fake_plan, fake_run

    run = fake_run(tmp_path, fake_plan(samples=50))
    file = run.path / "evaluate.parquet"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(BenchError, match=r"evaluate\.parquet: expected"):
        run.table("evaluate")


# --- data sets ---

TABLE = """\
name = "mine"
title = "Mine"
licence = "none"
citation = "none"
csv = "scores.csv"
image_column = "image"
mos_columns = ["mos"]
higher_is_better = true
range = [1, 5]
"""
CSV = b"image,mos\na.png,1.5\nb.png,4\nc.png,3.25\nd.png,2\n"


@FUZZ
@given(EDITS)
def test_a_damaged_csv(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int, bytes]]
) -> None:
    folder = tmp_path_factory.mktemp("set")
    (folder / "dataset.toml").write_text(TABLE)
    (folder / "scores.csv").write_bytes(edited(CSV, edits))
    try:
        data = open_table(folder / "dataset.toml")
        data.items("test")
    except BenchError as error:
        assert is_a_sentence(error)


@pytest.mark.parametrize("line", ["a.png,nan", "a.png,1e9", "a.png,", "a.png,three"])
def test_rows_that_lead_astray(tmp_path: Path, line: str) -> None:
    (tmp_path / "dataset.toml").write_text(TABLE)
    (tmp_path / "scores.csv").write_text(f"image,mos\n{line}\nb.png,2\n")
    with pytest.raises(BenchError, match="expected"):
        open_table(tmp_path / "dataset.toml")


@FUZZ
@given(EDITS)
def test_a_damaged_description(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int, bytes]]
) -> None:
    folder = tmp_path_factory.mktemp("set")
    (folder / "dataset.toml").write_bytes(edited(TABLE.encode(), edits))
    (folder / "scores.csv").write_bytes(CSV)
    try:
        open_table(folder / "dataset.toml")
    except BenchError as error:
        assert is_a_sentence(error)


@pytest.mark.parametrize("text", ["[" * 5000, "a = " + "[" * 5000, "a = " + "{b = " * 3000])
def test_bottomless_toml(tmp_path: Path, text: str) -> None:
    file = tmp_path / "dataset.toml"
    file.write_text(text)
    with pytest.raises(BenchError, match="expected TOML"):
        open_table(file)
    with pytest.raises(BenchError, match="expected TOML"):
        parse_profile(text, source="p.toml")


# --- images ---


def saved(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def colours(mode: str = "RGB", size: tuple[int, int] = (8, 6)) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def png_header(width: int, height: int) -> bytes:
    """A PNG that only announces its size: 57 bytes, no pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    size = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b""))
    return b"\x89PNG\r\n\x1a\n" + size + pixels + chunk(b"IEND", b"")


def half_transparent() -> Image.Image:
    picture = colours("RGBA")
    picture.putpixel((0, 0), (1, 2, 3, 128))
    return picture


GRAY16 = Image.fromarray(np.arange(48, dtype=np.uint16).reshape(6, 8) * 1000)
REFUSED: dict[str, tuple[bytes, str]] = {
    "truncated": (saved(colours(size=(64, 64)))[:900], "a whole image file"),
    "empty": (b"", "an image file"),
    "text": (b"<html>404</html>", "an image file"),
    "CMYK": (saved(colours("CMYK"), "JPEG"), "found Pillow mode CMYK"),
    "16 bit": (saved(GRAY16), "found Pillow mode I;16"),
    "float": (saved(colours("F"), "TIFF"), "found Pillow mode F"),
    "alpha": (saved(half_transparent()), "found a partly transparent one"),
    "1x1": (saved(colours(size=(1, 1))), "at least 2 x 2 pixels"),
    "20000x20000": (png_header(20000, 20000), "at most 64,000,000 pixels"),
    "bomb": (png_header(2**31 - 1, 2**31 - 1), "at most 64,000,000 pixels"),
    "no pixels": (png_header(64, 64), "a whole image file"),
    "zero": (png_header(0, 0), "expected"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_images_that_are_refused(tmp_path: Path, name: str) -> None:
    content, words = REFUSED[name]
    file = tmp_path / "image.png"
    file.write_bytes(content)
    with pytest.raises(ImageError) as refusal:
        Decoding().read(file, name="image.png")
    assert str(refusal.value).startswith("image.png: expected ")
    assert words in str(refusal.value)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "RGBA"])
def test_images_that_are_taken(tmp_path: Path, mode: str) -> None:
    file = tmp_path / "image.png"
    file.write_bytes(saved(colours(mode)))
    planes = Decoding().read(file, name="image.png")
    assert (planes.shape, planes.dtype) == ((3, 6, 8), np.float32)
    assert 0.0 <= planes.min() <= planes.max() <= 1.0


@pytest.mark.parametrize(("asked", "shape"), [(False, (3, 6, 8)), (True, (3, 8, 6))])
def test_exif_turns_only_where_asked(tmp_path: Path, asked: bool, shape: tuple[int, ...]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = tmp_path / "image.jpg"
    file.write_bytes(saved(colours(), "JPEG", exif=exif))
    assert Decoding(exif_orientation=asked).read(file, name="i").shape == shape


@FUZZ
@given(EDITS, st.sampled_from(["PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP"]))
def test_damaged_images(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int, bytes]], kind: str
) -> None:
    file = tmp_path_factory.mktemp("images") / "image"
    file.write_bytes(edited(saved(colours(), kind), edits))
    try:
        planes = Decoding().read(file, name="image")
        assert np.isfinite(planes).all()
    except ImageError as error:
        assert str(error).startswith("image: expected ")


# --- tensors ---


@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (1, 1, 96, 96), (3, 96, 96), (1, 4, 96, 96)])
def test_tensors_of_the_wrong_shape(shape: tuple[int, ...]) -> None:
    from iqa_models.koncept import compact

    with pytest.raises(ModelInputError, match="expects a float tensor"):
        compact().bind()(torch.zeros(shape))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_tensors_that_are_no_numbers_get_no_certificate(value: float) -> None:
    from iqa_models.koncept import compact

    image = torch.full((1, 3, 96, 96), 0.5)
    image[0, 0, 0, 0] = value
    scores = compact().bind()(image)
    with pytest.raises(CertificateError, match="not finite"):
        sorted_draws(torch.where(torch.isfinite(scores), torch.nan, scores).tolist())


# --- weights ---


class Bomb:
    """What a hostile checkpoint would do to who unpickles it."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, (f"touch {self.trace}",))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_bomb_does_not_go_off(tmp_path: Path, zipped: bool) -> None:
    file, trace = tmp_path / "weights.pth", tmp_path / "exploded"
    if zipped:
        torch.save({"weight": Bomb(trace)}, file)
    else:
        file.write_bytes(pickle.dumps({"weight": Bomb(trace)}))
    with pytest.raises(WeightsError, match=r"weights\.pth"):
        load_state(file)
    assert not trace.exists()


@FUZZ
@given(EDITS, st.sampled_from([".pth", ".safetensors"]))
def test_damaged_weights(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int, bytes]], suffix: str
) -> None:
    from iqa_models.weights import save_state

    file = tmp_path_factory.mktemp("weights") / f"weights{suffix}"
    layer = nn.Linear(3, 2)
    if suffix == ".pth":
        torch.save(layer.state_dict(), file)
    else:
        save_state(layer, file)
    file.write_bytes(edited(file.read_bytes(), edits))
    try:
        load_into(layer, load_state(file), source=file.name)
    except WeightsError as error:
        assert file.name in str(error)


def test_weights_of_another_architecture(tmp_path: Path) -> None:
    from iqa_models.weights import save_state

    save_state(nn.Conv2d(3, 2, 1), tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=r"w\.safetensors does not fit Linear: wrong shape"):
        load_into(nn.Linear(3, 2), load_state(tmp_path / "w.safetensors"), source="w.safetensors")


# --- plugins ---

METADATA = """
from dataclasses import replace
from defenses.ms import DEFENSE as MS
DEFENSE = replace(MS, name={name!r})
"""


@pytest.mark.parametrize("name", [None, 3, "", "a,b", "a|b", "../a", "A", "a b", "-a", ["a"]])
def test_names_that_would_break_keys_and_paths(tmp_path: Path, name: object) -> None:
    file = tmp_path / "plugin.py"
    file.write_text(METADATA.format(name=name))
    (broken,) = Registry.open([file], kinds=()).broken
    assert "a defense's name is lower-case letters" in broken.error


@pytest.mark.parametrize(
    "text",
    [
        "import sys; sys.exit(0)",
        "raise SystemExit('bye')",
        "DEFENSE = 3",
        "DEFENSES = 3",
        "MODEL = None",
        "DEFENSES = [1]",
        "def __getattr__(name): raise KeyError(name)",
    ],
)
def test_plugins_that_misbehave(tmp_path: Path, text: str) -> None:
    file = tmp_path / "plugin.py"
    file.write_text(text)
    registry = Registry.open([file], kinds=())
    assert [broken.name for broken in registry.broken] == ["plugin"]
    assert "Error" in registry.broken[0].traceback or "SystemExit" in registry.broken[0].traceback


@settings(FUZZ, max_examples=30)
@given(st.binary(min_size=1, max_size=12).filter(lambda text: max(text) > 127))
def test_plugins_that_are_no_text(tmp_path_factory: pytest.TempPathFactory, text: bytes) -> None:
    file = tmp_path_factory.mktemp("plugins") / "plugin.py"
    file.write_bytes(text)
    assert len(Registry.open([file], kinds=()).broken) == 1


# --- the command line ---


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--all", "--backend", "spark"], "unknown backend 'spark'"),
        (["run", "--all", "--scheduler", "tcp://x:1"], "--scheduler: expected"),
        (["new-defense", "No Name"], "lower-case letters"),
        (["check-defense", "mss"], "did you mean 'ms'"),
        (["verify", "no/such/run"], "no/such/run: expected"),
        (["certify", "none.png", "-m", "koncept", "-d", "ms", "-s", "nan"], "sigma: expected"),
    ],
)
def test_one_sentence_and_exit_code_2(
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert words in shown.err
    assert shown.err.count("\n") == 1
    assert not list(tmp_path.iterdir())
