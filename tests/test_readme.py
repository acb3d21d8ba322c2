"""The README's numbers come from committed reports: the block is made of them, word by word.

UPDATE_GOLDEN=1 pytest tests/test_readme.py      # after a new reference run
"""

# ruff: noqa: RUF001, RUF002 - Greek letters are meant
from __future__ import annotations

import csv
import re
from pathlib import Path
from statistics import NormalDist

from bench.analysis.names import defense_order, defense_title
from bench.records.folder import RunFolder
from bench.report.numbers import Format, number
from tests.generated import is_made_of

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
INDEX = ROOT / "reports" / "README.md"
REFERENCE = "reports/reference"
RECORDED = f"{REFERENCE}/recorded"
FULL = f"{REFERENCE}/embedded-full"
TIMING = f"{REFERENCE}/timing/cpu-published"
NARROW = 24
"""Most letters of a cell of the README's table: it stays on one line at 1,012 pixels."""

TRUNKS = {
    "nr-hyperiqa": "HyperIQA with a head trained here, human scores",
    "nr-dbcnn": "DBCNN with a head trained here, human scores",
    "fr": "LPIPS as published, proxy labels: KADID-10k's mean of each distortion, which FS-IQA is "
    "trained on too, on other photographs",
}
"""What the runs on published trunks are made of, by what follows ``real-`` in their names."""

SHOWN = ("undefended", "RS-Reg", "Cert-Reg", "MS", "DMS", "DMS-IQA", "FS-IQA")
"""Columns of the README's table of published trunks."""

DOWN = Format(2, rounding="down")

FINDINGS = ("**If only accuracy", "**If a proved interval", "**Proved radii", "**FS-IQA**")
"""How the README's sentences of page 1 begin; the others are one click away."""


def read(folder: str) -> str:
    """A report in Markdown."""
    return (ROOT / folder / "report.md").read_text(encoding="utf-8")


def box(report: str) -> list[str]:
    """The bullets of a report's first box."""
    return [line[4:] for line in report.splitlines() if line.startswith("> - ")]


def choices(report: str) -> list[str]:
    """What a report says to choose."""
    part = report.split("## Which defence?", 1)[-1].split("\n## ", 1)[0]
    return [line[2:] for line in part.splitlines() if line.startswith("- **")]


def caption(report: str, number: str) -> str:
    """Caption of a table of a report."""
    part = report.split(f"### Table {number}. ", 1)[1]
    return re.sub(r" \(\[CSV\].*", "", part.split("\n\n")[1])


def heading(report: str) -> str:
    """Title row and rule of a report's first table, and its rows, as lists of cells."""
    return report.split("### Table D. ", 1)[1].split("\n\n")[2]


def decision(report: str) -> str:
    """The decision table, one number a cell: intervals and marks of scaling are in the report."""
    head, _, *body = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in heading(report).splitlines()
    ]
    kept = [i for i, name in enumerate(head) if "estimate" not in name and name != "radius"]
    lines = [[short(head[i]) for i in kept]]
    lines += [[re.sub(r"<br>.*|≈|[NF]R (?=\d)", "", row[i]) for i in kept] for row in body]
    rule = "|---|" + "---:|" * (len(kept) - 1)
    rows = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([rows[0], rule, *rows[1:]]) + "\n"


def short(name: str) -> str:
    """A heading in few letters, ``SRCC NR, ρ = 0.01``, that breaks after the comma only."""
    match = re.fullmatch(r"(ρ = \S+) (.*)", name)
    if match:
        return ", ".join(part.replace(" ", "\N{NO-BREAK SPACE}") for part in (match[2], match[1]))
    if name == "images broken":
        return "broken\N{NO-BREAK SPACE}NR, FR"
    return "seconds" if name.startswith("seconds") else name


def trusted(report: str) -> str:
    """How many photographs and draws stand behind a report."""
    return " ".join(
        line
        for line in box(report)
        if " images of " in line or "draws" in line.split(":")[0] or "bfloat16" in line
    )


def weak(report: str) -> str:
    """Which denoisers of a report are not worth their name, if any."""
    lines = (line for line in box(report) if line.startswith("no better than a Gaussian"))
    return "".join(f" At their worst noise level {line}." for line in lines)


def guaranteed(report: str) -> list[str]:
    """Whom a report says to choose for a proved interval, by mode."""
    begin = "**If a proved interval matters, "
    told = [line.removeprefix(begin) for line in choices(report) if line.startswith(begin)]
    return [line.replace(":**", ":", 1) for line in told]


