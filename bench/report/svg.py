"""SVG text that is the same on every machine.

matplotlib names clip paths and markers by digests of floats, whose last bits depend on the machine.
This module knows SVG; it must not know what is drawn.
"""

from __future__ import annotations

import re

_PLACE = re.compile(r'(?<= d=")[^"]*|(?<= [xy]=")[^"]*')
_LONG = re.compile(r"\d+\.\d{3,}")
_NAMED = re.compile(r'(\bid="|href="#|url\(#)([^")]+)')


def numbered(svg: str) -> str:
    """The drawing with every id, and every reference to it, numbered in order of appearance.

    >>> numbered('<use href="#m8f3"/><g clip-path="url(#p77)"/><path id="m8f3"/>')
    '<use href="#n0"/><g clip-path="url(#n1)"/><path id="n0"/>'
    """
    numbers: dict[str, int] = {}
    return _NAMED.sub(lambda m: f"{m[1]}n{numbers.setdefault(m[2], len(numbers))}", svg)


def rounded(svg: str) -> str:
    """The drawing with places to a hundredth of a point: nobody sees the rest.

    >>> rounded('<path d="M 1.23456 7 L 2 0.999999" transform="scale(0.015625)"/>')
    '<path d="M 1.23 7 L 2 1" transform="scale(0.015625)"/>'
    """
    return _PLACE.sub(lambda place: _LONG.sub(_short, place[0]), svg)


def _short(digits: re.Match[str]) -> str:
    return f"{round(float(digits[0]), 2):g}"
