"""What the tables say: every axis has two different values, failures are seen, labels matter."""

# ruff: noqa: RUF001 - Greek letters are meant
from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench.analysis.agreement import Agreement, agreements
from bench.analysis.cost import model_seconds, repeat_deviation, stability
from bench.analysis.names import DEFENSE_TITLES
from bench.analysis.published import published
from bench.analysis.rankings import disjoint_share
from bench.analysis.source import FrameRun
from bench.analysis.statistics import srcc
from bench.analysis.widths import (
    curves,
    largest_radius,
    own_spread,
    radius_bins,
    ranking_summary,
)
from bench.plan.loading import load_profile
from bench.plan.profile import CertificateSection, DataSection
from bench.report.compose import compose
from bench.report.document import Document, Figure, Images, Table, Verdict
from bench.report.numbers import MINUS
from bench.report.parts.attacks import attack_blocks
from bench.report.parts.claims import relative_gain, verdicts
from bench.report.parts.guarantee import (
    Guarantees,
    guarantees,
    ledger_note,
    native_table,
    own_width_table,
)
from bench.report.parts.leaders import leader_sentence
from bench.report.parts.provenance import reproduce_line
from bench.report.parts.ranking import ranking_table
from bench.report.parts.tables import lead_table, main_table, order_table
from bench.report.parts.worked import amplified, worked_example, worked_section
from bench.report.theme import defense_looks
from tests.bench.report.pictures import encoded
from tests.bench.report.synthetic import DEFENSES, MODELS, SIGMAS, synthetic_run


@pytest.fixture(scope="module")
def whole() -> FrameRun:
    return synthetic_run(broken=False)


@pytest.fixture(scope="module")
def found(whole: FrameRun) -> dict[str, Agreement]:
    return agreements(whole, reps=40)


def test_means_are_over_the_right_models(whole: FrameRun, found: dict[str, Agreement]) -> None:
    frame = whole.table("evaluate")
    for mode in ("NR", "FR"):
        for defense in DEFENSES:
            for sigma in SIGMAS:
                values = []
                for model in (m for m, k in MODELS.items() if k == mode):
                    part = frame[
                        (frame["model"] == model)
                        & (frame["defense"] == defense)
                        & (frame["sigma"] == sigma)
                    ]
                    up = bool(part["higher_is_better"].iloc[0])
                    values.append(srcc(part["score"], part["mos"], higher_is_better=up).value)
                mean = found[mode].mean("srcc", defense, sigma)
                assert mean.value == pytest.approx(np.mean(values))
                assert mean.sem == pytest.approx(np.std(values, ddof=1) / np.sqrt(2))
                assert values[0] != values[1]
    means = [found[m].mean("srcc", d, s).value for m in found for d in DEFENSES for s in SIGMAS]
    assert len(set(means)) == len(means)


def test_unequal_sets_are_marked_and_not_ranked(run: FrameRun) -> None:
    fr = agreements(run, reps=20)["FR"]
    table = main_table(fr, run.table("time"), published(), number=2)
    rows = {row[0].value: row for row in table.rows}
    assert rows["MS"][1].value == "95/96"
    assert rows["FS-IQA"][1].value == "96/96"
    column = next(i for i, c in enumerate(table.columns) if c.label == "SRCC / PLCC σ = 0.5")
    assert rows["MS"][column].mark == "*"
    assert all(row[column].group == "" for row in table.rows)
    assert rows["MS"][column - 1].group != ""
    assert "no order is stated" in table.caption


def test_a_missing_model_makes_sets_unequal(whole: FrameRun) -> None:
    frame = whole.table("evaluate")
    kept = frame[~((frame["model"] == "dbcnn") & (frame["defense"] == "ms"))]
    fewer = replace(whole, tables={**whole.tables, "evaluate": kept})
    nr = agreements(fewer, reps=10)["NR"]
    mean = nr.mean("srcc", "ms", 0.1)
    assert (mean.models, mean.models_wanted, mean.n, mean.wanted) == (1, 2, 24, 48)
    assert not nr.rankable(0.1)