def proved(report: str) -> str:
    """The same in one sentence, without those who are behind."""
    behind = r"; wider, SRCC not told apart: [^)]*|, not [^;.]*, which at [^;.]* scores"
    return (
        "; ".join(re.sub(behind, "", line).removesuffix(".") for line in guaranteed(report)) + "."
    )


def brief(told: str) -> str:
    """The same in a line: of who is chosen from common noise levels the name alone."""
    return re.sub(r"; if only σ = [^:]*: ([\w-]+) \([^)]*\)", r", of common σ \1", told)


def leads(report: str) -> list[str]:
    """Who is behind whom, by mode, from the supplement."""
    return [
        f"{mode}: {caption(report, number)}"
        for mode, number in (("NR", "S1"), ("FR", "S2"))
        if f"### Table {number}. " in report
    ]


def order(report: str) -> tuple[str, str]:
    """The paper's order as a report words it, and how many of its steps it sees, by mode."""
    told = {mode: caption(report, number) for mode, number in (("NR", "O1"), ("FR", "O2"))}
    (wanted,) = {text.split(" in the paper. ")[0] for text in told.values()}
    found = (
        f"{mode}: {text.split(' in the paper. ')[1].strip('.')}" for mode, text in told.items()
    )
    return wanted, "; ".join(found) + "."


def trained(report: str) -> str:
    """Who was trained on what, of a report's first table, and what no score has shaped."""
    (told, *_) = re.findall(r"<sub>(Trained here: .*?)</sub>", report)
    (alone, *_) = re.findall(r"(DMS-IQA's for [^;.]* is one network, of pixels alone)", report)
    return f"{told} {alone}."


def attacked(report: str) -> list[str]:
    """What attacks on a report's certificates found, and what they would have found."""
    aside = "|".join(
        [
            r"interval x0\.7 in .*? and (?=radius x2)",
            r"\*\*",
            r"\.$",
            " under attack",
            r", radius not proved \([a-z-]*\)",
            "; photographs: [^;]*",
        ]
    )
    lines = [line for line in choices(report) if line.startswith(FINDINGS[2:])]
    return [re.sub(aside, "", line) for line in lines]


def unproved(report: str) -> str:
    """What FS-IQA's interval, whose radius is not proved, is worth at the smallest radius."""
    (line,) = [line for line in choices(report) if line.startswith(FINDINGS[3])]
    return line[line.index("SRCC at ρ") :].replace("SRCC at", "FS-IQA at", 1)


def refitted(*rows: str) -> str:
    """How far FS-IQA is from the undefended DBCNN where it learnt from as many photographs."""
    text = (ROOT / "results" / "reference" / "README.md").read_text(encoding="utf-8")
    told = []
    for which in rows:
        (row,) = [line for line in text.splitlines() if re.match(rf"\| \d+ {which} \|", line)]
        _, photographs, undefended, *differences, _ = [cell.strip() for cell in row.split("|")]
        told.append(f"on {photographs} ({undefended}): {', '.join(differences)}")
    return (
        "FS-IQA trained on all 800 photographs, as the head was, minus undefended at "
        f"σ = 0.1, 0.25, 0.5, {'; '.join(told)}."
    )


def chosen() -> str:
    """By what rule the table of the recorded run has its rows, and what of it was attacked."""
    run = RunFolder(ROOT / "results" / "reference" / "recorded")
    profile = run.plan().profile
    cells = run.table("evaluate", ["defense", "sigma"]).drop_duplicates()
    least = cells.groupby("defense")["sigma"].min()
    from_least: dict[float, list[str]] = {}
    for defense in defense_order(least.index):
        if defense in profile.defenses:
            from_least.setdefault(float(least[defense]), []).append(defense_title(defense))
    choice = "; ".join(f"{', '.join(names)} from {s:g} up" for s, names in from_least.items())
    audit = run.table("audit", ["sigma"])
    sigmas = ", ".join(f"{s:g}" for s in sorted(audit["sigma"].unique()))
    (draws,) = {profile.certificate.samples, profile.certificate.feature_samples}
    # All of N draws stay below the quantile p with probability p^N.
    risk = 1 - profile.certificate.confidence
    few, many = (number(NormalDist().inv_cdf(risk ** (1 / n)), DOWN) for n in (draws, 2000))
    return (
        "Each defence stands at that of its noise levels which agrees best on these images while "
        f"it certifies 90 % of them at ρ ({choice}); attacked were σ = {sigmas}. {draws} draws "
        f"bound a median up to ρ = {few} σ, {2000:,} up to {many} σ: "
        "with more draws smaller noise, hence a better SRCC at ρ = 0.1, is open to MS."
    )


