"""What audit records say: planted controls, failed attacks and photographs are kept apart."""

from __future__ import annotations

import pandas as pd

from bench.analysis.audits import Findings, findings, genuine
from bench.report.parts.found import audit_lines, audited


def record(defense: str = "fs-iqa", group: str = "a", **changes: object) -> dict[str, object]:
    usual = {
        "planted": "",
        "dataset": "d",
        "status": "ok",
        "rigor": "first-order",
        "violated": False,
        "displacement_ratio": 0.5,
    }
    return {"defense": defense, "group": group, **usual, **changes}


RECORDS = pd.DataFrame(
    [
        record(violated=True, displacement_ratio=3.0),
        record(group="b", displacement_ratio=1.5),
        record(group="b"),
        record("ms", "c", rigor="proved", displacement_ratio=None),
        # A proved radius of features may have displacements, but no linearisation to fail.
        record("fs-iqa-proved", "c", rigor="proved", displacement_ratio=1.2),
        record("ms", "d", status="failed", violated=None),
        record("ms", "e", status="skipped", violated=None),
    ]
)


def test_findings_count_what_was_found() -> None:
    assert findings(RECORDS) == Findings(
        wanted=6, decided=5, violated=1, linear=3, displaced=2, photographs=3
    )
    assert (
        audited(RECORDS, "ms") == "0 of 1 certificates violated (1 photograph; 1/2 attacks ended)"
    )
    assert audited(RECORDS, "dms") == "not attacked in this run"
    assert audit_lines(RECORDS)[1].startswith(
        "Audit by defence, of those with something against them: FS-IQA: 1 of 3 certificates "
        "violated, linearisation failed in 2 of 3 (2 photographs)."
    )


def test_planted_controls_do_not_count() -> None:
    planted = RECORDS.assign(violated=True, planted="radius x1.5")
    both = pd.concat([RECORDS, planted], ignore_index=True)
    assert findings(both) == findings(RECORDS)
    assert genuine(planted).empty


def test_failed_attacks_are_no_passed_ones() -> None:
    failed = RECORDS[RECORDS["status"] == "failed"]
    assert audit_lines(failed) == ["Audit: no attack came to an end (0/1)."]
    assert audit_lines(RECORDS.iloc[:0]) == []