def test_permuting_labels_permutes_output(whole: FrameRun, found: dict[str, Agreement]) -> None:
    names = dict(zip(DEFENSES, (DEFENSES[1], DEFENSES[2], DEFENSES[0]), strict=True))
    frame = whole.table("evaluate").assign(defense=lambda f: f["defense"].map(names))
    swapped = agreements(replace(whole, tables={**whole.tables, "evaluate": frame}), reps=40)
    for mode in ("NR", "FR"):
        for sigma in SIGMAS:
            old, new = found[mode].groups("srcc", sigma), swapped[mode].groups("srcc", sigma)
            assert {names[d]: letter for d, letter in old.items()} == new
            for defense in DEFENSES:
                assert found[mode].mean("plcc", defense, sigma) == swapped[mode].mean(
                    "plcc", names[defense], sigma
                )


def test_order_of_records_does_not_matter(run: FrameRun, no_figures: None) -> None:
    shuffled = {
        name: frame.sample(frac=1, random_state=3).reset_index(drop=True)
        for name, frame in run.tables.items()
    }
    first, second = compose(run, reps=10), compose(replace(run, tables=shuffled), reps=10)
    for a, b in zip(first.tables(), second.tables(), strict=True):
        assert a.printed() == b.printed()


def whole_curve(data: Guarantees) -> pd.DataFrame:
    return curves(data.table[data.table["mode"] == data.mode], data.grid)


def test_groups_add_up_to_the_whole(run: FrameRun) -> None:
    frame = run.table("evaluate")
    parts = {m: guarantees(frame, mode=m, familywise=False) for m in ("NR", "FR")}
    assert sum(len(p.frame) for p in parts.values()) == len(frame)
    for part in parts.values():
        judged = part.frame[part.frame["status"] != "failed"]
        assert len(whole_curve(part)) == len(judged) * len(part.grid)
        assert part.summary["images"].sum() == len(whole_curve(part))
    bins = radius_bins(frame[frame["defense"] == "fs-iqa"])
    certified = frame[(frame["defense"] == "fs-iqa") & (frame["status"] == "ok")]
    assert bins["images"].sum() == len(certified)
    assert "expected failing" in ledger_note(parts["NR"])


def test_abstained_images_count_with_the_whole_range(run: FrameRun) -> None:
    nr = guarantees(run.table("evaluate"), mode="NR", familywise=False)
    gone = nr.frame[nr.frame["status"] == "abstained"]
    assert len(gone) == 2
    curve = whole_curve(nr).merge(gone[["model", "defense", "sigma", "image"]])
    assert len(curve) == 2 * len(nr.grid)
    assert (curve["share"] == 1).all()
    reach = largest_radius(whole_curve(nr), share=0.5)
    row = gone.iloc[0]
    assert reach[row["model"], row["defense"], row["sigma"], row["image"]] == 0


def test_largest_radius_stops_at_the_first_width_that_is_too_large() -> None:
    curve = pd.DataFrame(
        {
            "model": "m",
            "defense": "d",
            "sigma": 0.1,
            "image": ["a"] * 3 + ["b"] * 3,
            "radius": [0.1, 0.2, 0.3] * 2,
            "share": [0.05, 0.2, 0.05, 0.01, 0.02, 0.03],
        }
    )
    assert largest_radius(curve, share=0.1).to_dict() == {
        ("m", "d", 0.1, "a"): 0.1,
        ("m", "d", 0.1, "b"): 0.3,
    }


def test_certified_ranking_respects_the_direction(whole: FrameRun) -> None:
    fr = guarantees(whole.table("evaluate"), mode="FR", familywise=False)
    curve = whole_curve(fr)
    summary = ranking_summary(curve, (fr.grid[0], fr.grid[-1]))
    row = summary[(summary["model"] == "lpips") & (summary["defense"] == "ms")].iloc[0]
    part = curve[
        (curve["model"] == "lpips")
        & (curve["defense"] == "ms")
        & (curve["sigma"] == row["sigma"])
        & (curve["radius"] == row["radius"])
    ]
    assert not part["up"].any()
    assert row["pairs"] == pytest.approx(disjoint_share(part["lower"], part["upper"]))
    full = agreements(whole, reps=2)["FR"]
    assert row["srcc"] <= full.scores["lpips", "ms", row["sigma"]].estimate("srcc").value
    assert row["srcc"] > -0.5


