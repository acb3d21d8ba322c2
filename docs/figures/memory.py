"""Peak memory of sealing a stage and of writing a report, against the number of records.

    python docs/figures/memory.py FOLDER 10000 100000 1000000

makes a synthetic run of each size in FOLDER (real plan, real journal lines, invented numbers)
and seals and reports it, each in a process of its own, adding a row to ``memory.csv`` beside this
file; without a folder it draws ``memory.svg`` from that file.  It must not know how either is done.
"""

from __future__ import annotations

import csv
import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from bench.plan.loading import load_profile
from bench.plan.profile import ExtrasSection
from bench.plan.units import Cell, Plan, Unit
from bench.records.folder import RunFolder
from bench.records.journal import Entry
from bench.records.schema import DrawRecord, EvaluationRecord

HERE = Path(__file__).resolve().parent
TABLE = HERE / "memory.csv"
FIELDS = ("records", "seal_mib", "seal_seconds", "report_mib", "report_seconds", "journal_mb")
SETS = {"koniq10k": ("dbcnn", "hyperiqa", "koncept"), "kadid10k": ("lpips", "dists", "dreamsim")}
GROUPS = {"input": ("rs-reg", "cert-reg", "ms"), "features": ("fs-iqa",)}
SIGMAS = (0.12, 0.18, 0.25)
PHOTOGRAPHS, DRAWS = 81, 32
PER_IMAGE = 3 * len(SIGMAS) * 6
"""Records of one image: draws of two smoothers and four certificates, by model and noise."""
TASKS = [
    (name, model, smoother, defenses, sigma)
    for name, models in SETS.items()
    for model, (smoother, defenses), sigma in product(models, GROUPS.items(), SIGMAS)
]


def plan_of(images: int) -> Plan:
    """A plan of the paper's profile with so many images in each data set."""
    defenses = tuple(name for names in GROUPS.values() for name in names)
    profile = load_profile("paper").model_copy(
        update={"defenses": defenses, "sigmas": SIGMAS, "extras": ExtrasSection()}
    )
    cells = [Cell(s, m, d, x) for s, m, _, names, x in TASKS for d in names]
    units = [
        Unit("evaluate", name, model, ",".join(defenses), smoother, sigma, image_of(number))
        for name, model, smoother, defenses, sigma in TASKS
        for number in range(images)
    ]
    digests = {name: "0" * 64 for name in SETS}
    return Plan(profile, tuple(cells), tuple(units), digests, "1" * 64)


def image_of(number: int) -> str:
    """An image's name."""
    return f"photograph{number % PHOTOGRAPHS:02d}/distortion_{number:06d}"


def lines(plan: Plan) -> Iterator[bytes]:
    """A journal line for every unit, in random order: nothing may lean on sorted journals."""
    radii = list(plan.profile.certificate.radii)
    units, draw = list(plan.units), random.Random(1)  # noqa: S311
    draw.shuffle(units)
    templates: dict[str, str] = {}
    for unit in units:
        if unit.task not in templates:
            templates[unit.task] = template(unit, radii)
        image = str(unit.image)
        mos = 1 + 4 * random.Random(image).random()  # noqa: S311
        score = mos + draw.gauss(0, 0.5)
        values = {
            "@image@": image,
            "@group@": image.split("/")[0],
            '"@mos@"': f"{mos:.6f}",
            '"@score@"': f"{score:.6f}",
            '"@low@"': f"{score - 0.2:.6f}",
            '"@high@"': f"{score + 0.3:.6f}",
        }
        line = templates[unit.task]
        for mark, text in values.items():
            line = line.replace(mark, text)
        yield line.encode() + b"\n"


