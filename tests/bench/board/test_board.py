"""A board of ours, a plugin's and tampered ones: what verifies is shown, what does not is named."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.base.errors import BenchError
from bench.base.files import file_sha256
from bench.board.entries import judge
from bench.board.rows import ALL, RADII, rows
from bench.board.site import html, write_board
from bench.board.submission import FACE, check_files, face_of, write_submission
from bench.cli.app import main
from bench.records.folder import RunFolder
from defenses.ms import DEFENSE as MS
from tests.bench import fake_run as fake
from tests.bench.report.synthetic import synthetic_run
from tests.bench.selections import edit

TRAP = "raise SystemExit('executed')\n"


def submitted(tmp_path: Path, name: str, run: RunFolder) -> Path:
    return write_submission(run, tmp_path / "sent", name=name, url="https://example.org/x?y=1&z")


def ours(tmp_path: Path) -> RunFolder:
    return fake.fake_run(tmp_path / "runs", fake.fake_plan(images=6))


def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run with a defence that nobody here has."""
    mine = replace(MS, name="mine", title="<b>Mine</b>")
    monkeypatch.setattr(fake, "DEFENSES", {**fake.DEFENSES, "mine": mine})
    monkeypatch.setattr(fake, "GROUPS", {**fake.GROUPS, "input": ("rs-reg", "ms", "mine")})
    plan = fake.fake_plan(images=6)
    kept = tuple(c for c in plan.cells if c.defense != "cert-reg")
    profile = plan.profile.model_copy(update={"defenses": ("rs-reg", "ms", "fs-iqa", "mine")})
    plan = replace(plan, profile=profile, cells=kept, plugins={"mine.py": "1" * 64})
    run = fake.fake_run(tmp_path / "runs", plan)
    run.note(cards=[{"name": "mine", "title": mine.title}], machine={"cores": 64, "python": "3.11"})
    return run


def redone(folder: Path, change: Callable[[Path], object]) -> Path:
    """The folder with a change, and digests as if nothing had happened."""
    change(folder)
    face = json.loads((folder / FACE).read_text())
    face["files"] = {name: file_sha256(folder / name) for name in face["files"]}
    (folder / FACE).write_text(json.dumps(face))
    return folder


def raised(folder: Path) -> None:
    """A score a little higher than its draws say."""
    file = folder / "evaluate.parquet"
    stored = pq.read_table(file)
    rows = stored.to_pylist()
    rows[5]["score"] += 1e-4
    pq.write_table(pa.Table.from_pylist(rows, schema=stored.schema), file)


def test_a_submission_holds_records_and_nothing_of_the_machine(tmp_path: Path) -> None:
    run = ours(tmp_path)
    run.note(
        machine={"cores": 64, "release": "6.1", "python": "3.11", "packages": {"numpy": "2"}},
        device="NVIDIA X",
        rates={"fit": 1.0},
        started="2026-01-01",
        edition="compact",
    )
    (run.path / "pictures.parquet").write_bytes(b"pixels")
    (run.path / "notes.txt").write_text("secret")
    folder = submitted(tmp_path, "Ours 1", run)
    assert folder.name == "ours-1"
    files = {f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file()}
    assert files == {
        *("submission.json", "LICENCE", "plan.json", "run.json"),
        *("evaluate.parquet", "draws.parquet", "audit.parquet"),
        *("units/evaluate.parquet", "units/audit.parquet"),
    }
    told = json.loads((folder / "run.json").read_text())
    assert told["machine"] == {"python": "3.11", "packages": {"numpy": "2"}}
    assert told.keys() == {"machine", "cards", "edition"}
    assert "CC0-1.0" in (folder / "LICENCE").read_text()
    face = face_of(folder)
    check_files(folder, face)
    assert (face.name, face.slug) == ("Ours 1", "ours-1")
    assert RunFolder.open(folder).plan().hash == run.plan().hash
    with pytest.raises(BenchError, match="expected no such folder yet"):
        submitted(tmp_path, "Ours 1", run)