def test_own_width_does_not_reward_alike_scores(whole: FrameRun) -> None:
    frame = whole.table("evaluate")
    cell = frame[(frame["model"] == "koncept") & (frame["defense"] == "ms")]
    cell = cell[cell["sigma"] == 0.1]
    low, high = np.quantile(cell["score"], [0.05, 0.95])
    assert own_spread(cell) == pytest.approx(high - low)
    shrunk = cell.assign(**{c: cell[c] / 10 for c in ("score", "lower", "upper")})
    shrunk["curve_lower"] = [[x / 10 for x in row] for row in cell["curve_lower"]]
    shrunk["curve_upper"] = [[x / 10 for x in row] for row in cell["curve_upper"]]
    before, after = (curves(part, (0.01, 0.1)) for part in (cell, shrunk))
    assert after["share"].to_numpy() == pytest.approx(before["share"].to_numpy() / 10)
    assert after["own"].to_numpy() == pytest.approx(before["own"].to_numpy())
    alike = curves(cell.assign(score=0.5), (0.1,))
    assert np.isinf(alike["own"]).all()


def test_who_abstains_at_the_own_radius_may_have_bounds_at_a_smaller_one(whole: FrameRun) -> None:
    """Too few draws for r = 1 may be enough for r = 0.1: the curve says where."""
    frame = whole.table("evaluate")
    cell = frame[(frame["model"] == "koncept") & (frame["defense"] == "ms")]
    cell = cell[cell["sigma"] == 0.1]
    nothing = dict.fromkeys(("lower", "upper", "radius"), np.nan)
    abstained = cell.assign(status="abstained", **nothing)
    pd.testing.assert_frame_equal(curves(abstained, (0.01,)), curves(cell, (0.01,)))
    names = ("curve_radius", "curve_lower", "curve_upper", "curve_at_ceiling")
    without = abstained.assign(**{name: [[] for _ in range(len(cell))] for name in names})
    assert (curves(without, (0.01,))["share"] == 1.0).all()


def test_only_proved_radii_are_crowned(whole: FrameRun) -> None:
    data = guarantees(whole.table("evaluate"), mode="NR", familywise=False)
    assert data.proved == ["ms", "dms-iqa"]
    rank = ranking_table(data, id="r", title="")
    own = own_width_table(data, id="w", title="")
    native = native_table(data, id="n", title="")
    assert rank is not None and own is not None
    for table in (rank, own, native):
        marks = {str(row[0].value): row[0].mark for row in table.rows}
        assert marks["MS"] == "" and marks["FS-IQA"] == "†"
    # It has the largest share of pairs, and yet is not named.
    shares = {str(row[0].value): row[4].value for row in rank.rows}
    assert shares["FS-IQA"] == max(shares.values())
    assert "FS-IQA" not in rank.caption
    assert rank.caption.startswith("Among proved radii: ")
    only = whole.table("evaluate")
    only = only[only["defense"] == "fs-iqa"]
    alone = guarantees(only, mode="NR", familywise=False)
    assert "No radius is proved" in ranking_table(alone, id="r", title="").caption
    assert "no certificate with a proved radius" in ledger_note(alone)
    assert "expected failing" not in ledger_note(alone)