def template(unit: Unit, radii: list[float]) -> str:
    """A unit's journal line with marks where its image's numbers go."""
    marks = {"image": "@image@", "scores": "@score@", "mos": "@mos@", "group": "@group@"}
    content = json.loads(Entry.of(unit.key, [draws_of(unit), *certificates(unit, radii)]).line())
    content["unit"] = unit.key.replace(str(unit.image), "@image@")
    for row in content["records"]:
        row["image"] = marks["image"]
        if row["table"] == "draws":
            row["scores"] = ["@low@"] * (DRAWS // 2) + ["@high@"] * (DRAWS // 2)
            continue
        row |= {"group": "@group@", "mos": "@mos@", "score": "@score@", "undefended": "@score@"}
        row |= {"lower": "@low@", "upper": "@high@"}
        row["curve_lower"], row["curve_upper"] = ["@low@"] * len(radii), ["@high@"] * len(radii)
    return json.dumps(content, separators=(",", ":"))


def draws_of(unit: Unit) -> DrawRecord:
    """Draws that are filled in later."""
    return DrawRecord(
        status="ok",
        dataset=unit.dataset,
        model=unit.one_model,
        smoother=unit.smoother,
        sigma=unit.sigma or 0.0,
        image="",
        scores=[0.0],
        coefficient=1.0,
    )


def certificates(unit: Unit, radii: list[float]) -> Iterator[EvaluationRecord]:
    """Certificates that are filled in later."""
    for defense in unit.defense.split(","):
        yield EvaluationRecord(
            status="ok",
            dataset=unit.dataset,
            model=unit.one_model,
            edition="published",
            mode="NR" if unit.dataset == "koniq10k" else "FR",
            defense=defense,
            smoother=unit.smoother,
            statistic="median",
            sigma=unit.sigma or 0.0,
            image="",
            group="",
            height=384,
            width=512,
            mos=3.0,
            higher_is_better=True,
            range_low=-10.0,
            range_high=20.0,
            undefended_higher_is_better=True,
            samples=DRAWS,
            confidence=0.999,
            claim="population",
            rigor="first-order" if defense == "fs-iqa" else "proved",
            radius=0.1,
            r=1.0,
            lower=0.0,
            upper=1.0,
            lower_rank=1,
            upper_rank=DRAWS,
            at_ceiling=False,
            curve_radius=radii,
            curve_lower=radii,
            curve_upper=radii,
            curve_at_ceiling=[False] * len(radii),
        )


def journal(folder: Path, records: int) -> RunFolder:
    """A run whose evaluation is done and not yet sealed."""
    plan = plan_of(max(1, round(records / (2 * PER_IMAGE))))
    run = RunFolder.create(folder, plan)
    run.journal.mkdir(exist_ok=True)
    with (run.journal / "evaluate-0000000000000000.jsonl").open("wb") as file:
        file.writelines(lines(plan))
    return run


def measured(code: str, *arguments: str) -> tuple[float, float]:
    """Peak MiB and processor seconds of some code in a process of its own."""
    tail = (
        "; import resource as r, sys; u = r.getrusage(r.RUSAGE_SELF);"
        "found = [l for l in open('/proc/self/status') if l.startswith('VmHWM')][0];"
        "sys.stderr.write('PEAK ' + found.split()[1] + ' ' + str(u.ru_utime + u.ru_stime))"
    )
    command = [sys.executable, "-c", code + tail, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if "PEAK " not in done.stderr:
        raise SystemExit(done.stderr)
    kilobytes, seconds = done.stderr.rsplit("PEAK ", 1)[1].split()
    return int(kilobytes) / 1024, float(seconds)


SEAL = (
    "import sys; from pathlib import Path; from bench.records.folder import RunFolder;"
    "RunFolder(Path(sys.argv[1])).seal('evaluate')"
)
REPORT = (
    "import sys; from pathlib import Path; from bench.records.folder import RunFolder;"
    "from bench.report.upkeep import report;"
    "report(RunFolder(Path(sys.argv[1])), Path(sys.argv[2]))"
)


def measure(folder: Path, records: int) -> None:
    """One row of the table."""
    run = journal(folder, records)
    size = sum(file.stat().st_size for file in run.journal.glob("*.jsonl")) / 1e6
    rows = len(run.plan().units) // 2 * 6
    seal = measured(SEAL, str(run.path))
    report = measured(REPORT, str(run.path), str(folder / "report"))
    numbers = (rows, *(f"{value:.0f}" for value in (*seal, *report, size)))
    with TABLE.open("a", newline="", encoding="utf-8") as file:
        csv.writer(file).writerow(numbers)
    print(dict(zip(FIELDS, numbers, strict=True)), flush=True)  # noqa: T201
    shutil.rmtree(run.path)


def draw() -> None:
    """The curve."""
    import matplotlib.pyplot as plt

    rows = list(csv.DictReader(TABLE.open(encoding="utf-8")))
    plt.rcParams["svg.hashsalt"] = "memory"
    figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
    for name, look in (("seal", "o-"), ("report", "s--")):
        points = [(int(row["records"]), float(row[f"{name}_mib"])) for row in rows]
        axes.plot(*zip(*sorted(points), strict=True), look, label=name)
    axes.axhline(1024, color="#7a7a7a", lw=0.9, ls=":")
    axes.set(xscale="log", xlabel="records", ylabel="peak memory (MiB)", ylim=(0, 1150))
    axes.legend(frameon=False)
    figure.savefig(HERE / "memory.svg", metadata={"Date": None})


if __name__ == "__main__":
    if len(sys.argv) == 1:
        draw()
    else:
        began = time.monotonic()
        if not TABLE.exists():
            TABLE.write_text(",".join(FIELDS) + "\n", encoding="utf-8")
        for count in sys.argv[2:]:
            measure(Path(sys.argv[1]), int(count))
