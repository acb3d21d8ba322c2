"""A run that was tampered with in any column is not verified."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from bench.analysis.statistics import plcc, srcc
from bench.measure.certificates import Terms
from bench.records.folder import RunFolder
from bench.review.recomputing import correlations
from bench.review.verify import Verification, verify
from tests.bench.fake_run import DEFENSES, fake_plan, fake_run

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return fake_run(tmp_path_factory.mktemp("clean"), fake_plan())


@pytest.fixture
def run(clean: RunFolder, tmp_path: Path) -> RunFolder:
    import shutil

    return RunFolder(Path(shutil.copytree(clean.path, tmp_path / "run")))


def tamper(run: RunFolder, table: str, change: Callable[[Rows], Any]) -> Verification:
    path = run.path / f"{table}.parquet"
    stored = pq.read_table(path)
    rows = stored.to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, schema=stored.schema), path)
    return verify(run, defenses=DEFENSES)


def only(found: Verification, table: str, column: str) -> None:
    assert not found.ok
    assert {(d.table, d.column) for d in found.differences} == {(table, column)}, str(found)


def test_clean_run(clean: RunFolder) -> None:
    found = verify(clean, defenses=DEFENSES)
    assert found.ok, str(found)
    rows = 2 * 2 * 4 * 3
    assert str(found).startswith(f"verified {rows} certificates and {2 * 4 * 2} aggregates in ")


def test_familywise_confidence(tmp_path: Path) -> None:
    run = fake_run(tmp_path, fake_plan(images=3, familywise=True))
    assert verify(run, defenses=DEFENSES).ok
    row = run.table("evaluate").iloc[0]
    assert row["confidence"] == pytest.approx(1 - 1e-3 / (2 * 48), rel=1e-12)
    for plan, share in ((run.plan(), 48), (fake_plan(images=3), 1)):
        settings = Terms.of(plan).geometry(seed=0)
        assert settings.delta == pytest.approx(1e-3 / share, rel=1e-12)


NUMBERS = (
    "score",
    "lower",
    "upper",
    "radius",
    "r",
    "deployed_lower",
    "deployed_upper",
    "native_radius",
    "native_tolerance",
    "confidence",
    "delta",
    "lower_rank",
    "upper_rank",
    "samples",
)


@pytest.mark.parametrize("column", NUMBERS)
def test_every_number(run: RunFolder, column: str) -> None:
    def change(rows: Rows) -> None:
        row = next(r for r in rows if r[column] is not None and r["status"] == "ok")
        row[column] = row[column] + (1 if isinstance(row[column], int) else 1e-9)

    found = tamper(run, "evaluate", change)
    # The audit's and the report's own view of a score or bound may differ as well.
    assert ("evaluate", column) in {(d.table, d.column) for d in found.differences}


@pytest.mark.parametrize("column", ["at_ceiling", "status", "reason", "native_reason"])
def test_every_word(run: RunFolder, column: str) -> None:
    def change(rows: Rows) -> None:
        wanted = "reason" if column == "reason" else column
        row = next(r for r in rows if r[wanted] is not None and r["status"] != "failed")
        row[column] = {"at_ceiling": not row["at_ceiling"], "status": "abstained"}.get(column, "x")
        if column == "status":
            row["reason"] = "because"

    found = tamper(run, "evaluate", change)
    assert column in {d.column for d in found.differences}


@pytest.mark.parametrize("column", ["curve_radius", "curve_lower", "curve_upper"])
@pytest.mark.parametrize("value", [0.123456, float("nan")])
def test_every_curve(run: RunFolder, column: str, value: float) -> None:
    def change(rows: Rows) -> None:
        next(r for r in rows if r[column])[column][3] = value

    only(tamper(run, "evaluate", change), "evaluate", column)


@pytest.mark.parametrize("column", ["claim", "rigor", "statistic", "edition"])
def test_promises(run: RunFolder, column: str) -> None:
    def change(rows: Rows) -> None:
        row = rows[-1]
        row[column] = {"claim": "deployed", "rigor": "empirical"}.get(column, "other")

    only(tamper(run, "evaluate", change), "evaluate", column)


@pytest.mark.parametrize("column", ["mos", "range_high", "undefended", "group"])
def test_what_is_one_value_for_many_rows(run: RunFolder, column: str) -> None:
    def change(rows: Rows) -> None:
        rows[-1][column] = "other" if column == "group" else rows[-1][column] + 0.25

    found = tamper(run, "evaluate", change)
    assert ("evaluate", column) in {(d.table, d.column) for d in found.differences}


def test_clean_scores_of_two_kinds_of_processors_are_one(run: RunFolder) -> None:
    """Their last bits differ; no other value of an image does."""

    def change(rows: Rows) -> None:
        rows[-1]["undefended"] *= 1 + 1e-6

    assert tamper(run, "evaluate", change).differences == ()


def test_curve_ceiling(run: RunFolder) -> None:
    def change(rows: Rows) -> None:
        flags = next(r for r in rows if r["curve_at_ceiling"])["curve_at_ceiling"]
        flags[0] = not flags[0]

    only(tamper(run, "evaluate", change), "evaluate", "curve_at_ceiling")


def test_missing_numbers_are_seen(run: RunFolder) -> None:
    def change(rows: Rows) -> None:
        next(r for r in rows if r["status"] == "ok")["lower"] = float("nan")

    assert "lower" in {d.column for d in tamper(run, "evaluate", change).differences}


# --- draws ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda scores: scores.pop(),
        lambda scores: scores.__setitem__(0, scores[-1]),
        lambda scores: scores.__setitem__(-1, float("nan")),
    ],
    ids=["one less", "not sorted", "nan"],
)
def test_draws(run: RunFolder, change: Callable[[list[float]], Any]) -> None:
    found = tamper(
        run, "draws", lambda rows: change(next(r for r in rows if r["scores"])["scores"])
    )
    only(found, "draws", "scores")


def test_a_moved_draw_moves_certificates(run: RunFolder) -> None:
    def change(rows: Rows) -> None:
        next(r for r in rows if r["scores"] and r["smoother"] == "input")["scores"][0] -= 1e-6

    found = tamper(run, "draws", change)
    assert {d.row[2] for d in found.differences} >= {"rs-reg"}


@pytest.mark.parametrize("column", ["coefficient", "spectral_upper", "spectral_estimate"])
def test_geometry(run: RunFolder, column: str) -> None:
    def change(rows: Rows) -> None:
        row = next(r for r in rows if r[column] is not None)
        row[column] = 1e-5 if column == "spectral_estimate" else row[column] * 1.01

    assert not tamper(run, "draws", change).ok


@pytest.mark.parametrize("table", ["draws", "evaluate"])
def test_nobody_lowers_the_failure_probability_of_a_radius(run: RunFolder, table: str) -> None:
    column = {"draws": "spectral_delta", "evaluate": "delta"}[table]

    def change(rows: Rows) -> None:
        for row in rows:
            if row[column]:
                row[column] = 0.0

    found = tamper(run, table, change)
    assert not found.ok and {d.column for d in found.differences} <= {"spectral_delta", "delta"}


def test_a_norm_is_no_less_than_its_estimate(run: RunFolder) -> None:
    def change(rows: Rows) -> None:
        row = next(r for r in rows if r["spectral_upper"] is not None)
        row["spectral_estimate"] = 2 * row["spectral_upper"]

    assert "spectral_estimate" in {d.column for d in tamper(run, "draws", change).differences}


def test_a_certificate_does_not_hide_behind_another_smoother(run: RunFolder) -> None:
    """Its draws are looked for where its defence has them, not where the row says."""

    def change(rows: Rows) -> None:
        for row in rows:
            if row["defense"] == "fs-iqa" and row["status"] == "ok":
                row.update(smoother="feature", lower=row["score"], upper=row["score"])

    found = tamper(run, "evaluate", change)
    forged = {d.row for d in found.differences}
    assert forged and {d.column for d in found.differences} >= {"smoother", "lower", "upper"}
    assert {row[2] for row in forged} == {"fs-iqa"}


# --- completeness ---------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["evaluate", "draws"])
def test_missing_double_and_unplanned_rows(run: RunFolder, table: str) -> None:
    def change(rows: Rows) -> None:
        rows.pop(5)
        rows.append(dict(rows[0]))
        rows.append({**rows[0], "image": "never planned"})

    found = [d for d in tamper(run, table, change).differences if d.column == "row"]
    assert sorted(str(d.recorded) for d in found) == ["2 rows", "missing", "present"]


def test_missing_unit(run: RunFolder) -> None:
    path = run.path / "units" / "audit.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    found = verify(run, defenses=DEFENSES)
    assert [(d.table, d.column) for d in found.differences] == [("audit", "unit")]


def test_audit_verdict_must_follow_from_its_limits(run: RunFolder) -> None:
    def change(rows: Rows) -> None:
        rows[0]["worst_high_limit"] = rows[0]["upper"] + 0.01

    only(tamper(run, "audit", change), "audit", "violated")


@pytest.mark.parametrize("planted", ["", "radius x1.5", "interval x0.7"])
@pytest.mark.parametrize(("column", "factor"), [("radius", 1.1), ("lower", 0.9), ("upper", 1.1)])
def test_audited_claims_follow_from_certificates(
    run: RunFolder, planted: str, column: str, factor: float
) -> None:
    def change(rows: Rows) -> None:
        row = next(row for row in rows if row["planted"] == planted)
        row[column] *= factor

    only(tamper(run, "audit", change), "audit", column)


@pytest.mark.parametrize("name", ["radius x3", "genuine"])
def test_a_claim_of_another_name_is_seen(run: RunFolder, name: str) -> None:
    def change(rows: Rows) -> None:
        rows[0]["planted"] = name

    told = tamper(run, "audit", change).differences
    assert {(d.table, d.column) for d in told} == {("audit", "planted"), ("audit", "row")}


def test_a_control_cannot_pass_for_a_claim(run: RunFolder) -> None:
    """Renaming the wrong claim to the genuine one shows in its radius."""

    def change(rows: Rows) -> None:
        next(row for row in rows if row["planted"] == "radius x2")["planted"] = ""

    told = tamper(run, "audit", change).differences
    assert {(d.table, d.column) for d in told} == {("audit", "radius"), ("audit", "row")}


@pytest.mark.parametrize("planted", ["", "radius x2"])
def test_an_attack_cannot_be_struck_off(run: RunFolder, planted: str) -> None:
    """Not a certificate that was broken, nor a planted error that was missed."""

    def change(rows: Rows) -> None:
        rows.remove(next(row for row in rows if row["planted"] == planted))

    (told,) = tamper(run, "audit", change).differences
    assert (told.table, told.row[-1], told.recorded) == ("audit", planted, "missing")


def fails(run: RunFolder, stage: str, key: str) -> None:
    """Let a unit of a stage have failed."""
    path = run.path / "units" / f"{stage}.parquet"
    stored = pq.read_table(path)
    units = stored.to_pylist()
    next(unit for unit in units if key in str(unit.values()))["status"] = "failed"
    pq.write_table(pa.Table.from_pylist(units, schema=stored.schema), path)


def test_a_record_cannot_fail_alone(run: RunFolder) -> None:
    """The hard images of a defence struck out as failed would flatter what is left."""

    def change(rows: Rows) -> None:
        row = next(r for r in rows if r["status"] == "ok")
        row.update(status="failed", reason="x", score=None, lower=None, upper=None, radius=None)

    found = tamper(run, "evaluate", change)
    assert ("evaluate", "status") in {(d.table, d.column) for d in found.differences}


@pytest.mark.parametrize("column", ["worst_low_limit", "upper", "violated"])
def test_a_verdict_over_nothing_is_seen(run: RunFolder, column: str) -> None:
    def change(rows: Rows) -> None:
        rows[0][column] = None

    only(tamper(run, "audit", change), "audit", column)


def test_input_noise_has_no_table_of_radii(run: RunFolder) -> None:
    def change(rows: Rows) -> None:
        for row in rows:
            if row["smoother"] == "input" and row["status"] == "ok":
                row.update(coefficient=None, tabulated_radius=[0.0, 1e3], tabulated_r=[0.0, 1.0])

    told = {(d.table, d.column) for d in tamper(run, "draws", change).differences}
    assert {("draws", "coefficient"), ("draws", "tabulated_radius")} <= told


def test_an_attack_that_failed_is_one_row_and_told(run: RunFolder) -> None:
    first = run.table("audit").iloc[0]
    (unit,) = [
        u
        for u in run.plan().of_stage("audit")
        if (u.model, u.sigma, u.image) == (first["model"], first["sigma"], first["image"])
    ]
    fails(run, "audit", unit.key)

    def change(rows: Rows) -> None:
        first = rows[0]
        mine = [r for r in rows if all(r[c] == first[c] for c in ("model", "defense", "sigma"))]
        for row in mine:
            rows.remove(row)
        rows.append({**first, "status": "failed", "violated": None})

    found = tamper(run, "audit", change)
    assert found.ok and any("1 failed records" in note for note in found.notes)


@pytest.mark.parametrize(("column", "value"), [("rigor", "empirical"), ("group", "another")])
def test_attacks_are_told_of_as_their_certificates_are(
    run: RunFolder, column: str, value: str
) -> None:
    def change(rows: Rows) -> None:
        rows[0][column] = value

    only(tamper(run, "audit", change), "audit", column)


def test_an_excursion_lies_inside_its_limit(run: RunFolder) -> None:
    def change(rows: Rows) -> None:
        rows[0]["worst_high"] = rows[0]["worst_high_limit"] - 0.01

    only(tamper(run, "audit", change), "audit", "worst_high")


def test_audits_of_before_planted_errors_are_all_genuine(run: RunFolder) -> None:
    path = run.path / "audit.parquet"
    stored = pq.read_table(path)
    old = stored.filter(pc.equal(stored["planted"], "")).drop_columns(["planted"])
    pq.write_table(old, path)
    assert set(run.table("audit")["planted"]) == {""}
    assert verify(run, defenses=DEFENSES).ok


def test_differences_name_row_and_both_values(run: RunFolder) -> None:
    def change(rows: Rows) -> None:
        rows[0]["upper_rank"] = 7

    text = str(tamper(run, "evaluate", change))
    assert "evaluate [set / dbcnn / cert-reg / 0.1 / photo0/blur] upper_rank" in text
    assert "recorded 7.0, expected None" in text
    assert text.splitlines()[-1].startswith("NOT verified: 1 differences in ")


# --- independence ---------------------------------------------------------------------------------


def test_correlations_agree_with_the_library() -> None:
    x, y = [3.0, 1.0, 1.0, 4.0, 5.0, 9.0], [1.0, 1.0, 2.0, 3.0, 5.0, 4.0]
    found = correlations(x, y)
    assert found == pytest.approx((srcc(x, y).value, plcc(x, y).value), abs=1e-14)
    assert correlations([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) is None


@pytest.mark.slow
def test_needs_no_model_and_no_data_set(clean: RunFolder) -> None:
    code = (
        "import sys; from pathlib import Path; from bench.review.verify import verify;"
        "from bench.records.folder import RunFolder;"
        f"found = verify(RunFolder(Path({str(clean.path)!r}))); assert found.ok, str(found);"
        "bad = [m for m in sys.modules if m.startswith(('iqa_models.', 'bench.datasets'))"
        " and m.split('.')[1] not in ('base', 'plugin', 'names')]; assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_ten_thousand_certificates_in_a_minute(tmp_path: Path) -> None:
    run = fake_run(tmp_path, fake_plan(images=625, samples=2000))
    found = verify(run, defenses=DEFENSES)
    assert found.ok and found.certificates == 10_000
    assert found.seconds < 60