def trunks() -> dict[str, str]:
    """The reports on published trunks."""
    return {name: read(f"{REFERENCE}/real-{name}") for name in TRUNKS}


def block() -> str:
    """What the README shows of the committed reports."""
    recorded, full, real = read(RECORDED), read(FULL), trunks()
    wanted, steps = order(full)
    aside = {
        "nr-dbcnn": f" {refitted('seen', 'not seen before', 'all')}",
        "nr-hyperiqa": f" The photographs had been looked at under [another head]({REFERENCE}/"
        "real-nr/report.md), trained alike.",
    }
    return "\n".join(
        [
            "Small networks trained by this project, proxy labels: *trends only*. "
            f"{trusted(recorded)} Full report: [Markdown]({RECORDED}/report.md), "
            f"[PDF]({RECORDED}/report.pdf), HTML beside them; "
            "[all reports](reports/README.md).\n",
            f"![Agreement with the proxy labels against width of the interval at the same radius]"
            f"({RECORDED}/figures/figure-d.png)\n",
            decision(recorded),
            "SRCC: agreement with the proxy labels, higher is better. Width: of the interval, as a "
            "share of the spread of all scores, lower is better. † radius not proved. Broken: "
            "images, by attacks inside the certified ball. Planted errors: certificates made too "
            "strong on purpose, to see what attacks would notice. Seconds: of one certificate on "
            f"two CPU cores beside other work, so too large. {chosen()} {trained(recorded)}\n",
            *(f"- {line}" for line in choices(recorded) if line.startswith(FINDINGS)),
            *(
                f"- {line} Its order, {wanted} (mean over models at equal σ, FS-IQA's on features, "
                f"the others' on pixels; paired 95 % intervals over photographs): {steps} From "
                f"[six times the images]({FULL}/report.md), neither timed nor attacked: "
                f"{trusted(full)}"
                for line in box(recorded)
                if line.startswith("Claims of the paper")
            ),
            "\n**Published trunks**, SRCC at σ = 0.25, 0.5, FS-IQA's on features, the others' on "
            "pixels, so at unequal radius; "
            "broken: certificates that attacks broke, in brackets those made too strong on purpose "
            "(radius x2) that the same attacks found; a dash is not measured "
            "([why](results/reference/README.md)).\n",
            *side_by_side(),
            *(
                f"- [{TRUNKS[name]}]({REFERENCE}/real-{name}/report.md): {trusted(one)} At equal "
                f"radius, of proved ones measured: {proved(one)} At equal σ, "
                f"paired 95 % intervals over photographs: {' '.join(leads(one))} "
                f"{unproved(one)}{audited(f'{REFERENCE}/real-{name}')}{weak(one)}"
                f"{aside.get(name, '')}"
                for name, one in real.items()
            ),
            "",
        ]
    )


def side_by_side() -> list[str]:
    """The table of published trunks: SRCC at the two larger noise levels, and what was broken."""
    rows = []
    for name, title in TRUNKS.items():
        folder = f"{REFERENCE}/real-{name}"
        found = srccs(folder, sigmas=("0.25", "0.5"))
        shown = [", ".join(dict.fromkeys(found.get(one, ["–"]))) for one in SHOWN]
        hit = [broken(folder, rigor=one) for one in ("proved", "first-order")]
        start = f"{title.split(' ')[0]}, {name[:2].upper()}"
        rows.append(f"| {' | '.join([start, *shown, *hit])} |")
    heads = ("trunk", *SHOWN, "proved broken", "FS-IQA broken")
    return [f"| {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) - 1), *rows, ""]


def broken(folder: str, *, rigor: str) -> str:
    """Certificates of one rigor that attacks broke, and of planted errors those they found."""
    told = {
        name: _counted(ROOT / folder / "tables" / f"table-{name}.csv", column, rigor=rigor)
        for name, column in (("audit", "violated"), ("planted", "radius x2 certificates"))
    }
    return f"{told['audit']} ({told['planted']})" if all(told.values()) else "–"


def audited(folder: str) -> str:
    """On how many photographs each defence of a run was attacked."""
    table = ROOT / folder / "tables" / "table-audit.csv"
    if not table.exists():
        return " No certificate was attacked."
    with table.open(encoding="utf-8") as file:
        counts = {row["Defence"]: row["photographs"] for row in csv.DictReader(file)}
    told = ", ".join(f"{defense} {count}" for defense, count in counts.items())
    return f" Photographs attacked: {told}."


def _counted(table: Path, column: str, *, rigor: str) -> str:
    """Sum of a column of ``k/n`` over the defences of one rigor; empty where none was attacked."""
    if not table.exists():
        return ""
    with table.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["rigor"] == rigor]
    by_row = {(row["Mode"], row["Defence"]): row for row in rows}
    pairs = [tuple(map(int, row[column].split("/"))) for row in by_row.values()]
    return f"{sum(k for k, _ in pairs)}/{sum(n for _, n in pairs)}" if pairs else ""


