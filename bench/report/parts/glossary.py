# ruff: noqa: RUF001 - Greek letters are meant
"""The words of a report, each explained once.

This module must not know any number.
"""

from __future__ import annotations

from bench.report.document import Chapter, Column, Field, Table

_WORDS = (
    ("σ, σ_f", "Standard deviation of the noise: in the image (pixels in [0, 1]), or in features."),
    ("ρ", "Radius in l2, in the image with pixels in [0, 1]: how far an attacker may go."),
    (
        "r",
        "The radius in units of a defence's own noise: ρ/σ, or ρ times the Jacobian's norm / σ_f.",
    ),
    ("own radius", "The radius at r = 1. It differs from defence to defence and image to image."),
    ("population", "The promise is about the smoothed model itself, an infinite number of draws."),
    ("deployed", "The promise is about a fresh score computed from as many draws."),
    ("proved", "The radius follows from a theorem."),
    ("first-order", "The radius rests on a linearisation: a curved model can break it."),
    ("empirical", "The radius was checked by a search that found nothing against it."),
    ("own spread", "Distance of the 5 % and the 95 % point of a defence's own scores."),
    ("at ceiling", "A bound is limited by the number of draws."),
    ("tied", "The 95 % interval of the paired difference over photographs contains zero."),
    ("abstained", "No certificate, with a reason; the image has a score all the same."),
    ("N", "Draws behind one certificate."),
    ("NR, FR", "Models without and with a reference image."),
)


def glossary_section() -> Chapter:
    """The chapter."""
    table = Table(
        id="table-words",
        title="Table W. Words",
        caption="As they are used in every table and figure.",
        columns=(Column("word", kind="text"), Column("meaning", kind="prose")),
        rows=tuple((Field(word), Field(meaning)) for word, meaning in _WORDS),
    )
    return Chapter("glossary", "Appendix: glossary", (table,))