@pytest.mark.parametrize(
    ("name", "url"), [("<b>", "https://x.org"), ("a", "javascript:alert(1)"), ("", "http://x")]
)
def test_names_and_addresses_are_plain(tmp_path: Path, name: str, url: str) -> None:
    with pytest.raises(BenchError, match=r"^--(name|url): "):
        write_submission(ours(tmp_path), tmp_path / "sent", name=name, url=url)


def test_an_unfinished_run_is_not_sent(tmp_path: Path) -> None:
    run = ours(tmp_path)
    (run.path / "units" / "audit.parquet").unlink()
    run.writer("audit").close()
    (run.journal / "audit-1.jsonl").write_text("")
    run.note()
    done = RunFolder.open(run.path)
    if "audit" in done.asked():
        with pytest.raises(BenchError, match="audit without an end"):
            submitted(tmp_path, "Ours", done)


def test_three_submissions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours, a plugin's whose code is not run, and two that were tampered with."""
    run = ours(tmp_path)
    first = submitted(tmp_path, "Ours", run)
    swapped = submitted(tmp_path, "Swapped", run)
    (swapped / "plan.json").write_text((swapped / "plan.json").read_text() + " ")
    lied = redone(submitted(tmp_path, "Lied", run), raised)
    with monkeypatch.context() as patched:
        theirs = submitted(tmp_path, "Theirs", plugins(tmp_path, patched))
    (tmp_path / "mine.py").write_text(TRAP)
    monkeypatch.chdir(tmp_path)
    entries, refused = judge([first, theirs, swapped, lied])
    assert [entry.submission.name for entry in entries] == ["Ours", "Theirs"]
    assert [one.name for one in refused] == ["Swapped", "Lied"]
    assert "plan.json: expected the content that submission.json names" in refused[0].reason
    assert "not verified: evaluate [" in refused[1].reason and "score" in refused[1].reason
    assert entries[0].stated == () and entries[1].stated == ("mine",)
    assert entries[0].verification.certificates == 6 * 2 * 2 * 4
    assert entries[1].verification.certificates == 6 * 2 * 2 * 3  # not those of the plugin
    assert "bounds of mine were not recomputed" in str(entries[1].verification)

    found = {(r.defense, r.level, r.radius, r.model, r.mode): r for r in entries[0].rows}
    assert {key[0] for key in found} == {"rs-reg", "cert-reg", "ms", "fs-iqa"}
    both = found["ms", "0.1", 0.1, ALL, "NR"]
    single = [found["ms", "0.1", 0.1, model, "NR"] for model in ("dbcnn", "lpips")]
    assert both.srcc == pytest.approx(sum(row.srcc or 0.0 for row in single) / 2)
    assert both.images == sum(row.images for row in single) == 12
    best = found["ms", ALL, 0.1, ALL, "NR"]
    levels = {level: found["ms", level, 0.1, ALL, "NR"] for level in ("0.1", "0.5")}
    assert best == replace(levels[f"{best.sigma:g}"], level=ALL)
    known = [r.srcc for r in levels.values() if r.certified >= 0.9 and r.srcc is not None]
    assert best.srcc == max(known)
    # An image abstained without a score there: nobody knows whether it was a hard one.
    assert levels["0.5"].srcc is None and levels["0.5"].width is None
    assert levels["0.5"].images < levels["0.1"].images
    assert best.rigor == "proved"
    assert found["fs-iqa", "0.1", 0.1, "dbcnn", "NR"].sigma == 0.1
    assert (best.attacked, best.broken) == (1, 0)

    page = write_board(entries, refused, tmp_path / "site", report=lambda entry, out: "report.html")
    text = page.read_text(encoding="utf-8")
    assert "&lt;b&gt;Mine&lt;/b&gt;" in text and "<b>Mine" not in text
    assert "as stated, not recomputed" in text and "Swapped" in text and "Lied" in text
    data = json.loads((tmp_path / "site" / "board.json").read_text())
    assert [one["name"] for one in data["submissions"]] == ["Ours", "Theirs"]
    assert [one["name"] for one in data["refused"]] == ["Swapped", "Lied"]
    drawn = (tmp_path / "site" / "badges" / "ours.svg").read_text()
    assert f"{entries[0].verification.certificates:,} certificates verified" in drawn
    assert "bounds as stated" in (tmp_path / "site" / "badges" / "theirs.svg").read_text()
    assert (
        "verified" in (tmp_path / "site" / "submissions" / "ours" / "verification.txt").read_text()
    )