def srccs(folder: str, *, sigmas: tuple[str, ...]) -> dict[str, list[str]]:
    """SRCC of each defence of a report at some noise levels, as the tables print it."""
    wanted = [f"SRCC / PLCC σ = {sigma}" for sigma in sigmas]
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / folder / "tables").glob("table-[12].csv")):
        with path.open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row["quantity"] in wanted:
                    value = f"{float(row['value']):.2f}".replace("-", "−")
                    found.setdefault(row["Defence"], []).append(value)
    return found


def index() -> str:
    """The index of the committed reports: report, question, answer."""
    recorded, full, real = read(RECORDED), read(FULL), trunks()
    claims = [line for line in box(recorded) if line.startswith("Claims of the paper")]
    broke = [
        line.split("; photographs")[0] for line in choices(recorded) if "attacks broke" in line
    ]
    small, proof = read(f"{REFERENCE}/timing/cpu-compact"), read(f"{REFERENCE}/price-of-proof")
    guaranteed = [
        line.split("; as")[0] + ")" for line in choices(proof) if "proved interval" in line
    ]
    rows = [
        ("recorded", "Which proved defence? Compact networks.", [brief(proved(recorded))]),
        ("recorded", "Is the paper right?", claims),
        ("embedded-full", "Is its order right, on six times the images?", [order(full)[1]]),
        ("recorded", "What did attacks break?", broke),
        *(
            (
                f"real-{name}",
                f"Which proved defence, on {TRUNKS[name].split(',')[0]}?",
                [brief(proved(report))],
            )
            for name, report in real.items()
        ),
        (
            "real-nr",
            "What did attacks break on HyperIQA, under another head?",
            attacked(read(f"{REFERENCE}/real-nr")),
        ),
        (
            "real-nr-dbcnn-refit",
            "Is FS-IQA as accurate as DBCNN, trained alike?",
            [refitted("all")],
        ),
        ("price-of-proof", "What does a model with a Lipschitz constant prove?", guaranteed),
        ("timing/cpu-published", "What does it cost, published networks?", box(read(TIMING))),
        ("timing/cpu-compact", "What does it cost, compact networks?", box(small)),
    ]
    lines, based = ["| report | question | answer in a line |", "|---|---|---|"], {}
    for name, question, answers in rows:
        first = next(iter(answers), "see the report").replace("|", "\\|")
        answer = first.split(". ")[0].removesuffix(".") + "."
        if match := re.search(r"of (\d+) photographs", trusted(read(f"{REFERENCE}/{name}"))):
            based[name] = match[1]
        lines.append(f"| [{name}](reference/{name}/report.md) | {question} | {answer} |")
    told = ", ".join(f"{name} {count}" for name, count in based.items())
    return "\n".join([*lines, "", f"Photographs behind them: {told}."]) + "\n"


def test_the_block_is_what_the_reports_say() -> None:
    assert is_made_of(README, block(), name="reference")


def test_the_index_of_reports_is_what_they_say() -> None:
    assert is_made_of(INDEX, index(), name="reference")


def test_the_table_has_a_number_a_cell() -> None:
    _, shown = README.read_text("utf-8").split("<!-- reference:begin -->\n")
    rows = shown.splitlines()
    cells = [
        cell.strip() for row in rows if row.startswith("| ") for cell in row.strip("|").split("|")
    ]
    assert len(cells) > 50
    assert [cell for cell in cells if len(cell) > NARROW or "<br>" in cell] == []


def test_the_table_is_that_of_the_csv() -> None:
    with (ROOT / RECORDED / "tables/table-d.csv").open(encoding="utf-8") as file:
        names = dict.fromkeys(row["Defence"] for row in csv.DictReader(file))
    for name in names:
        assert re.search(rf"^\| {re.escape(name)}[†‡]? \|", README.read_text("utf-8"), re.M)


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 120


def test_every_figure_and_link_exists() -> None:
    for path in (README, INDEX):
        text = path.read_text(encoding="utf-8")
        targets = re.findall(r"\]\((?!http)([^)#]+)", text)
        assert len(targets) >= 5
        assert [target for target in targets if not (path.parent / target).exists()] == []