def test_rows_beside_the_tables_are_compared_at_equal_radius(
    whole: FrameRun, no_figures: None
) -> None:
    frame, audit = whole.table("evaluate"), whole.table("audit")
    better = frame[(frame["mode"] == "NR") & (frame["defense"] == "ms") & (frame["sigma"] == 0.1)]
    beside = {
        "evaluate": better.assign(sigma=0.02, score=(better["mos"] - 1) / 4),
        "audit": audit[audit["defense"] == "fs-iqa"].assign(defense="fs-iqa-guarded"),
    }
    document = compose(replace(whole, beside=beside), reps=20)
    tables = {table.id: table for table in document.tables()}
    rows = [row for row in tables["table-m2a"].rows if row[1].value == "MS"]
    assert {row[2].value for row in rows} == {0.02}
    assert all(row[4].value == pytest.approx(1.0) for row in rows)
    assert [(row[0].value, row[1].value) for row in tables["table-g5a"].rows] == [("MS", 0.02)]
    assert 0.02 not in [row[1].value for row in tables["table-g2a"].rows]
    attacked = {(row[0].value, row[1].value): row[6].value for row in tables["table-audit"].rows}
    assert attacked["NR", "fs-iqa-guarded"] == "1/3"
    assert attacked["FR", "fs-iqa-guarded"] == "0/3"


def test_nobody_is_ranked_on_few_photographs(whole: FrameRun) -> None:
    frame = whole.table("evaluate")
    fewer = frame[frame["group"].isin([f"photo{i}" for i in range(9)])]
    few = agreements(replace(whole, tables={**whole.tables, "evaluate": fewer}), reps=40)["NR"]
    assert few.photographs == 9
    assert few.groups("srcc", 0.1) == {} and few.leaders("srcc", 0.1) == ()
    table = main_table(few, whole.table("time"), published(), number=1)
    assert "Too few photographs to rank (9; at least 10" in table.caption
    assert all(field.group == "" for row in table.rows for field in row)
    assert few.interval("srcc", ("koncept", "ms", 0.1)) is not None


def test_time_is_per_model_and_defence(whole: FrameRun) -> None:
    time = whole.table("time")
    seconds = model_seconds(time, MODELS, "ms", certified=True)
    assert seconds == pytest.approx({"koncept": 1.05, "dbcnn": 2.1, "lpips": 3.15, "dists": 4.2})
    plain = model_seconds(time, ("dbcnn",), "fs-iqa", certified=False)
    assert plain == pytest.approx({"dbcnn": 0.021})
    assert len(repeat_deviation(time)) == len(time)
    assert stability(time, "ms")[0] != stability(time, "fs-iqa")[0]
    assert stability(time, "nobody") == (None, None)


def test_relative_gain_is_the_mean_over_columns(found: dict[str, Agreement]) -> None:
    gain, samples, _ = relative_gain(found, "srcc")
    single = [
        a.mean("srcc", "fs-iqa", s).value / a.mean("srcc", "dms-iqa", s).value - 1
        for a in found.values()
        for s in SIGMAS
    ]
    assert gain == pytest.approx(np.mean(single))
    assert len(samples) == 40


@pytest.mark.parametrize("edition", ["compact", "published"])
def test_verdicts_say_what_the_numbers_say(edition: str) -> None:
    run = synthetic_run(
        edition=edition,
        defenses=("rs-reg", "cert-reg", "ms", "dms", "dms-iqa", "fs-iqa"),
        broken=False,
    )
    made = verdicts(run, agreements(run, reps=40), published(), reps=40)
    words = {v.claim.split(" (")[0]: (v.word, v.scope) for v in made}
    scope = "size" if edition == "published" else "trend"
    assert len(made) == 13
    suppression = words["FS-IQA suppresses 69.9 % of the attack's gain on KonCept"]
    assert suppression == ("reproduced" if edition == "published" else "same direction", scope)
    saved = next(v for v in made if "with the certificate" in v.claim)
    assert saved.word == ("not reproduced" if edition == "published" else "same direction")
    alike = next(v for v in made if "RS-Reg = Cert-Reg = MS" in v.claim)
    assert alike.word == ("reproduced" if edition == "published" else "same direction")
    wider = next(v for v in made if "grows with the noise level" in v.claim)
    assert wider.scope == "trend"
    assert "Largest difference 0.000" in alike.evidence


