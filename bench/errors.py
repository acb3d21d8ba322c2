"""The one exception users meet: a sentence that names what was expected and what was found."""

from __future__ import annotations


class BenchError(Exception):
    """Bad input; the command line prints the sentence and exits with code 2."""
