"""Page 1: who is chosen, by which rule, and what is never chosen."""

# ruff: noqa: RUF001 - Greek letters are meant
from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.analysis.agreement import agreements
from bench.analysis.beside import REPORTED_COLUMNS, read_reported, with_runs
from bench.analysis.decision import (
    Cost,
    Leading,
    broken,
    by_accuracy,
    by_score,
    by_width,
    costs,
    equal_draws,
    vacuous,
)
from bench.analysis.matched import Matched, at_common_levels, matched
from bench.analysis.names import defense_title
from bench.analysis.source import FrameRun
from bench.analysis.statistics import bootstrap_median, cluster_weights
from bench.base.errors import BenchError
from bench.report.compose import compose
from bench.report.document import Table
from bench.report.parts.choosing import Choice, choice_words, choices, most_accurate
from bench.report.parts.decision import decision_figure, decision_table
from bench.report.parts.first import cards_here, decide, trust_lines
from tests.bench.report.synthetic import synthetic_run

REPS = 200
NAMES = ("ms", "dms", "dms-iqa", "fs-iqa")


@pytest.fixture(scope="module")
def whole() -> FrameRun:
    return synthetic_run(broken=False, defenses=NAMES)


@pytest.fixture(scope="module")
def nr(whole: FrameRun) -> Matched:
    found = matched(whole.table("evaluate"), "NR", reps=REPS, seed=1)
    assert found is not None
    return found


def _equal(run: FrameRun) -> dict[str, Matched]:
    found = {m: matched(run.everything().table("evaluate"), m, reps=REPS, seed=1) for m in ("NR",)}
    return {mode: data for mode, data in found.items() if data is not None}


def _said(run: FrameRun) -> tuple[str, ...]:
    found = decide(run, _equal(run), reps=REPS)
    assert found is not None
    return found[1]


@pytest.fixture(autouse=True)
def _quick(no_figures: None) -> None:
    """Drawings are looked at elsewhere."""


def _table(run: FrameRun, **options: object) -> Table:
    document = compose(run, reps=20, **options)  # type: ignore[arg-type]
    return next(table for table in document.tables() if table.id == "table-d")


def test_accuracy_alone_may_name_anybody_and_a_guarantee_only_proved_radii(nr: Matched) -> None:
    assert by_score(nr).first[0] == "fs-iqa"
    for radius in nr.radii:
        leading = by_accuracy(nr, radius)
        assert "fs-iqa" not in leading.values
        assert set(leading.first) <= set(leading.values)


def test_width_is_compared_among_the_accurate_only(whole: FrameRun, nr: Matched) -> None:
    frame = whole.table("evaluate")
    frame = frame[frame["mode"] == "NR"]
    found = by_width(nr, frame, 0.01, ("dms", "dms-iqa"), reps=REPS, seed=2)
    assert set(found.values) == {"dms", "dms-iqa"}
    narrowest = min(found.values, key=lambda d: found.values[d])
    assert found.first[0] == narrowest
    best = nr.best.set_index(["radius", "defense"])
    assert found.values["dms"] == best.loc[(0.01, "dms"), "own"]


def test_intervals_that_say_nothing_are_not_chosen(whole: FrameRun, nr: Matched) -> None:
    """The most accurate loses to a narrower one where its intervals span all of its scores."""
    radius = nr.radii[0]
    here = nr.best["radius"] == radius
    usable = by_accuracy(nr, radius)
    best = max(usable.values, key=lambda d: usable.values[d])
    frame = whole.table("evaluate")
    frame = frame[frame["mode"] == "NR"]

    def told(*wide: str) -> str:
        table = nr.best.copy()
        table.loc[here & table["defense"].isin(wide), "own"] = 1.5
        data = replace(nr, best=table)
        lead = by_accuracy(data, radius)
        assert set(lead.values) == set(usable.values) - set(wide)
        assert vacuous(data, radius) == dict.fromkeys(wide, 1.5)
        width = by_width(data, frame, radius, lead.first, reps=20, seed=2)
        return choice_words(Choice(lead, width, vacuous(data, radius)))

    title = defense_title(best)
    assert title in told() and "spread" not in told()
    wider = "which at its most accurate σ is wider than the spread of its own scores"
    assert told(best).endswith(f", not {title}, {wider}")
    assert "choose " in told(best) and f"choose {title} (" not in told(best)
    assert told(*usable.values).startswith("nobody, even the narrowest")