def test_who_differs_is_not_alike_for_want_of_photographs() -> None:
    """One photograph has no interval: it proves neither a difference nor that there is none."""
    run = synthetic_run(broken=False, defenses=("rs-reg", "cert-reg", "ms", "fs-iqa"))
    frame = run.table("evaluate").assign(group="photo0")
    ms = frame["defense"] == "ms"
    frame.loc[ms, "score"] = frame.loc[ms, "score"].sample(frac=1, random_state=1).to_numpy()
    one = replace(run, tables={**run.tables, "evaluate": frame})
    made = verdicts(one, agreements(one, reps=20), published(), reps=20)
    (alike,) = (v for v in made if "RS-Reg = Cert-Reg = MS" in v.claim)
    assert alike.word == "undecided" and "none is told apart" in alike.evidence


def test_sizes_are_judged_in_the_papers_own_setting_only() -> None:
    run = synthetic_run(edition="published", broken=False)

    def scope(**changes: object) -> str:
        profile = run.profile.model_copy(update=changes)
        other = replace(run, profile=profile)
        made = verdicts(other, agreements(run, reps=10), published(), reps=10)
        return made[0].scope

    assert scope() == "size"
    assert scope(data=DataSection(nr="mine.toml", fr="kadid10k")) == "trend"
    assert scope(certificate=CertificateSection(samples=200)) == "trend"
    assert scope(edition="compact") == "trend"


def suppressed(run: FrameRun) -> Verdict:
    made = verdicts(run, agreements(run, reps=10), published(), reps=10)
    return next(v for v in made if "on KonCept" in v.claim)


def with_attack(run: FrameRun, attack: pd.DataFrame) -> FrameRun:
    return replace(run, tables={**run.tables, "attack": attack})


def test_suppression_is_judged_under_transfer_with_white_box_beside_it(whole: FrameRun) -> None:
    found = suppressed(whole)
    assert found.word == "same direction"
    assert "Transfer, share of score: 70.0 % [70.0 %, 70.0 %] (l2), 70.0 %" in found.evidence
    assert f"White-box, share of score: {MINUS}20.0 %" in found.evidence
    attack = whole.table("attack")
    swapped = {"transfer": "white-box", "white-box": "transfer"}
    plain = attack["defense"] == "undefended"
    other = attack.assign(attack=attack["attack"].where(plain, attack["attack"].map(swapped)))
    assert suppressed(with_attack(whole, other)).word == "opposite"
    mixed = pd.concat([attack[attack["norm"] == "l2"], other[other["norm"] == "linf"]])
    assert suppressed(with_attack(whole, mixed)).word == "undecided"


def test_without_transfer_suppression_cannot_be_said(whole: FrameRun) -> None:
    attack = whole.table("attack")
    old = attack[attack["attack"] == "white-box"].drop(columns="attack")
    found = suppressed(with_attack(whole, old))
    assert found.word == "cannot be said" and "White-box, share of score" in found.evidence
    first, *_ = attack_blocks(
        with_attack(whole, old).table("attack"), whole.table("evaluate"), reps=10
    )
    assert isinstance(first, Figure) and "white-box, upwards" in first.title


def test_figure_4_first_in_the_papers_form_then_on_shared_axes(whole: FrameRun) -> None:
    first, *others, table = attack_blocks(whole.table("attack"), whole.table("evaluate"), reps=10)
    assert isinstance(first, Figure) and first.id == "figure-4"
    assert "transfer, upwards" in first.title and "6 images of 6 photographs" in first.caption
    drawn = [block for block in others if isinstance(block, Figure)]
    assert [block.id for block in drawn] == ["figure-4-koncept-linf", "figure-4-koncept-l2"]
    heading = [column.name for column in first.data.columns]
    rows = [dict(zip(heading, row, strict=True)) for row in first.data.rows]
    assert {(row["defence"].value, row["attack"].value) for row in rows} == {
        ("undefended", "white-box"),
        ("FS-IQA", "transfer"),
    }
    assert {row["norm"].value for row in rows} == {"l∞"}
    errors = [row["standard error, share of range"].value for row in rows]
    assert all(isinstance(error, float) and error > 0 for error in errors)
    assert isinstance(table, Table)
    printed = [[cell.line for cell in row] for row in table.printed()]
    assert [row[1:4] for row in printed] == [
        ["upwards", "transfer", "l∞"],
        ["upwards", "transfer", "l2"],
        ["upwards", "white-box", "l∞"],
        ["upwards", "white-box", "l2"],
    ]
    assert printed[0][5] == "70.0 % [70.0 %, 70.0 %]"


