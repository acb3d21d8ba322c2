"""The paper's cells are printed as the paper prints them: two decimals, tenths of a second, ms."""

from __future__ import annotations

import pytest

from bench.analysis.published import MINUS, published

PAPER = {
    "NR": {
        ("rs-reg", "cert-reg", "ms"): ".66 .38 -.04 | .67 .38 -.02",
        ("dms",): ".84 .74 .63 | .87 .78 .67",
        ("dms-iqa",): ".86 .80 .70 | .88 .83 .73",
        ("fs-iqa",): ".91 .91 .91 | .93 .93 .92",
    },
    "FR": {
        ("rs-reg", "cert-reg", "ms"): ".54 .33 .14 | .54 .33 .13",
        ("dms",): ".75 .62 .50 | .70 .62 .53",
        ("dms-iqa",): ".78 .63 .49 | .72 .62 .51",
        ("fs-iqa",): ".89 .90 .89 | .89 .89 .89",
    },
}
"""SRCC at sigma 0.1, 0.25 and 0.5, then PLCC (arXiv 2508.05516, Tables 1 and 2)."""
SECONDS = {
    "NR": {
        ("rs-reg", "ms"): ("4.2", "3.8"),
        ("cert-reg",): ("4.2", "4.2"),
        ("dms", "dms-iqa"): ("7.9", "7.4"),
        ("fs-iqa",): ("6.9", "33 ms"),
    },
    "FR": {
        ("rs-reg", "ms"): ("6.9", "6.4"),
        ("cert-reg",): ("6.9", "6.9"),
        ("dms", "dms-iqa"): ("10.5", "10.0"),
        ("fs-iqa",): ("7.5", "40 ms"),
    },
}
"""With the certificate and without."""


@pytest.mark.parametrize("mode", ["NR", "FR"])
def test_correlations_are_printed_with_two_decimals(mode: str) -> None:
    for names, row in PAPER[mode].items():
        srcc, plcc = (part.split() for part in row.split(" | "))
        for name in names:
            for sigma, one, other in zip((0.1, 0.25, 0.5), srcc, plcc, strict=True):
                told = " / ".join(v.replace("-", MINUS).replace(".", "0.") for v in (one, other))
                assert published().pair(mode, name, sigma) == told


@pytest.mark.parametrize("mode", ["NR", "FR"])
def test_seconds_keep_their_tenths(mode: str) -> None:
    for names, (certified, plain) in SECONDS[mode].items():
        for name in names:
            assert published().time(mode, name, certified=True) == certified
            assert published().time(mode, name, certified=False) == plain


def test_what_the_paper_has_not_is_left_empty() -> None:
    assert published().pair("NR", "ms", 0.3) == ""
    assert (
        published().pair("NR", "mine", 0.1) == "" == published().time("NR", "mine", certified=True)
    )