def test_more_noise_levels_are_more_to_choose_from(whole: FrameRun, nr: Matched) -> None:
    """MS alone is run with the level that serves it best: the others could not choose it."""
    assert at_common_levels(nr) is None
    frame, radius = whole.table("evaluate"), nr.radii[0]
    own = float(nr.best.set_index(["radius", "defense"]).loc[(radius, "ms"), "sigma"])
    kept = frame[(frame["sigma"] != own) | (frame["defense"] == "ms")]
    data = matched(kept, "NR", reps=REPS, seed=1)
    assert data is not None
    shared = at_common_levels(data)
    assert shared is not None and at_common_levels(shared) is None
    assert set(shared.levels["sigma"]) == set(nr.levels["sigma"]) - {own}
    of = [d.best.set_index(["radius", "defense"]).loc[(radius, "ms")] for d in (data, shared)]
    assert of[0]["sigma"] == own != of[1]["sigma"] and of[0]["srcc"] > of[1]["srcc"]
    assert {*map(len, (data.best, shared.best, nr.best))} == {len(nr.best)}


def test_who_is_chosen_at_common_levels_is_told_where_it_is_another() -> None:
    both = Leading({"ms": 0.5, "dms": 0.4}, ("ms", "dms"))
    ms, dms = (Leading({"ms": 0.02, "dms": 0.04}, (one,)) for one in ("ms", "dms"))
    other = Choice(both, dms, {}, sigmas=(0.1, 0.25))
    first = "choose MS (SRCC 0.50, width 2.0 %; wider, SRCC not told apart: DMS)"
    levels = "if only σ = 0.1 and 0.25 count, which all were run with:"
    assert choice_words(Choice(both, ms, {})) == first
    assert choice_words(Choice(both, ms, {}, common=replace(other, width=ms))) == first
    told = f"{first}; {levels} DMS (SRCC 0.40, width 4.0 %)"
    assert choice_words(Choice(both, ms, {}, common=other)) == told
    none = replace(other, accuracy=Leading({}, ()), width=Leading({}, ()))
    assert choice_words(Choice(both, ms, {}, common=none)) == f"{first}; {levels} nobody"
    spread = "not DMS-IQA, which at its most accurate σ is wider than the spread of its own scores"
    wide = Choice(both, ms, {"dms-iqa": 1.5}, common=other)
    assert choice_words(wide) == told.replace(first, f"{first}, {spread}")