def test_an_attack_on_another_model_says_nothing_of_koncept(whole: FrameRun) -> None:
    attack = whole.table("attack").assign(model="dbcnn")
    other = replace(whole, tables={**whole.tables, "attack": attack})
    found = next(
        v
        for v in verdicts(other, agreements(other, reps=10), published(), reps=10)
        if "on KonCept" in v.claim
    )
    assert found.word == "cannot be said"
    assert found.evidence.startswith("The attack was run on DBCNN. Transfer, share of score: ")


def test_claims_cannot_be_said_without_the_records(whole: FrameRun) -> None:
    only = replace(whole, tables={"evaluate": whole.table("evaluate")})
    words = [v.word for v in verdicts(only, agreements(only, reps=10), published(), reps=10)]
    assert words.count("cannot be said") >= 4


def test_banner_and_first_line(document: Document, no_figures: None) -> None:
    assert "Compact edition" in document.banner
    assert document.verdict[0] == "23/24 cells ok"
    assert not document.complete
    assert "Published edition" in compose(synthetic_run(edition="published"), reps=5).banner


@pytest.mark.parametrize(("widths", "said"), [((128, 128), True), ((128, 129), False)])
def test_the_banner_says_how_large_pictures_of_one_size_are(
    widths: tuple[int, int], said: bool, no_figures: None
) -> None:
    run = synthetic_run(edition="published")
    titled = run.table("calibration").assign(
        model_title="A (head)", dataset_title="Set", label_kind="MOS"
    )
    pictures = run.table("evaluate")
    pictures = pictures.assign(width=[widths[i % 2] for i in range(len(pictures))])
    tables = {**run.tables, "calibration": titled, "evaluate": pictures}
    banner = compose(replace(run, tables=tables), reps=5).banner
    assert banner.endswith("but A (head). Data: Set at 96x128: MOS" if said else "Data: Set: MOS")


def test_a_violation_is_named(document: Document) -> None:
    texts = [item for s in document.sections for b in s.blocks for item in getattr(b, "items", ())]
    named = [str(text) for text in texts if "photograph `photo0`" in str(text)]
    assert len(named) == 1 and named[0].startswith("FS-IQA: ")
    assert "1 image, 2 certificates of KonCept, interval use up to 1.20" in named[0]


def test_colours_are_distinct_and_stable() -> None:
    looks = defense_looks(["zeta", "fs-iqa", "alpha", "undefended"])
    assert list(looks) == ["undefended", "fs-iqa", "alpha", "zeta"]
    known = defense_looks(DEFENSE_TITLES)
    assert looks["fs-iqa"] == known["fs-iqa"]
    assert len({look.color for look in (*known.values(), *looks.values())}) == len(known) + 2


def test_reproduce_line_names_every_axis(run: FrameRun) -> None:
    line = reproduce_line(run)
    assert "--models koncept,dbcnn,lpips,dists" in line
    assert "--sigmas 0.1,0.5" in line


@pytest.mark.parametrize(("features", "option"), [(300, True), (2000, False)])
def test_reproduce_line_never_changes_the_draws_of_features(features: int, option: bool) -> None:
    """``--samples`` sets both kinds."""
    draws = {"samples": 300, "feature_samples": features}
    profile = load_profile("embedded")
    certificate = profile.certificate.model_copy(update=draws)
    run = SimpleNamespace(profile=profile.model_copy(update={"certificate": certificate}))
    assert (" --samples 300" in reproduce_line(run)) == option  # type: ignore[arg-type]


