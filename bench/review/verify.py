"""Recompute every bound and every aggregate of a run from its records, without any model.

Says loudly what differs, by row and column with both values; also what is missing, what is there
twice, and what no plan asked for.  This module knows records and plans; it must not know models,
images or data sets, and imports neither.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.analysis.frames import plain, rows
from bench.measure.certificates import Terms
from bench.measure.planted import CLAIMS, GENUINE
from bench.measure.tuning import tuned
from bench.plan.units import STAGES, Plan, Unit
from bench.records.schema import BY_TABLE, CONSTANT
from bench.review.recomputing import (
    Row,
    Settings,
    agree,
    check_certificate,
    check_draws,
    correlations,
)

if TYPE_CHECKING:
    from bench.plugins.registry import Kind
    from bench.records.folder import RunFolder
    from defenses.base import Defense

SHOWN = 40
"""Differences printed; the count says how many there are."""
STORED = {"fit": "fit", "time": "time", "attack": "attack", "audit": "audit"}
"""Stages with one row per unit, and their tables."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A recorded value that is not what it should be.

    Attributes:
        table: Table of the record.
        row: Its key.
        column: The column, or ``row`` for the record as a whole.
        recorded, expected: Both values.
    """

    table: str
    row: tuple[Any, ...]
    column: str
    recorded: Any
    expected: Any

    def __str__(self) -> str:
        where = " / ".join(str(part) for part in self.row)
        return (
            f"{self.table} [{where}] {self.column}: recorded {_short(self.recorded)}, "
            f"expected {_short(self.expected)}"
        )


@dataclass(frozen=True, slots=True)
class Verification:
    """What was recomputed and what differs.

    Attributes:
        certificates: Certificates recomputed from their draws, abstentions included.
        aggregates: Cells whose correlations were recomputed.
        differences: Everything that is not as it should be.
        notes: What a reader must know although it is no difference.
        seconds: Wall-clock time.
    """

    certificates: int
    aggregates: int
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """Nothing differs."""
        return not self.differences

    def __str__(self) -> str:
        """The verdict, e.g. ``verified 5400 certificates and 108 aggregates in 21 s``."""
        counts = f"{self.certificates} certificates and {self.aggregates} aggregates"
        if self.ok:
            return "\n".join([f"verified {counts} in {self.seconds:.0f} s", *self.notes])
        lines = [str(difference) for difference in self.differences[:SHOWN]]
        if len(self.differences) > SHOWN:
            lines.append(f"and {len(self.differences) - SHOWN} more")
        verdict = f"NOT verified: {len(self.differences)} differences in {counts}"
        return "\n".join([*lines, verdict, *self.notes])


def verify(
    run: RunFolder,
    *,
    plugins: Sequence[str] = (),
    defenses: Mapping[str, Defense] | None = None,
) -> Verification:
    """Recompute a run.

    Args:
        run: Its folder.
        plugins: Plugin files that the user trusts; what the run itself names is never executed.
        defenses: Untuned defences by name; found in the plugins if not given.  Certificates of
            a defence that is not among them are not recomputed, and a note says so.

    Raises:
        BenchError: The run cannot be read, or a defence of its plan is missing or has changed.
    """
    started = time.perf_counter()
    plan = run.plan()
    known = load_defenses(plan, plugins) if defenses is None else defenses
    names = plan.profile.all_defenses
    # None before the first attack was made.
    attacked = certificate_keys(plan.of_stage("audit") if run.outcomes("audit") else ())
    wanted = {name: tuned(known[name], plan.profile) for name in names if name in known}
    unknown = [name for name in names if name not in known]
    evaluations, draws, audits = (rows(run.table(t)) for t in ("evaluate", "draws", "audit"))
    differences = [
        *check_rows(plan, "evaluate", evaluations, evaluation_keys(plan)),
        *check_rows(plan, "draws", draws, draw_keys(plan)),
        *check_stages(run, plan),
        *check_failures(run, plan, "evaluate", evaluations),
        *check_failures(run, plan, "audit", audits),
        *check_constants(evaluations),
        *recompute(plan, evaluations, draws, wanted),
        *check_rows(plan, "audit", audits, audit_keys(attacked, audits, evaluations)),
        *check_audit(audits, evaluations),
    ]
    cells, wrong = check_aggregates(run, evaluations)
    return Verification(
        certificates=sum(
            row["status"] in ("ok", "abstained") and row["defense"] in wanted for row in evaluations
        ),
        aggregates=cells,
        differences=(*differences, *wrong),
        notes=(*notes(run, plan, [*evaluations, *audits]), *not_recomputed(unknown)),
        seconds=time.perf_counter() - started,
    )


def load_defenses(plan: Plan, plugins: Sequence[str]) -> dict[str, Defense]:
    """The plan's defences, without opening models or data sets.

    Raises:
        BenchError: One is not there, or its code is not the plan's.
    """
    from bench.plugins.registry import Registry

    registry = Registry.open(plugins, kinds=("defense",))
    used: list[tuple[Kind, str]] = [("defense", name) for name in plan.profile.all_defenses]
    registry.check_code(plan.plugins, used, source=f"the run {plan.name}")
    return {name: registry.defense(name) for name in plan.profile.all_defenses}


# --- is everything there, once? -------------------------------------------------------------------


def evaluation_keys(plan: Plan) -> set[tuple[Any, ...]]:
    """Keys of all evaluation records that the plan asks for."""
    return set(certificate_keys(plan.of_stage("evaluate")))


def certificate_keys(units: Iterable[Unit]) -> Iterator[tuple[Any, ...]]:
    """Keys of the certificates that units make or attack: one of each defence."""
    for unit in units:
        for defense in unit.defense.split(","):
            yield (unit.dataset, unit.model, defense, unit.sigma, unit.image)


def draw_keys(plan: Plan) -> set[tuple[Any, ...]]:
    """Keys of all draw records that the plan asks for."""
    return {
        (unit.dataset, unit.model, unit.smoother, unit.sigma, unit.image)
        for unit in plan.of_stage("evaluate")
    }


def key_of(table: str, row: Row) -> tuple[Any, ...]:
    """Identity of a row within its table."""
    return tuple(plain(row[column]) for column in BY_TABLE[table].key)


def check_rows(
    plan: Plan, table: str, rows: Iterable[Row], wanted: set[tuple[Any, ...]]
) -> Iterator[Difference]:
    """Rows that are missing, there twice, or not asked for."""
    found = Counter(key_of(table, row) for row in rows)
    for key in sorted(wanted - found.keys(), key=str):
        yield Difference(table, key, "row", "missing", f"one, as planned in {plan.name}")
    for key in sorted(found.keys() - wanted, key=str):
        yield Difference(table, key, "row", "present", "none, the plan does not have it")
    for key, count in found.items():
        if count > 1:
            yield Difference(table, key, "row", f"{count} rows", "one row")


def check_stages(run: RunFolder, plan: Plan) -> Iterator[Difference]:
    """A stage that was begun has every unit, and a row for each."""
    for stage in STAGES:
        outcomes, units = run.outcomes(stage), plan.of_stage(stage)
        if not outcomes:
            continue
        for unit in units:
            if unit.key not in outcomes:
                yield Difference(stage, (unit.key,), "unit", "missing", "done, or failed")
        if stage in STORED and (rows := len(run.table(STORED[stage]))) < len(outcomes):
            yield Difference(stage, ("all",), "rows", rows, f"{len(outcomes)}, one per unit")


def check_failures(
    run: RunFolder, plan: Plan, stage: str, rows: Iterable[Row]
) -> Iterator[Difference]:
    """A record failed if its unit did: one that was struck out would flatter what is left."""
    ends = {key for key, outcome in run.outcomes(stage).items() if outcome.status == "failed"}
    failed = {*certificate_keys(unit for unit in plan.of_stage(stage) if unit.key in ends)}
    for row in rows:
        if row["status"] == "failed" and key_of("evaluate", row) not in failed:
            yield Difference(
                stage, key_of(stage, row), "status", "failed", "as its unit, which did not"
            )


def check_constants(rows: Iterable[Row]) -> Iterator[Difference]:
    """An image has one human score, a model one clean score of it, a smoother one scale."""
    seen: dict[tuple[Any, ...], Any] = {}
    for row in rows:
        for columns, values in CONSTANT.items():
            for column in values:
                value = plain(row[column])
                # A failed record does not know the clean score.
                if value is None and column == "undefended":
                    continue
                known = seen.setdefault((columns, *(row[c] for c in columns), column), value)
                if not agree(column, value, known):
                    yield Difference(
                        "evaluate",
                        key_of("evaluate", row),
                        column,
                        value,
                        f"{known!r}, as in another row",
                    )


# --- certificates ---------------------------------------------------------------------------------


def recompute(
    plan: Plan, evaluations: Iterable[Row], draws: Iterable[Row], defenses: Mapping[str, Defense]
) -> Iterator[Difference]:
    """Every certificate from its draws."""
    profile = plan.profile
    settings = Settings(Terms.of(plan), profile.edition)
    by_smoother = {defense.smoother.name: defense for defense in defenses.values()}
    by_key: dict[tuple[Any, ...], Row] = {}
    damaged: set[tuple[Any, ...]] = set()
    for row in draws:
        key = key_of("draws", row)
        by_key[key] = row
        if row["smoother"] not in by_smoother or row["status"] == "failed":
            continue
        for column, recorded, expected in check_draws(row, by_smoother[row["smoother"]], settings):
            # Nothing follows from draws that are not what they should be.
            damaged |= {key} if column == "scores" else set()
            yield Difference("draws", key, column, recorded, expected)
    for row in evaluations:
        defense = defenses.get(row["defense"])
        if defense is None or row["status"] == "failed":
            continue
        # By the defence's own smoother: a row that names another would be found nowhere.
        place = {**row, "smoother": defense.smoother.name}
        key = tuple(place[c] for c in ("dataset", "model", "smoother", "sigma", "image"))
        if key in damaged or key not in by_key:  # draws that are missing are told of by themselves
            continue
        yield from _certificate_differences(row, by_key[key], defense, settings)


def _certificate_differences(
    row: Row, draws: Row, defense: Defense, settings: Settings
) -> Iterator[Difference]:
    key = key_of("evaluate", row)
    try:
        for column, recorded, expected in check_certificate(row, draws, defense, settings):
            yield Difference("evaluate", key, column, recorded, expected)
    except (ValueError, TypeError) as error:
        yield Difference("evaluate", key, "certificate", "one", f"none: {error}")


# --- audit and aggregates -------------------------------------------------------------------------


_VERDICT = ("lower", "upper", "radius", "worst_low_limit", "worst_high_limit", "violated")
"""What the verdict over a certificate is made of."""


def audit_keys(
    attacked: Iterable[tuple[Any, ...]], audits: Sequence[Row], evaluations: Iterable[Row]
) -> set[tuple[Any, ...]]:
    """Keys of all audit records: a claim and its planted errors, or why there are none.

    Args:
        attacked: Keys of the certificates that were to be attacked.
        audits: What was recorded; an attack that failed has one record.
        evaluations: What they were made from; where that has no certificate there is one record.
    """
    whole = {key_of("evaluate", row) for row in evaluations if row["status"] == "ok"}
    whole -= {key_of("evaluate", row) for row in audits if row["status"] == "failed"}
    # The first audits planted nothing.
    claims = CLAIMS if any(row["planted"] != GENUINE for row in audits) else (GENUINE,)
    return {(*key, name) for key in attacked for name in (claims if key in whole else (GENUINE,))}


def check_audit(audits: Iterable[Row], evaluations: Iterable[Row]) -> Iterator[Difference]:
    """Verdicts follow from the recorded limits, audited claims from the certified ones."""
    certified = {key_of("evaluate", row): row for row in evaluations}
    for row in audits:
        key, source = key_of("audit", row), certified.get(key_of("evaluate", row))
        for column in ("group", "rigor"):
            if source is not None and plain(row[column]) != plain(source[column]):
                yield Difference("audit", key, column, row[column], source[column])
        if row["status"] != "ok":
            continue
        if unknown := [name for name in _VERDICT if plain(row[name]) is None]:
            yield Difference("audit", key, unknown[0], None, "a value, where an attack ended")
            continue
        for worst, sign in (("worst_low", 1.0), ("worst_high", -1.0)):
            found, limit = (plain(row[name]) for name in (worst, f"{worst}_limit"))
            if found is not None and sign * (limit - found) < 0:
                yield Difference("audit", key, worst, row[worst], f"inside {worst}_limit")
        violated = row["worst_high_limit"] > row["upper"] or row["worst_low_limit"] < row["lower"]
        if bool(row["violated"]) != bool(violated):
            yield Difference("audit", key, "violated", row["violated"], violated)
        if row["planted"] not in CLAIMS:
            yield Difference("audit", key, "planted", row["planted"], f"one of {list(CLAIMS)}")
            continue
        if source is not None and plain(source["lower"]) is not None:
            yield from _claim_differences(key, row, source)


def _claim_differences(key: tuple[Any, ...], row: Row, known: Row) -> Iterator[Difference]:
    """The claim of an audit row against the certificate it was made from."""
    claim = CLAIMS[row["planted"]]
    lower, upper = claim.ends(known["score"], known["lower"], known["upper"])
    radius = claim.radius * known["radius"]
    # The audit certifies again, one image at a time: equal up to the arithmetic of batches.
    slack = 1e-4 * (known["range_high"] - known["range_low"])
    for column, expected, tolerance in (
        ("lower", lower, slack),
        ("upper", upper, slack),
        ("radius", radius, 1e-4 * radius),
    ):
        if abs(row[column] - expected) > tolerance:
            yield Difference("audit", key, column, row[column], expected)


def check_aggregates(run: RunFolder, rows: Iterable[Row]) -> tuple[int, list[Difference]]:
    """The report's correlations against their definitions, cell by cell."""
    from bench.analysis.agreement import METRICS, agreements
    from bench.analysis.source import from_folder

    cells: dict[tuple[str, str, str, float], list[Row]] = {}
    for row in rows:
        if row["status"] in ("ok", "abstained") and plain(row["score"]) is not None:
            key = (row["mode"], row["model"], row["defense"], float(row["sigma"]))
            cells.setdefault(key, []).append(row)
    reported = agreements(from_folder(run).everything(), reps=1) if cells else {}
    wrong = []
    for cell, part in cells.items():
        mode, model, defense, sigma = cell
        sign = 1.0 if part[0]["higher_is_better"] else -1.0
        found = correlations([r["score"] for r in part], [r["mos"] for r in part])
        scores = reported[mode].scores[model, defense, sigma]
        for index, metric in enumerate(METRICS):
            estimate, expected = scores.estimate(metric), found and sign * found[index]
            agree = (
                estimate.value is None
                if expected is None
                else estimate.value is not None and abs(estimate.value - expected) < 1e-9
            ) and estimate.n == len(part)
            if not agree:
                wrong.append(Difference("report", cell, metric, estimate, expected))
    return len(cells), wrong


def notes(run: RunFolder, plan: Plan, rows: Iterable[Row]) -> Iterator[str]:
    """Failed records and stages that were not run: no difference, but not silence either."""
    failed = sum(row["status"] == "failed" for row in rows)
    if failed:
        yield f"{failed} failed records were not recomputed; run again to retry them"
    idle = [s for s in STAGES if plan.of_stage(s) and not run.outcomes(s)]
    if idle:
        yield f"stages without any record: {', '.join(idle)}"


def not_recomputed(names: Sequence[str]) -> Iterator[str]:
    """What was left as recorded."""
    if names:
        yield f"bounds of {', '.join(names)} were not recomputed: that takes code of others"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
