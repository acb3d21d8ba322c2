"""Measuring: seconds, memory, operations, random-weight suites, resumption, scaled-up times."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from bench.analysis.timing import achieved_share, ratios
from bench.base.errors import BenchError
from bench.base.provenance import code_sha256
from bench.cli.app import main
from bench.cli.time import parse_size
from bench.execution import timing_suite
from bench.execution.timing_folder import earlier
from bench.execution.timing_points import Suite, TimingPoint
from bench.execution.timing_suite import Rig, run_suite
from bench.measure.clock import PeakMemory, count_flops, product_peak, stopwatch
from bench.measure.timed_defense import Timed, flop_columns, measured, precision_effect
from bench.measure.timed_norm import measured_norm
from bench.plan.loading import load_profile
from bench.plugins.registry import Registry
from bench.records.schema import TimeRecord
from defenses.base import Array
from defenses.motion import PASSES

CPU = torch.device("cpu")
SMALL = Suite(
    models=("dbcnn",),
    defenses=("ms", "fs-iqa"),
    edition="compact",
    size=(64, 64),
    samples=20,
    repeats=2,
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def rig(suite: Suite = SMALL) -> Rig:
    return Rig(suite, Registry.open(()), load_profile("embedded"))


def subject(defense: str = "ms", suite: Suite = SMALL) -> Timed:
    return rig(suite).subject(TimingPoint("dbcnn", defense, "table", *suite.size, suite.samples))


# --- primitives ---------------------------------------------------------------------------------


def test_stopwatch_returns_seconds_and_result() -> None:
    seconds, result = stopwatch(lambda: 7, CPU)
    assert seconds >= 0 and result == 7


def test_peak_memory_sees_what_was_released_again() -> None:
    # 64 MiB past the allocator, which would take what it kept of earlier tests.
    with PeakMemory(CPU) as memory, mmap.mmap(-1, 2**26) as block:
        for page in range(0, len(block), mmap.PAGESIZE):
            block[page] = 1
    assert memory.taken is None or memory.taken >= 60 * 2**20


def test_flops_of_a_convolution() -> None:
    layer = torch.nn.Conv2d(3, 8, 3, padding=1)
    counted = count_flops(lambda: layer(torch.zeros(2, 3, 10, 12)))
    assert counted == 2 * 2 * 8 * 10 * 12 * 3 * 9


def test_product_peak_is_positive() -> None:
    assert product_peak(CPU, size=64) > 0


@pytest.mark.parametrize("text", ["384", "384*512", "0x10", "x", "-1x5"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(BenchError, match="384x512"):
        parse_size(text)


# --- one subject --------------------------------------------------------------------------------


@pytest.mark.parametrize("defense", ["ms", "fs-iqa", "dms-iqa"])
def test_a_subject_is_measured(defense: str) -> None:
    columns = {"dataset": "random", "weights": "random", "peak_flops": 1e9}
    (record,) = measured([subject(defense)], warmup=1, repeats=3, **columns)
    assert len(record.seconds_certified) == len(record.seconds_uncertified) == 3
    assert record.weights == "random" and record.samples_measured == record.samples == 20
    assert record.flops_uncertified is not None and record.flops_forward is not None
    share = achieved_share(record)
    assert share is not None and share > 0
    features = defense == "fs-iqa"
    assert (record.spectral_products is not None) == features
    assert record.forward_passes_uncertified == (1 if features else 20)
    # Two passes a product, and a look at the features beside autograd.
    certified = 1 + 2 * (record.spectral_products or 0) + PASSES if features else 20
    assert record.forward_passes_certified == certified


def test_defences_of_one_smoother_are_timed_on_the_same_draws(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[str] = []
    whole = Timed.drawn

    def counted(self: Timed, repeat: int) -> tuple[float, Array]:
        drawn.append(f"{self.defended.defense.name} {repeat}")
        return float(repeat), whole(self, repeat)[1]

    monkeypatch.setattr(Timed, "drawn", counted)
    clock = "bench.measure.timed_defense.stopwatch"
    monkeypatch.setattr(clock, lambda work, device: (0.25, work()))
    names = ("rs-reg", "ms", "cert-reg")
    subjects = [subject(name) for name in names]
    found = measured(subjects, warmup=1, repeats=2, dataset="random", weights="random")
    assert drawn == ["rs-reg 0", "rs-reg 1", "rs-reg 2"]
    assert tuple(record.defense for record in found) == names
    for record in found:  # the geometry and the certificate, or the estimate, beside the draws
        assert record.seconds_certified == [1.5, 2.5]
        assert record.seconds_uncertified == [1.25, 2.25]
    mean, median, trimmed = (record.repeat_scores for record in found)
    assert len({tuple(mean), tuple(median), tuple(trimmed)}) == 3


def test_operations_of_draws_are_those_of_their_passes() -> None:
    counted = flop_columns(subject("ms").defended, 0)
    assert counted["flops_uncertified"] == 20 * counted["flops_forward"]
    with_norm = flop_columns(subject("fs-iqa").defended, 10)
    assert with_norm["flops_certified"] > with_norm["flops_uncertified"]


def test_scaled_up_times_are_named_and_linear(monkeypatch: pytest.MonkeyPatch) -> None:
    suite = replace(SMALL, samples=176, extrapolate=True)
    one = subject("ms", suite)
    assert one.samples_measured == 88 and subject("fs-iqa", suite).samples_measured == 176
    monkeypatch.setattr("bench.measure.timed_defense.stopwatch", lambda work, device: (1.0, work()))
    seconds, scores = one.drawn(0)
    assert 2.0 <= seconds < 2.1 and len(scores) == 176


def test_effect_of_reduced_precision_is_reported() -> None:
    one = subject("ms", replace(SMALL, precision="bf16", samples=100))
    found = precision_effect(one, torch.rand(2, 3, 64, 64))
    assert found.bound is not None and found.score >= 0
    same = precision_effect(subject("ms", replace(SMALL, samples=100)), torch.rand(2, 3, 64, 64))
    assert (same.score, same.bound) == (0.0, 0.0)


# --- suites -------------------------------------------------------------------------------------


def test_points_of_the_scaling_figure() -> None:
    points = rig(replace(SMALL, scaling=True, samples=160)).points()
    axes = [(p.defense, p.axis) for p in points]
    assert axes.count(("ms", "table")) == 1 and axes.count(("ms", "batch")) == 5
    assert ("fs-iqa", "batch") not in axes  # feature noise has no rows to choose
    assert not any(p.axis == "pixels" and p.height < 64 for p in points)  # the model's smallest
    assert [p.samples for p in points if p.axis == "samples"][:5] == [10, 20, 40, 80, 160]


def test_ratios_are_medians_of_one_run() -> None:
    def record(defense: str, plain: float, with_certificate: float) -> TimeRecord:
        return TimeRecord(
            status="ok",
            dataset="random",
            model="m",
            defense=defense,
            sigma=0.1,
            device="cpu",
            weights="random",
            height=1,
            width=1,
            samples=1,
            threads=1,
            seconds_certified=[with_certificate],
            seconds_uncertified=[9.0, plain, plain],
            seconds_forward=[2.0, 1.0, 3.0],
        )

    found = ratios([record("ms", 100.0, 100.0), record("fs-iqa", 2.2, 10.0)])
    assert found == {
        "m": {"ms / forward": 50.0, "fs-iqa / forward": 1.1, "ms / fs-iqa, certified": 10.0}
    }


@pytest.mark.parametrize("scaled", [False, True])
def test_the_norm_is_timed_both_ways(scaled: bool) -> None:
    suite = replace(SMALL, exact=True, extrapolate=scaled, defenses=("ms", "fs-iqa"))
    points = [point for point in rig(suite).points() if point.axis == "norm"]
    assert [point.defense for point in points] == ["fs-iqa"]  # input noise has no norm
    record = rig(suite).measure(points[0])
    assert record.status == "ok", record.reason
    assert len(record.seconds_lanczos) == suite.repeats and len(record.seconds_exact) == 1
    assert record.exact_products == 512
    assert record.exact_products_measured == (16 if scaled else 512)
    assert record.bound_over_estimate is not None and 1.0 <= record.bound_over_estimate < 1.05
    if scaled:
        assert record.bound_over_exact is None
    else:
        assert record.bound_over_exact is not None and 1.0 <= record.bound_over_exact < 1.05
    lanczos = pd.Series(record.seconds_lanczos).median()
    assert ratios([record])["dbcnn"]["exact norm / lanczos"] == record.seconds_exact[0] / lanczos


def test_input_noise_has_no_norm_to_time() -> None:
    with pytest.raises(ValueError, match="adds no noise to features"):
        measured_norm(subject("ms"), warmup=0, repeats=1, vjps=None)


def test_a_failing_point_is_a_record_with_its_reason() -> None:
    record = rig().measure(TimingPoint("dbcnn", "ms", "table", 8, 8, 4))
    assert record.status == "failed" and "64" in (record.reason or "")


COMMAND = [
    "time",
    "--models",
    "dbcnn",
    "--defenses",
    "ms,fs-iqa",
    "--size",
    "64x64",
    "--samples",
    "8",
    "--repeats",
    "1",
    "--device",
    "cpu",
]


def test_the_verb_keeps_records_and_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = timing_suite.Rig.measure
    calls: list[str] = []

    def interrupted(self: Rig, point: TimingPoint) -> TimeRecord:
        calls.append(point.defense)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(self, point)

    monkeypatch.setattr(timing_suite.Rig, "measure", interrupted)
    out = ["--out", str(tmp_path / "mine"), "--reports", str(tmp_path / "reports")]
    assert main([*COMMAND, *out]) == 130
    assert len(earlier(tmp_path / "mine", code=code_sha256())) == 1
    assert earlier(tmp_path / "mine", code="0" * 64) == {}
    assert main([*COMMAND, *out]) == 0
    assert calls == ["ms", "fs-iqa", "fs-iqa"]
    assert main([*COMMAND, *out]) == 0 and len(calls) == 3
    rows = pd.read_parquet(tmp_path / "mine" / "time.parquet")
    assert set(rows["defense"]) == {"ms", "fs-iqa"} and set(rows["weights"]) == {"random"}
    assert set(rows["code_sha256"]) == {code_sha256()}
    noted = json.loads((tmp_path / "mine" / "run.json").read_text())
    assert "ms / fs-iqa, certified" in noted["ratios"]["dbcnn"]
    assert len(json.loads((tmp_path / "mine" / "time.json").read_text())) == 2
    assert "times as fast as MS" in capsys.readouterr().out
    report = tmp_path / "reports" / "mine" / "report.md"
    assert "Timing on random weights" in report.read_text("utf-8")
    check = ["report", "--check", str(tmp_path / "mine"), *out[2:]]
    assert main(check) == 0
    report.write_text(report.read_text("utf-8").replace("DBCNN", "KonCept"), encoding="utf-8")
    assert main(check) == 1
    assert "report.md: differs" in capsys.readouterr().out
    assert main(["report", str(tmp_path / "mine"), *out[2:]]) == 0 and main(check) == 0
    (tmp_path / "mine" / "time.json").write_text("[{}]")
    assert main(check) == 2
    assert "expected the records of `bench time`" in capsys.readouterr().err


def test_what_other_code_measured_is_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def counted(self: Rig, point: TimingPoint) -> TimeRecord:
        calls.append(point.defense)
        return whole(self, point)

    whole = timing_suite.Rig._measure
    monkeypatch.setattr(timing_suite.Rig, "_measure", counted)
    suite = replace(SMALL, defenses=("ms",), samples=2, repeats=1)
    for code, times in (("a" * 64, 1), ("a" * 64, 1), ("b" * 64, 2)):
        records = run_suite(rig(replace(suite, code=code)), tmp_path, say=lambda text: None)
        assert len(calls) == times
        assert [record.code_sha256 for record in records] == [code]
        (row,) = json.loads((tmp_path / "time.json").read_text())
        facts = json.loads((tmp_path / "run.json").read_text())
        assert row["code_sha256"] == facts["code_sha256"] == code


def test_a_changed_plugin_is_timed_again(tmp_path: Path) -> None:
    """What an untouched one, or a plugin that is not timed, does not ask for."""
    used, idle = tmp_path / "mine.py", tmp_path / "idle.py"
    text = "from dataclasses import replace\nfrom defenses.ms import DEFENSE as MS\n"
    used.write_text(text + "DEFENSE = replace(MS, name='mine')\n")
    idle.write_text(text + "DEFENSE = replace(MS, name='idle')\n")
    out = ["--out", str(tmp_path / "times"), "--reports", str(tmp_path / "reports")]
    words = ["--plugin", str(used), "--plugin", str(idle), "--defenses", "mine", *out]

    def measured_by() -> str:
        assert main([*COMMAND, *words]) == 0
        (row,) = json.loads((tmp_path / "times" / "time.json").read_text())
        facts = json.loads((tmp_path / "times" / "run.json").read_text())
        assert facts["suite"]["plugins"].keys() == {"mine.py"}
        assert facts["code_sha256"] == row["code_sha256"]
        return str(row["code_sha256"])

    first = measured_by()
    idle.write_text(idle.read_text() + "# changed\n")
    assert measured_by() == first != code_sha256()
    assert len(list((tmp_path / "times" / "journal").iterdir())) == 1
    used.write_text(used.read_text() + "# changed\n")
    assert measured_by() != first
    assert len(list((tmp_path / "times" / "journal").iterdir())) == 2


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--edition", "other"),
        ("--precision", "fp8"),
        ("--size", "big"),
        ("--models", "nobody"),
        ("--defenses", "nobody"),
    ],
)
def test_bad_options_are_one_sentence(
    option: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*COMMAND, "--out", str(tmp_path), option, value]) == 2
    assert capsys.readouterr().err.startswith("Error: ")
