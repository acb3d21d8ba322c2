"""Runs of several machines become the run that one machine would have made, or are refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path
from typing import Any

import pytest

from bench.base.errors import BenchError
from bench.cli.app import main
from bench.plan.units import STAGES
from bench.records.folder import RunFolder
from bench.records.parquet import write_table, write_units
from bench.records.schema import CalibrationRecord, FitRecord
from bench.review.entries import entries_of
from bench.review.join import Run, merged
from bench.review.merge import merge
from bench.review.verify import verify
from tests.bench.fake_run import DEFENSES, fake_plan, fake_run
from tests.bench.selections import edit, run_of, selected, tables

HALVES = {
    "models": (("dbcnn",), ("lpips",)),
    "defenses": (("rs-reg", "ms"), ("cert-reg", "fs-iqa")),
    "sigmas": ((0.1,), (0.5,)),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run_of(tmp_path_factory.mktemp("whole"))


def partial(run: RunFolder, tmp_path: Path, name: str, images: Sequence[int]) -> RunFolder:
    """The same plan where only some images are done: the stage is still a journal."""
    plan = run.plan()
    part = RunFolder.create(tmp_path / name, plan)
    entries = entries_of(run, plan)
    for stage in STAGES:
        chosen = [u for u in plan.of_stage(stage) if any(f"photo{i}/" in u.key for i in images)]
        part.journal.mkdir(exist_ok=True)
        (part.journal / f"{stage}-{name}.jsonl").write_bytes(
            b"".join(entries[unit.key].line() for unit in chosen)
        )
    return part


# --- complete runs --------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", HALVES)
def test_halves_make_the_whole(whole: RunFolder, tmp_path: Path, axis: str) -> None:
    runs = [run_of(tmp_path / str(i), **{axis: HALVES[axis][i]}) for i in (0, 1)]
    out = merge([run.path for run in reversed(runs)], tmp_path / "out")
    assert out.plan() == whole.plan() and out.plan().hash == whole.plan().hash
    assert tables(out) == tables(whole)
    assert out.completeness(STAGES).complete
    assert not list(out.journal.glob("*"))
    found = verify(out, defenses=DEFENSES)
    assert found.ok and found.certificates == 2 * 4 * 2 * 4, str(found)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".merge")] == []


def test_quarters_in_every_order(whole: RunFolder, tmp_path: Path) -> None:
    parts = [
        run_of(tmp_path / str(i), models=models, defenses=defenses).path
        for i, (models, defenses) in enumerate(product(HALVES["models"], HALVES["defenses"]))
    ]
    runs = [
        Run(str(p), RunFolder(p).plan(), entries_of(RunFolder(p), RunFolder(p).plan()))
        for p in parts
    ]
    results = [merged(order) for order in permutations(runs)]
    assert {plan.hash for plan, _ in results} == {whole.plan().hash}
    lines = {tuple(sorted(entry.line() for entry in entries)) for _, entries in results}
    assert len(lines) == 1
    # A merged run can be merged again.
    first = merge(parts[:2], tmp_path / "first")
    out = merge([parts[2], first.path, parts[3]], tmp_path / "out")
    assert tables(out) == tables(whole)


def test_identical_duplicates_are_fine(whole: RunFolder, tmp_path: Path) -> None:
    overlap = run_of(tmp_path / "b", models=("lpips",), defenses=("ms", "rs-reg"), sigmas=(0.5,))
    out = merge([overlap.path, whole.path, whole.path], tmp_path / "out")
    assert tables(out) == tables(whole) and out.plan().hash == whole.plan().hash


def test_selections_that_are_no_rectangle(tmp_path: Path) -> None:
    a = run_of(tmp_path / "a", models=("dbcnn",), sigmas=(0.1,))
    b = run_of(tmp_path / "b", models=("lpips",), defenses=("ms",), sigmas=(0.5,))
    out = merge([b.path, a.path], tmp_path / "out")
    assert len(out.plan().cells) == 4 + 1
    assert str(out.completeness(STAGES)) == "5/5 cells ok"
    assert verify(out, defenses=DEFENSES).ok


def test_a_report_is_made_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.analysis.source import from_folder
    from bench.report.compose import compose

    runs = [run_of(tmp_path / str(i), models=HALVES["models"][i]) for i in (0, 1)]
    for number, run in enumerate(runs):
        run.note(device=f"cpu {number}", edition="compact")
    out = merge([run.path for run in runs], tmp_path / "out")
    text = repr(compose(from_folder(out)))
    assert "merged.1.device" in text and "cpu 1" in text and "16/16 cells ok" in text


# --- unfinished runs ------------------------------------------------------------------------------


def test_one_plan_done_in_two_parts(whole: RunFolder, tmp_path: Path) -> None:
    a, b = (partial(whole, tmp_path, n, i) for n, i in (("a", (0, 1)), ("b", (1, 2, 3))))
    out = merge([a.path, b.path], tmp_path / "out")
    assert out.plan().hash == whole.plan().hash
    assert tables(out) == tables(whole)


def test_what_is_missing_stays_missing_and_can_be_continued(
    whole: RunFolder, tmp_path: Path
) -> None:
    a, b = (partial(whole, tmp_path, n, i) for n, i in (("a", (0,)), ("b", (2,))))
    out = merge([a.path, b.path], tmp_path / "out")
    assert out.plan().hash == whole.plan().hash
    assert set(out.table("evaluate")["image"]) == {"photo0/blur", "photo2/blur"}
    assert not out.completeness(STAGES).complete
    # The rest, as a resumed run would write it, completes it.
    rest = partial(whole, tmp_path, "c", (1, 3))
    for file in rest.journal.glob("*.jsonl"):
        shutil.copy(file, out.journal)
    for stage in STAGES:
        out.seal(stage)
    assert tables(out) == tables(whole)


def test_a_half_done_selection_takes_nothing_from_a_finished_one(tmp_path: Path) -> None:
    done = run_of(tmp_path / "a", defenses=("ms",))
    other = run_of(tmp_path / "b", defenses=("rs-reg", "cert-reg", "ms"))
    half = partial(other, tmp_path, "half", (1,))
    out = merge([half.path, done.path], tmp_path / "out")
    rows = out.table("evaluate").groupby("defense").size().to_dict()
    assert rows == {"ms": 2 * 2 * 4, "rs-reg": 2 * 2, "cert-reg": 2 * 2}
    cells = out.completeness(STAGES)
    assert cells.ok == 4 and {c.defense for c in cells.missing} == {"rs-reg", "cert-reg"}


def test_a_failure_gives_way_to_a_result(whole: RunFolder, tmp_path: Path) -> None:
    plan = whole.plan()
    entries = entries_of(whole, plan)
    failed = RunFolder.create(tmp_path / "failed", plan)
    unit = plan.of_stage("evaluate")[5]
    lines = [
        (e.without_records("broken") if e.unit == unit.key else e).line()
        for e in entries.values()
        if e.unit.startswith("evaluate")
    ]
    failed.journal.mkdir()
    (failed.journal / "evaluate-x.jsonl").write_bytes(b"".join(lines))
    failed.seal("evaluate")
    out = merge([failed.path, whole.path], tmp_path / "out")
    assert tables(out) == tables(whole) and out.completeness(STAGES).complete
    alone = merge([failed.path, failed.path], tmp_path / "alone")
    assert alone.outcomes("evaluate")[unit.key].reason == "broken"
    assert alone.plan().hash == plan.hash


# --- conflicts and different inputs ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [("evaluate", "lower", 0.0625), ("draws", "coefficient", 3.5), ("audit", "fresh_samples", 7)],
)
def test_conflicts_show_both_values_and_both_runs(
    whole: RunFolder, tmp_path: Path, table: str, column: str, value: Any
) -> None:
    other = run_of(tmp_path / "other", models=("lpips",), sigmas=(0.5,))
    before: list[Any] = []

    def change(rows: list[dict[str, Any]]) -> None:
        row = [r for r in rows if r[column] is not None][-1]
        before.extend([row[column], row["image"]])
        row[column] = value

    edit(other, table, change)
    for order in ([whole, other], [other, whole]):
        with pytest.raises(BenchError) as error:
            merge([run.path for run in order], tmp_path / "out")
        text = str(error.value)
        assert f"{before[0]} in {whole.path}" in text and f"{value} in {other.path}" in text
        assert f"{table} [" in text and str(before[1]) in text and f" {column}: " in text
        assert text.count("\n") == 0 and not (tmp_path / "out").exists()


def test_lists_and_numbers_of_conflicts(whole: RunFolder, tmp_path: Path) -> None:
    other = run_of(tmp_path / "other", models=("dbcnn",))
    edit(other, "draws", lambda rows: [r["scores"].__setitem__(3, 0.0) for r in rows[6:9]])
    with pytest.raises(BenchError, match=r"draws \[.*\] scores\[3\]: .* \(and 2 more\)"):
        merge([whole.path, other.path], tmp_path / "out")


def test_seconds_may_differ(whole: RunFolder, tmp_path: Path) -> None:
    other = run_of(tmp_path / "other", models=("dbcnn",))
    edit(other, "draws", lambda rows: [r.update(seconds=5.0 + i) for i, r in enumerate(rows)])
    outs = [
        merge(order, tmp_path / str(i))
        for i, order in enumerate(permutations([whole.path, other.path]))
    ]
    assert tables(outs[0]) == tables(outs[1])


def test_one_clean_score_for_all_cells(tmp_path: Path) -> None:
    a, b = (run_of(tmp_path / str(s), sigmas=(s,)) for s in (0.1, 0.5))
    edit(
        b,
        "evaluate",
        lambda rows: [
            r.update(undefended=r["undefended"] + 0.001)
            for r in rows
            if (r["model"], r["image"]) == ("lpips", "photo1/blur")
        ],
    )
    with pytest.raises(BenchError, match=r"undefended: 0\.31\d* in .*, 0\.31\d* in "):
        merge([a.path, b.path], tmp_path / "out")


def test_clean_scores_of_two_kinds_of_processors_are_one(tmp_path: Path) -> None:
    a, b = (run_of(tmp_path / str(s), sigmas=(s,)) for s in (0.1, 0.5))
    edit(
        b,
        "evaluate",
        lambda rows: [r.update(undefended=r["undefended"] * (1 + 1e-6)) for r in rows],
    )
    assert len(merge([a.path, b.path], tmp_path / "out").table("evaluate")) > 0


@pytest.mark.parametrize(
    ("word", "change"),
    [
        ("seed: 2025 -> 7", {"seed": 7}),
        ("settings: certificate.samples 200 -> 100", {"samples": 100}),
        ("data: set 00000000 -> eeeeeeee", {"data_sha256": {"set": "e" * 64}}),
        ("code: code and shipped weights 11111111 -> eeeeeeee", {"code_sha256": "e" * 64}),
        ("hardware: noise streams of cpu -> cuda", {"device": "cuda"}),
    ],
)
def test_other_inputs_are_refused_by_name(
    whole: RunFolder, tmp_path: Path, word: str, change: dict[str, Any]
) -> None:
    plan = selected(fake_plan(samples=change.get("samples", 200)), models=("lpips",))
    if "seed" in change:
        plan = replace(plan, profile=plan.profile.model_copy(update=change))
    elif "samples" not in change:
        plan = replace(plan, **change)
    other = RunFolder.create(tmp_path, plan)
    with pytest.raises(BenchError) as error:
        merge([whole.path, other.path], tmp_path / "out")
    assert (word in str(error.value) and "seed" in word) or "seed:" not in str(error.value)
    assert word in str(error.value) and not (tmp_path / "out").exists()


def trained(run: RunFolder, model_sha256: str, part_sha256: str, artifact: str) -> RunFolder:
    write_table(
        run.path / "calibration.parquet",
        CalibrationRecord,
        [CalibrationRecord(status="ok", dataset="set", model="dbcnn", model_sha256=model_sha256)],
    )
    write_table(
        run.path / "fit.parquet",
        FitRecord,
        [
            FitRecord(
                status="ok",
                artifact=artifact,
                part="ftn",
                dataset="set",
                model="dbcnn",
                sigma=0.1,
                sha256=part_sha256,
            )
        ],
    )
    for stage in ("prepare", "fit"):
        write_units(run.path / "units" / f"{stage}.parquet", [])
    return run


def test_other_weights_are_refused_by_name(tmp_path: Path) -> None:
    runs = [run_of(tmp_path / str(s), sigmas=(s,)) for s in (0.1, 0.5)]
    trained(runs[0], "a" * 64, "b" * 64, "recipe")
    for model, part, word in (
        ("f" * 64, "b" * 64, "weights: parameters or code of dbcnn aaaaaaaa -> ffffffff"),
        ("a" * 64, "f" * 64, "weights: trained part ftn of set / dbcnn / sigma 0.1"),
    ):
        trained(runs[1], model, part, "recipe")
        with pytest.raises(BenchError, match=word):
            merge([run.path for run in runs], tmp_path / "out")
    for run, digest in zip(runs, "cd", strict=True):
        trained(run, "a" * 64, "b" * 64, "recipe").note(weights_sha256={"dbcnn.x": digest * 64})
    with pytest.raises(BenchError, match=r"weights: file dbcnn\.x cccccccc -> dddddddd"):
        merge([run.path for run in runs], tmp_path / "out")


def test_family_wise_certificates_hold_for_one_table(tmp_path: Path) -> None:
    plan = fake_plan(familywise=True)
    parts = [fake_run(tmp_path / m, selected(plan, models=(m,))) for m in ("dbcnn", "lpips")]
    with pytest.raises(BenchError, match="familywise"):
        merge([part.path for part in parts], tmp_path / "out")


def test_folders(whole: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(whole.path)
    assert main(["merge", path, "--out", str(tmp_path / "one")]) == 2
    assert "expected two or more runs, found 1" in capsys.readouterr().err
    assert main(["merge", path, path, "--out", path]) == 2
    assert "expected a new or empty folder" in capsys.readouterr().err
    assert main(["merge", path, str(tmp_path / "none"), "--out", str(tmp_path / "x")]) == 2
    assert "expected the folder of a run" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["merge", path, path, "--out", str(tmp_path / "empty")]) == 0
    assert "16/16 cells ok" in capsys.readouterr().out
    assert json.loads((tmp_path / "empty" / "run.json").read_text())["merged"].keys() == {"1", "2"}
