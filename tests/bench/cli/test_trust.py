"""The verbs verify, check-defense and certify, as the command line calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from bench.cli.app import main
from bench.cli.certify import certificate_table
from tests.bench.fake_run import fake_plan, fake_run

PLUGIN = """
from dataclasses import replace
from defenses.ms import DEFENSE as MS
DEFENSE = replace(MS, name="mine", card=replace(MS.card, norm="linf"))
"""


def test_verify_says_ok_and_where_it_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = fake_run(tmp_path, fake_plan())
    assert main(["verify", str(run.path)]) == 0
    assert "verified 48 certificates and 16 aggregates" in capsys.readouterr().out
    file = run.path / "evaluate.parquet"
    stored = pq.read_table(file)
    rows = stored.to_pylist()
    rows[0]["score"] += 1e-6
    pq.write_table(pa.Table.from_pylist(rows, schema=stored.schema), file)
    assert main(["verify", str(run.path)]) == 1
    assert "NOT verified" in capsys.readouterr().out


def test_verify_without_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(tmp_path)]) == 2
    assert "expected the folder of a run" in capsys.readouterr().err


def test_check_defense(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(PLUGIN)
    assert main(["check-defense", "mine", "--plugin", str(plugin)]) == 1
    out = capsys.readouterr().out
    assert "Gaussian noise gives l2 radii, not 'linf'" in out
    assert out.rstrip().endswith("mine fails 1 checks")
    assert main(["check-defense", "mss"]) == 2
    assert "did you mean 'ms'" in capsys.readouterr().err


def test_check_defense_shows_why_a_plugin_is_broken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text("import nonsense_that_is_not_installed\n")
    assert main(["check-defense", "mine", "--plugin", str(plugin)]) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err and "nonsense_that_is_not_installed" in err and str(plugin) in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sigma", "-1"], "sigma: expected a number from 1e-06 to 1e+06, found -1.0"),
        (["--sigma", "0.1", "--radius", "0"], "radius: expected a number above 0, found 0.0"),
        (["--sigma", "nan"], "sigma: expected a number from 1e-06 to 1e+06, found nan"),
    ],
)
def test_certify_refuses_numbers(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["certify", "x.png", "-m", "dbcnn", "-d", "ms", *options]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_certify_an_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "grey.png"
    Image.radial_gradient("L").resize((192, 192)).save(picture)
    common = [
        "certify",
        str(picture),
        "--device",
        "cpu",
        "--samples",
        "50",
        "-s",
        "0.1",
        "-d",
        "ms",
    ]
    assert main([*common, "-m", "dbcnn", "--json"]) == 0
    own = json.loads(capsys.readouterr().out)
    assert own["radius"] == pytest.approx(0.1) and own["r"] == 1.0
    assert own["lower"] <= own["score"] <= own["upper"]
    assert own["rigor"] == "proved" and own["failure"] == pytest.approx(0.002)
    assert main([*common, "-m", "dbcnn", "--json", "--radius", "0.05"]) == 0
    half = json.loads(capsys.readouterr().out)
    assert half["score"] == own["score"]
    assert own["lower"] <= half["lower"] and half["upper"] <= own["upper"]
    assert main([*common, "-m", "dbcnn", "--json", "--radius", "5"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "abstained"
    assert main([*common, "-m", "dbcnn", "-r", str(picture)]) == 2
    assert "judges an image alone" in capsys.readouterr().err
    assert main([*common, "-m", "lpips"]) == 2
    assert "expected a reference" in capsys.readouterr().err
    assert main([*common, "-m", "lpips", "-r", str(picture), "--json"]) == 0
    picture.write_bytes(b"no picture")
    assert main([*common, "-m", "dbcnn"]) == 2
    assert "something that is not an image" in capsys.readouterr().err


def test_table_rounds_outwards_and_keeps_brackets() -> None:
    from rich.console import Console

    result = {
        "image": "a.png",
        "model": "m",
        "defense": "d",
        "higher_is_better": True,
        "range": [0.0, 1.0],
        "score": 0.5,
        "undefended": None,
        "status": "ok",
        "lower": 0.123456,
        "upper": 0.123456,
        "radius": 0.1,
        "rms_levels": 0.1,
        "claim": "population",
        "rigor": "proved",
        "statement": "S lies in [lower, upper].",
        "assumptions": ["x"],
        "failure": 0.002,
        "samples": 10,
        "sigma": 0.1,
        "edition": "compact",
    }
    console = Console(width=120)
    with console.capture() as text:
        console.print(certificate_table(result))
    assert "[0.12345, 0.12346]" in text.get()
    assert "S lies in [lower, upper]." in text.get()
    assert "probability 0.002" in text.get()
    with console.capture() as text:
        console.print(certificate_table({**result, "rigor": "first-order", "failure": None}))
    assert "unknown, the radius is first-order" in text.get()
    assert "probability" not in text.get()
