"""Tables in a terminal.

This module knows columns of text; it must not know what they say.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tabulate import tabulate


def console_table(rows: Iterable[Sequence[str]], headers: Sequence[str] = ()) -> str:
    """Rows under headers, every cell as it is written: a name of digits is no number.

    >>> print(console_table([["ms", "1.50"]], ["defence", "seconds"]))
    defence    seconds
    ---------  ---------
    ms         1.50
    """
    return tabulate(rows, headers, tablefmt="simple", disable_numparse=True)