def test_worked_examples_take_arrays() -> None:
    grey = np.full((4, 5, 3), 0.5)
    block = worked_example(
        id="x", caption="c", pictures=[("a", grey), ("b", amplified(grey, grey))]
    )
    assert [label for label, _ in block.pictures] == ["a", "b"]
    assert block.pictures[0][1].startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="shape"):
        worked_example(id="x", caption="c", pictures=[("a", grey[0])])


def _picture(
    defense: str, image: str, level: float, *, model: str, sigma: float
) -> dict[str, object]:
    """A record of one attacked picture, 4 x 5 pixels of one grey."""
    shades = {"original_png": 0.5, "attacked_png": level}
    pngs = {name: encoded(np.full((4, 5, 3), grey)) for name, grey in shades.items()}
    return {
        "status": "ok",
        "dataset": "embedded",
        "model": model,
        "defense": defense,
        "sigma": sigma,
        "image": image,
        "norm": "linf",
        "epsilon": 0.05,
        **pngs,
    }


def test_worked_examples_show_best_median_and_worst(no_figures: None) -> None:
    run = synthetic_run()
    frame = run.table("evaluate")
    seen = frame[(frame["defense"] == "fs-iqa") & (frame["status"] == "ok")]
    model, sigma = seen["model"].iloc[0], float(seen["sigma"].iloc[0])
    here = seen[(seen["model"] == model) & (seen["sigma"] == sigma)]
    images = list(here["image"])[:4]
    pictures = [
        _picture(defense, image, level, model=model, sigma=sigma)
        for image in images
        for defense, level in (("undefended", 0.6), ("fs-iqa", 0.4))
    ]
    tables = {**run.tables, "pictures": pd.DataFrame(pictures)}
    section = worked_section(replace(run, tables=tables))
    assert section is not None
    shown = [block for block in section.blocks if isinstance(block, Images)]
    assert [block.caption.split("**")[1] for block in shown] == ["Best", "Median", "Worst"]
    assert len({block.caption.split(": ")[1] for block in shown}) == 3
    labels = [label for label, _ in shown[0].pictures]
    assert labels[0] == "original" and "attacked, FS-IQA" in labels
    assert worked_section(run) is None


def test_a_model_planned_on_fewer_images_is_complete_all_the_same(whole: FrameRun) -> None:
    frame = whole.table("evaluate")
    images = sorted(frame["image"].unique())
    few = frame[(frame["model"] != "lpips") | frame["image"].isin(images[::2])]
    fr = agreements(replace(whole, tables={**whole.tables, "evaluate": few}), reps=40)["FR"]
    assert all(fr.rankable(sigma) for sigma in SIGMAS)
    assert {key[0]: (cell.n, cell.wanted) for key, cell in fr.scores.items()} == {
        "lpips": (12, 12),
        "dists": (24, 24),
    }
    # One image that only one defence lost is seen as before.
    lost = few[(few["model"] != "lpips") | (few["defense"] != "ms") | (few["image"] != images[0])]
    fr = agreements(replace(whole, tables={**whole.tables, "evaluate": lost}), reps=40)["FR"]
    assert not any(fr.rankable(sigma) for sigma in SIGMAS)


def test_leads_are_paired_and_by_model(found: dict[str, Agreement]) -> None:
    agreement = found["FR"]
    table = lead_table(agreement, "fs-iqa", number="S2d")
    assert table is not None
    rows = {(row[0].value, row[1].value): row[2:] for row in table.rows}
    assert list(rows) == [(m, d) for m in ("LPIPS", "DISTS") for d in ("MS", "DMS-IQA")]
    for model, title in (("lpips", "LPIPS"), ("dists", "DISTS")):
        for cell, sigma in zip(rows[title, "MS"], SIGMAS, strict=True):
            mine, his = (model, "fs-iqa", sigma), (model, "ms", sigma)
            difference = agreement.samples["srcc", mine] - agreement.samples["srcc", his]
            assert cell.value == pytest.approx(
                float(agreement.scores[mine].estimate("srcc").value or 0)
                - float(agreement.scores[his].estimate("srcc").value or 0)
            )
            reach = stats.t.ppf(0.975, 11) * np.std(difference, ddof=1) * np.sqrt(12 / 11)
            assert cell.interval == pytest.approx((cell.value - reach, cell.value + reach))
    assert table.caption.startswith(
        "FS-IQA is ahead of every other defence of every model at σ = 0.1, 0.5"
    )
    worst = lead_table(agreement, "ms", number="x")
    assert worst is not None
    assert "MS is not ahead in" in worst.caption and "LPIPS FS-IQA σ = 0.1" in worst.caption
    assert lead_table(agreement, "dms", number="x") is None


