"""What users are told when something is wrong: the one exception, its sentences, exit codes.

It knows how a mistake is worded; it must not know who prints it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from iqa_models.names import unknown_name

if TYPE_CHECKING:
    from pydantic import ValidationError

OK, SOME_FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
"""Exit codes of every verb; the second: it went to its end, but something failed or differs."""


class BenchError(Exception):
    """Bad input; the command line prints the sentence and exits with code 2."""


def unknown(kind: str, name: str, known: Iterable[str]) -> BenchError:
    """The error for a name that nothing has."""
    return BenchError(unknown_name(kind, name, known))


@contextmanager
def weights_asked_for() -> Iterator[None]:
    """What is done inside needs weights; where they are missing or damaged, that is bad input.

    Raises:
        BenchError: They are.
    """
    from iqa_models.weights import WeightsError

    try:
        yield
    except WeightsError as error:
        raise BenchError(str(error)) from error


def invalid(error: ValidationError, *, whole: str) -> str:
    """The first mistake as ``setting: expected ..., found ...``; says how many more there are.

    Args:
        error: What pydantic found.
        whole: What to name where the mistake is in no single setting, e.g. ``the profile``.
    """
    first, *others = error.errors(include_url=False)
    setting = ".".join(map(str, first["loc"])) or whole
    more = f" ({len(others)} more)" if others else ""
    if first["type"] == "extra_forbidden":
        return f"{setting}: expected a known setting, found an unknown one{more}."
    if first["type"] == "missing":
        return f"{setting}: expected a value, found nothing{more}."
    expected = first["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    # All of a file would be no help, only noise.
    found = f", found {first['input']!r}" if first["loc"] else ""
    return f"{setting}: expected {expected}{found}{more}."