def test_median_of_resamples_is_that_of_the_repeated_values() -> None:
    rng = np.random.default_rng(4)
    values = rng.normal(size=9)
    weights = cluster_weights(list("aabbccdde"), reps=30, seed=5)
    expected = [np.sort(np.repeat(values, w.astype(int)))[(int(w.sum()) - 1) // 2] for w in weights]
    np.testing.assert_array_equal(bootstrap_median(values, weights), expected)


def test_nobody_is_chosen_on_few_photographs(whole: FrameRun) -> None:
    assert not any("Nobody is chosen" in line for line in _said(whole))
    frame = whole.table("evaluate")
    fewer = frame[frame["group"].isin([f"photo{i}" for i in range(9)])]
    few = replace(whole, tables={**whole.tables, "evaluate": fewer})
    said = _said(few)
    assert said[0].startswith("**Nobody is chosen for accuracy or width where photographs")
    judged = [line for line in said if "accuracy matters" in line or "proved interval" in line]
    assert judged and not any("choose" in line for line in judged)
    told = trust_lines(few, agreements(few, reps=5))
    assert told == [
        "NR and FR: 18 images of 9 photographs: too few to rank, at least 10 are needed.",
        "2,000 draws for every defence.",
    ]


def test_draws_in_few_digits_are_told_by_smoother(whole: FrameRun) -> None:
    """Who shares its draws with MS is told, too, though its bounds may be no draws."""
    frame = whole.table("evaluate")
    told = ", which has eight binary digits: an interval is never narrower than a step of it"
    assert not any("bfloat16" in line for line in trust_lines(whole, agreements(whole, reps=5)))
    coarse = frame.copy()
    bounds = ["lower", "upper"]
    ms = coarse["defense"] == "ms"
    coarse.loc[ms, bounds] = (coarse.loc[ms, bounds] * 64).round() / 64
    coarse["smoother"] = coarse["defense"].map({"ms": "input", "dms": "input"}).fillna("other")
    run = replace(whole, tables={**whole.tables, "evaluate": coarse})
    (line,) = [one for one in trust_lines(run, agreements(run, reps=5)) if "bfloat16" in one]
    assert line.startswith(f"Scores of MS and DMS were drawn in bfloat16{told}")
    for side, end in zip(bounds, ("range_low", "range_high"), strict=True):
        coarse.loc[ms, side] = coarse.loc[ms, end]
    run = replace(whole, tables={**whole.tables, "evaluate": coarse})
    assert not any("bfloat16" in line for line in trust_lines(run, agreements(run, reps=5)))


def test_a_broken_interval_is_not_to_be_relied_on(whole: FrameRun) -> None:
    line = next(line for line in _said(whole) if line.startswith("**FS-IQA**"))
    told = (
        "attacks broke it on 1 of 3 images of 3 photographs (2 of 12 certificates); photographs: "
    )
    assert f"do not rely on its interval, {told}photo0" in line
    audit = whole.table("audit").assign(violated=False)
    survived = _said(replace(whole, tables={**whole.tables, "audit": audit}))
    none = "broke none on 3 images of 3 photographs, which proves nothing"
    assert any(none in line for line in survived)
    unseen = _said(replace(whole, tables={k: v for k, v in whole.tables.items() if k != "audit"}))
    assert any("its certificates were not attacked in this run, so do" in line for line in unseen)
    assert "**Proved radii:** no certificate was attacked in this run." in unseen


def test_what_broke_on_a_model_that_is_not_compared_is_told_too(whole: FrameRun) -> None:
    """One of the models has too few defences to be among those that are compared."""
    frame, audit = whole.table("evaluate"), whole.table("audit")
    fewer = frame[(frame["model"] != "dbcnn") | (frame["defense"] == "fs-iqa")]
    only = audit.assign(violated=(audit["model"] == "dbcnn") & (audit["defense"] == "fs-iqa"))
    run = replace(whole, tables={**whole.tables, "evaluate": fewer, "audit": only})
    assert "dbcnn" not in _equal(run)["NR"].agreement.models
    (line,) = (one for one in _said(run) if one.startswith("**FS-IQA**"))
    assert "attacks broke it on 3 of 3 images of 3 photographs (" in line


@pytest.mark.parametrize(("seen", "chance"), [(0.4, "gone unseen"), (0.6, "been seen")])
def test_unbroken_proofs_stand_beside_what_attacks_would_notice(
    whole: FrameRun, seen: float, chance: str
) -> None:
    audit = whole.table("audit").assign(violated=False)
    proved = audit[audit["rigor"] == "proved"]
    planted = [
        proved.assign(planted=name, violated=np.arange(len(proved)) < share * len(proved))
        for name, share in (("radius x1.5", 0.0), ("radius x2", seen))
    ]
    tables = {**whole.tables, "audit": pd.concat([audit, *planted], ignore_index=True)}
    (line,) = (one for one in _said(replace(whole, tables=tables)) if "Proved radii" in one)
    count = int(np.ceil(seen * len(proved)))
    assert f"0 of {len(proved):,} certificates broken" in line and len(proved) > 4
    assert f"radius x1.5 in 0 of {len(proved):,} and radius x2 in {count} of" in line
    assert line.endswith(f"one like the largest would likely have {chance}.")
    (plain,) = (one for one in _said(whole) if "Proved radii" in one)
    assert "planted" not in plain


def test_images_are_counted_and_not_cells(whole: FrameRun) -> None:
    found = broken(whole.table("audit"))["fs-iqa"]
    assert (found.share.found, found.share.images_found, found.share.images) == (2, 1, 3)
    assert found.share.claims == 24 and found.photographs == ("photo0",)


def test_seconds_are_given_at_equal_draws(whole: FrameRun) -> None:
    time = whole.table("time")
    plain = costs(time, ("koncept", "dbcnn"), draws=2000)
    assert plain["ms"].scaled is None and plain["ms"].certified == pytest.approx(1.5 * 1.05)
    fewer = time.copy()
    ours = fewer["defense"] == "ms"
    fewer.loc[ours, ["samples", "forward_passes_uncertified"]] = [100, 100.0]
    scaled = costs(fewer, ("koncept", "dbcnn"), draws=2000)
    assert scaled["ms"].scaled == 100
    assert scaled["ms"].certified == pytest.approx(20 * 1.5 * 1.05)
    assert scaled["fs-iqa"] == plain["fs-iqa"]
    # Noise in features costs hardly a pass: nothing is made up for it.
    features = time.assign(samples=time["samples"].where(time["defense"] != "fs-iqa", 100))
    assert costs(features, ("koncept",), draws=2000)["fs-iqa"].scaled is None
    # All were timed in a hurry: the certificates' own draws are what a reader would wait for.
    few = time.assign(samples=4, forward_passes_uncertified=4.0)
    assert equal_draws(few, whole.table("evaluate")) == 2000
    assert equal_draws(few, whole.table("evaluate").assign(samples=None)) == 4
    assert equal_draws(few.head(0), whole.table("evaluate")) is None


def test_unequal_draws_are_said_on_page_1(whole: FrameRun) -> None:
    frame = whole.table("evaluate")
    fewer = frame.assign(samples=frame["samples"].where(frame["defense"] == "fs-iqa", 16))
    run = replace(whole, tables={**whole.tables, "evaluate": fewer})
    told = compose(run, reps=5).verdict
    assert any(
        "Unequal numbers of draws: 16 for MS, DMS and DMS-IQA; 2,000 for FS-IQA." in line
        for line in told
    )
    assert trust_lines(whole, agreements(whole, reps=5))[-1] == "2,000 draws for every defence."


def test_the_table_has_a_row_for_each_defence_and_the_picture_a_mark(whole: FrameRun) -> None:
    table = _table(whole)
    assert [row[0].value for row in table.rows] == ["undefended", "MS", "DMS", "DMS-IQA", "FS-IQA"]
    printed = table.printed()
    assert re.fullmatch(r"\[0\.\d\d, 0\.\d\d\]", printed[1][3].below)
    assert printed[1][3].line == f"{float(str(table.rows[1][3].value)):.2f}"
    found = decide(whole, _equal(whole), reps=20)
    assert found is not None
    drawn = decision_figure(found[0], id="d", title="")
    assert drawn is not None
    heads = [column.name for column in drawn.data.columns]
    radii = [row[heads.index("ρ")].value for row in drawn.data.rows]
    assert sorted(set(radii)) == list(found[0].radii)


def test_rows_of_another_run_stand_beside_ours(whole: FrameRun) -> None:
    frame = whole.table("evaluate")
    other = replace(
        whole,
        tables={
            name: table[table["defense"].isin(["ms"])]
            for name, table in whole.tables.items()
            if name in ("evaluate", "time", "audit")
        },
    )
    mine = frame[frame["defense"] == "dms"].assign(defense="mine")
    other = replace(
        other,
        tables={
            **other.tables,
            "evaluate": pd.concat([other.table("evaluate"), mine], ignore_index=True),
        },
    )
    table = _table(with_runs(whole, {"theirs": other}))
    names = [row[0].value for row in table.rows]
    assert names == ["undefended", "MS", "DMS", "DMS-IQA", "FS-IQA", "mine", "MS (theirs)"]
    rows = {row[0].value: row for row in table.rows}
    assert [f.value for f in rows["mine"][3:11]] == [f.value for f in rows["DMS"][3:11]]
    assert [f.value for f in rows["MS (theirs)"][3:13]] == [f.value for f in rows["MS"][3:13]]
    assert table.rule_after == (0, 4)


def test_a_run_on_other_images_is_refused(whole: FrameRun) -> None:
    frame = whole.table("evaluate")
    fewer = frame[frame["image"] != frame["image"].iloc[0]]
    other = replace(whole, tables={**whole.tables, "evaluate": fewer})
    with pytest.raises(BenchError, match=r"theirs: expected the 24 images of .* found 23 of which"):
        with_runs(whole, {"theirs": other})


def test_a_run_of_another_confidence_is_refused(whole: FrameRun) -> None:
    """Its intervals are narrower because they fail more often."""
    frame = whole.table("evaluate")
    loose = frame.assign(confidence=frame["confidence"].where(frame["confidence"].isna(), 0.6))
    other = replace(whole, tables={**whole.tables, "evaluate": loose})
    with pytest.raises(BenchError, match=r"theirs: expected intervals of confidence .* found 0\.6"):
        with_runs(whole, {"theirs": other})


def _reported(path: Path, radius: float = 0.01) -> Path:
    values = ("Their MS", "a paper, Table 3", "NR", radius, 0.71, 0.6, 0.8, 0.05, 4.5, "", "proved")
    path.write_text(f"{','.join(REPORTED_COLUMNS)}\n{','.join(map(_quoted, values))}\n")
    return path


def _quoted(value: object) -> str:
    return f'"{value}"'


def test_a_reported_row_is_marked_as_not_recomputed(whole: FrameRun, tmp_path: Path) -> None:
    rows = read_reported(_reported(tmp_path / "row.csv"))
    table = _table(whole, reported=rows)
    last = table.printed()[-1]
    assert (last[0].line, last[3].line, last[3].below) == ("Their MS‡", "0.71", "[0.60, 0.80]")
    assert last[4].line == "5.0 %"
    assert any("not computed again here: Their MS: a paper, Table 3" in n for n in table.notes)
    with pytest.raises(BenchError, match=r"Their MS: expected numbers at the radius .* found 0.7"):
        _table(whole, reported=read_reported(_reported(tmp_path / "other.csv", 0.7)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "expected the heading defense,source"),
        (",".join(REPORTED_COLUMNS) + "\n", "found no line below it"),
        (",".join(REPORTED_COLUMNS) + "\nx,y,NR,a,,,,,,,\n", "expected a number in radius"),
        (",".join(REPORTED_COLUMNS) + "\nx,y,XR,1,,,,,,,\n", "expected mode NR or FR"),
        (",".join(REPORTED_COLUMNS) + "\nx,y,NR,1,5,,,,,,\n", "from -1 to 1 in srcc, found '5'"),
        (",".join(REPORTED_COLUMNS) + "\nx,y,NR,1,nan,,,,,,\n", "in srcc, found 'nan'"),
        (",".join(REPORTED_COLUMNS) + "\nx,y,NR,1,,,,-1,,,\n", "of zero or more in width"),
        (",".join(REPORTED_COLUMNS) + "\nx,y,NR,1,.5,.9,.1,,,,\n", "found 0.9 and 0.1"),
        (",".join(REPORTED_COLUMNS) + "\nx,y,NR,1,,,,,,,\n" * 2, "of x for NR at 1, found two"),
    ],
)
def test_bad_rows_are_refused(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "row.csv"
    path.write_text(text)
    with pytest.raises(BenchError, match=re.escape(words)):
        read_reported(path)


def test_where_all_scores_are_alike_nobody_is_called_accurate() -> None:
    said = most_accurate({"NR": Leading({}, ())})
    assert said.startswith("**If only accuracy matters:** nobody has an SRCC")
    told = {"NR": Leading({"ms": 0.5, "dms": 0.4}, ("ms",)), "FR": Leading({}, ())}
    assert "guarantee: NR choose MS (0.50) (best SRCC)." in most_accurate(told)


@pytest.mark.parametrize(
    ("kinds", "said"),
    [
        (("proxy: cell means", "proxy: others"), "MSE to proxy labels"),
        (("opinions", "proxy: cell means"), "MSE to human scores or proxy labels"),
        (("opinions", "opinions"), "MSE to human scores"),
    ],
)
def test_a_card_says_human_scores_only_where_a_run_has_them(
    run: FrameRun, kinds: tuple[str, str], said: str
) -> None:
    calibration = run.table("calibration").iloc[:2].assign(label_kind=list(kinds))
    cards = [
        {**card, "trained": {"ms": "nothing"}.get(str(card["name"]), "MSE to human scores")}
        for card in run.cards
    ]
    known = replace(run, tables={**run.tables, "calibration": calibration}, cards=cards)
    found = {str(card["name"]): card["trained"] for card in cards_here(known)}
    assert found.pop("ms") == "nothing" and set(found.values()) == {said}


def test_who_was_trained_stands_below_the_table(whole: FrameRun) -> None:
    """The undefended model learns nothing here, so a lead over it may be the training's."""
    cards = [
        {**card, "trained": {"ms": "nothing", "dms": "a net"}.get(str(card["name"]), "a head")}
        for card in whole.cards
    ]
    found = decide(replace(whole, cards=tuple(cards)), _equal(whole), reps=5)
    assert found is not None
    table = decision_table(found[0], id="table-d", title="")
    (note,) = [note for note in table.notes if note.startswith("Trained here")]
    assert note.startswith("Trained here: DMS (a net); DMS-IQA and FS-IQA (a head). The others")
    untrained = replace(found[0], trained={})
    assert not any("Trained" in note for note in decision_table(untrained, id="", title="").notes)


def test_nobody_is_cheaper_than_who_makes_the_same_passes(whole: FrameRun) -> None:
    """MS and Cert-Reg draw the same: what lies between their seconds is the timing's own."""
    found = decide(whole, _equal(whole), reps=5)
    assert found is not None
    page = found[0]
    seconds = {"ms": 2.4, "dms": 2.0, "dms-iqa": 1.6, "fs-iqa": 3.9}
    costs = {"NR": {name: Cost(value, value, None) for name, value in seconds.items()}}

    def told(**smoothers: str) -> str:
        some = replace(page, costs=costs, smoothers={**smoothers})
        (line,) = [line for line in choices(some, {}, {}) if "If time matters" in line]
        return line

    assert "of proved radii" not in told() and "choose DMS-IQA (1.6 s; next DMS, 2.0 s)" in told()
    same = told(ms="input", **{"dms-iqa": "input"})
    assert "choose MS or DMS or DMS-IQA (1.6 to 2.4 s; next FS-IQA, 3.9 s)" in same
    assert told(ms="input", dms="dms") == told()


def test_smoothers_are_those_of_the_records(whole: FrameRun) -> None:
    found = decide(whole, _equal(whole), reps=5)
    assert found is not None
    frame = whole.table("evaluate")
    for name in NAMES:
        assert {found[0].smoothers[name]} == {*frame.loc[frame["defense"] == name, "smoother"]}
