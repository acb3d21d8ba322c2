"""What is called how: a run's own parts while its report is composed, and the tables of a mode.

It knows where a run says so, and letters; it must not know what is composed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, Literal, ParamSpec

from bench.analysis.names import given_titles
from bench.analysis.source import FrameRun
from bench.report.document import Document

Options = ParamSpec("Options")
LETTER = {"NR": "a", "FR": "b"}
"""Of the tables and figures that each mode has one of."""


def called(kind: Literal["table", "figure"], number: str, words: str, mode: str) -> dict[str, str]:
    """Id and title of a mode's table or figure.

    >>> called("figure", "5", "Width", "FR")
    {'id': 'figure-5b', 'title': 'Figure 5B. Width, FR models'}
    """
    letter = LETTER[mode]
    place = f"{number}{letter.upper() if kind == 'figure' else letter}"
    title = f"{kind.capitalize()} {place}. {words}, {mode} models"
    return {"id": f"{kind}-{number.lower()}{letter}", "title": title}


def in_own_words(
    compose: Callable[Concatenate[FrameRun, Options], Document],
) -> Callable[Concatenate[FrameRun, Options], Document]:
    """Compose with the titles of the run's plugins."""

    @wraps(compose)
    def titled(run: FrameRun, /, *args: Options.args, **options: Options.kwargs) -> Document:
        with given_titles(titles_of(run)):
            return compose(run, *args, **options)

    return titled


def titles_of(run: FrameRun) -> dict[str, str]:
    """Titles of defences, as their guarantee cards say, and of models, as their records say."""
    models = run.table("calibration")
    told: dict[str, Any] = dict(zip(models["model"], models["model_title"], strict=True))
    told |= {str(card["name"]): card.get("title") for card in run.cards if "name" in card}
    return {str(name): title for name, title in told.items() if isinstance(title, str)}