INTRUDERS: dict[str, Callable[[Path], object]] = {
    "a file of code": lambda f: (f / "sitecustomize.py").write_text(TRAP),
    "a journal": lambda f: [(f / "journal").mkdir(), (f / "journal" / "x.jsonl").write_text("")],
    "a link": lambda f: [(f / "LICENCE").unlink(), (f / "LICENCE").symlink_to(f / "plan.json")],
    "a lost table": lambda f: (f / "draws.parquet").unlink(),
    "no face": lambda f: (f / FACE).unlink(),
    "a pipe for a face": lambda f: [(f / FACE).unlink(), os.mkfifo(f / FACE)],
    "half a table": lambda f: redone(
        f, lambda g: (g / "draws.parquet").write_bytes((g / "draws.parquet").read_bytes()[:900])
    ),
    "no plan": lambda f: redone(f, lambda g: (g / "plan.json").write_text("[]")),
    "a way out": lambda f: _named(f, "../../plan.json"),
}


def _named(folder: Path, name: str) -> None:
    face = json.loads((folder / FACE).read_text())
    face["files"][name] = "0" * 64
    (folder / FACE).write_text(json.dumps(face))


@pytest.mark.parametrize("what", INTRUDERS)
def test_what_does_not_belong_is_refused_by_name(tmp_path: Path, what: str) -> None:
    folder = submitted(tmp_path, "Odd", ours(tmp_path))
    INTRUDERS[what](folder)
    entries, refused = judge([folder])
    assert entries == () and len(refused) == 1
    assert refused[0].name in ("Odd", "odd") and "\n" not in refused[0].reason


def test_the_verbs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ours(tmp_path)
    sent, site = tmp_path / "sent", tmp_path / "site"
    words = ["submit", str(run.path), "--url", "https://example.org", "--out", str(sent)]
    assert main([*words, "--name", "Ours"]) == 0
    assert f"submission: {sent / 'ours'}" in capsys.readouterr().out
    edit(run, "evaluate", lambda rows: rows[0].update(score=rows[0]["score"] + 1e-3))
    assert main([*words, "--name", "Bad"]) == 1
    assert "NOT verified" in capsys.readouterr().out and not (sent / "bad").exists()
    raised(sent / "ours")
    assert main(["board", str(sent / "ours"), "--out", str(site)]) == 1
    assert "refused Ours: " in capsys.readouterr().out
    assert "Refused" in (site / "index.html").read_text(encoding="utf-8")


def test_an_empty_board_is_a_page() -> None:
    assert re.search(r"<h1>.*</h1>", html({"submissions": [], "refused": []}))


def test_a_radius_without_bounds_has_no_row() -> None:
    """The nearest one's widths would stand under another one's name."""
    run = synthetic_run(broken=False)
    frame = run.table("evaluate")
    grid = sorted({radius for radii in frame["curve_radius"] for radius in radii})
    assert {row.radius for row in rows(run, {})} == {r for r in RADII if r in grid} != set()
    fewer = frame.copy()
    for name in ("curve_radius", "curve_lower", "curve_upper", "curve_at_ceiling"):
        fewer[name] = [list(values)[:1] for values in frame[name]]
    cut = replace(run, tables={**run.tables, "evaluate": fewer})
    assert {row.radius for row in rows(cut, {})} == {r for r in RADII if r == grid[0]}


def test_a_submission_is_not_written_into_a_file(tmp_path: Path) -> None:
    (tmp_path / "sent").write_text("mine")
    with pytest.raises(BenchError, match="expected a folder, or nothing yet, found a file"):
        submitted(tmp_path, "Ours", ours(tmp_path))
    assert (tmp_path / "sent").read_text() == "mine"
