"""The verb ``fit``: the first two stages of a run, so that training can be done elsewhere.

It must not know how anything is trained.
"""

from __future__ import annotations

import typer

from bench.cli import options as opt


@opt.spelt_out
def fit(asked: opt.Asked, strict: opt.Strict = False, debug: opt.Debug = False) -> None:
    """Train all parts that a run with the same options needs, and nothing else; resumes."""
    from bench.cli.run import Consent, run_benchmark

    how = asked.execution(stages=("prepare", "fit"), debug=debug)
    consent = Consent(strict=strict, yes=True)
    raise typer.Exit(run_benchmark(asked.selection(), how, asked.results, None, consent=consent))
