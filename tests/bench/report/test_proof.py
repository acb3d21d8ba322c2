"""The price of proof: only where a model has a constant, with the widths of the records."""

from __future__ import annotations

import pandas as pd

from bench.analysis.matched import matched
from bench.report.parts.proof import proof_table, proving
from tests.bench.analysis.test_matched import RADII, cell

FIRST = cell("fs-iqa", 0.1, noise=0.2, widths=(0.1, 0.2, 0.4), rigor="first-order")
MINE = cell("fs-iqa-lipschitz", 0.1, noise=0.2, widths=(0.4, 0.6, 4.0))
ITSELF = cell("lipschitz", 0.1, noise=0.1, widths=(0.02, 0.2, 1.0))


def test_models_with_a_certificate_by_their_constant() -> None:
    other = cell("lipschitz", 0.1, noise=0.1, widths=(0.1, 0.2, 0.3), model="koncept")
    assert proving(pd.concat([FIRST, ITSELF])) == ["dbcnn"]
    assert proving(pd.concat([FIRST, MINE, other])) == ["dbcnn", "koncept"]
    assert proving(FIRST) == []
    assert proving(ITSELF.assign(status="abstained")) == []


def test_the_table_has_every_defence_with_its_rigor_and_widths() -> None:
    data = matched(pd.concat([FIRST, MINE, ITSELF], ignore_index=True), "NR", reps=50, seed=1)
    assert data is not None
    table = proof_table(data, "NR")
    found = {str(row[0].value): row for row in table.rows}
    assert len(table.rows) == 3 and len(table.columns) == 2 + 2 * len(RADII)
    assert found["FS-IQA"][1].value == "first-order" and found["FS-IQA"][0].mark
    assert found["fs-iqa-lipschitz"][1].value == "proved" and not found["fs-iqa-lipschitz"][0].mark
    widths = [field.value for field in found["fs-iqa-lipschitz"][3::2]]
    best = data.best[data.best["defense"] == "fs-iqa-lipschitz"]
    assert widths == best.sort_values("radius")["own"].tolist()
    other = data.best[data.best["defense"] == "fs-iqa"].sort_values("radius")["own"].tolist()
    assert f"{widths[2] / other[2]:.1f} times at ρ = 0.5" in table.caption  # noqa: RUF001