def test_what_was_not_run_is_not_called_unequal(whole: FrameRun) -> None:
    frame = whole.table("evaluate")
    level = (frame["model"] == "lpips") & (frame["defense"] == "ms") & (frame["sigma"] == SIGMAS[0])
    image = frame["image"].unique()[0]

    def caption(kept: pd.DataFrame) -> str:
        run = replace(whole, tables={**whole.tables, "evaluate": kept})
        table = lead_table(agreements(run, reps=40)["FR"], "fs-iqa", number="S2")
        assert table is not None
        return table.caption

    missing, fewer = caption(frame[~level]), caption(frame[~(level & (frame["image"] == image))])
    cell = f"LPIPS MS σ = {SIGMAS[0]:g}"
    assert f"; not run: {cell}." in missing and "unequal" not in missing
    assert f"; not compared, for want of equal sets of images: {cell}." in fewer
    assert "not run" not in fewer and "ahead wherever it is compared" in fewer


def test_steps_of_an_order_are_means_over_models(found: dict[str, Agreement]) -> None:
    """Who was not run is passed over; an order turned round turns every sign."""
    agreement = found["FR"]
    table = order_table(agreement, ("fs-iqa", "dms-iqa", "dms", "ms"), number="O2")
    turned = order_table(agreement, ("ms", "dms-iqa", "fs-iqa"), number="O2")
    assert table is not None and turned is not None
    assert [[cell.value for cell in row[:2]] for row in table.rows] == [
        ["FS-IQA", "DMS-IQA"],
        ["DMS-IQA", "MS"],
    ]
    for (one, other), row in zip(
        (("fs-iqa", "dms-iqa"), ("dms-iqa", "ms")), table.rows, strict=True
    ):
        for cell, sigma in zip(row[2:], SIGMAS, strict=True):
            means = [agreement.mean("srcc", name, sigma).value for name in (one, other)]
            assert cell.value == pytest.approx((means[0] or 0) - (means[1] or 0))
            assert cell.interval is not None
            assert cell.interval[0] < cell.value < cell.interval[1]
    for row, back in zip(table.rows, reversed(turned.rows), strict=True):
        assert [cell.value for cell in row[2:]] == [-float(cell.value or 0) for cell in back[2:]]
    ahead = sum(float(cell.value or 0) > 0 for row in table.rows for cell in row[2:])
    steps = 2 * len(SIGMAS)
    assert f"Of {steps} steps measured {ahead} go that way" in table.caption
    assert f"measured {steps - ahead} go" in turned.caption
    assert order_table(agreement, ("dms", "ms"), number="x") is None


def test_leaders_are_told_from_the_tied(found: dict[str, Agreement]) -> None:
    agreement = found["NR"]
    assert leader_sentence(agreement) == (
        "FS-IQA has the highest SRCC at every noise level (0.96 at σ = 0.1, 0.95 at σ = 0.5); "
        "nobody is tied with it."
    )
    # With one resample of a draw in favour of the best or not, ties come and go.
    nobody_sure = replace(
        agreement,
        samples={
            key: value - value.mean() + rank % 2
            for rank, (key, value) in enumerate(agreement.samples.items())
        },
    )
    assert "tied with it" in leader_sentence(nobody_sure)
    for sigma in SIGMAS:
        names = nobody_sure.leaders("srcc", sigma)
        values = [agreement.mean("srcc", name, sigma).value or 0.0 for name in names]
        assert names[0] == "fs-iqa" and values == sorted(values, reverse=True)
