"""Trained parts that a run has recorded and that this machine's cache no longer holds whole.

A cache may be deleted, cut short, or never have been on this machine.  This module knows records of
trained parts and digests; it must not know how a part is trained.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from bench.analysis.frames import plain, rows
from bench.base.cache import Cache
from bench.base.errors import BenchError
from bench.base.files import file_sha256
from bench.plan.units import Plan, Unit
from iqa_models.folders import cache_folder

if TYPE_CHECKING:
    from bench.records.folder import RunFolder


def lost(run: RunFolder, plan: Plan) -> tuple[Unit, ...]:
    """Units of the fit stage whose part is recorded and not in the cache as it was recorded."""
    units = plan.of_stage("fit")
    outcomes = run.outcomes("fit") if units else {}
    if not any(outcome.status == "ok" for outcome in outcomes.values()):
        return ()
    store = Cache(cache_folder())
    missing = {
        tuple(plain(row[name]) for name in ("part", "dataset", "model", "sigma"))
        for row in rows(run.table("fit"))
        if plain(row["sha256"]) is not None and not _held(store, row["artifact"], row["sha256"])
    }
    return tuple(u for u in units if (u.detail, u.dataset, u.model, u.sigma) in missing)


def _held(store: Cache, key: str, sha256: str) -> bool:
    return store.whole(key) and file_sha256(store.state_path(key)) == sha256


def used_by(units: Iterable[Unit], fits: Iterable[Unit]) -> tuple[Unit, ...]:
    """Those units of the fit stage whose part one of the others needs.

    >>> fits = [Unit("fit", "a", model, "ms,dms", sigma=0.1) for model in (None, "lpips", "dists")]
    >>> [fit.model for fit in used_by([Unit("evaluate", "a", "lpips", "dms", "", 0.1)], fits)]
    [None, 'lpips']
    """
    cells = {cell for unit in units for cell in unit.cells}
    return tuple(fit for fit in fits if any(fit.serves(cell) for cell in cells))


def check_found(still: Sequence[Unit]) -> None:
    """What was trained again must be what was recorded.

    Raises:
        BenchError: It is not: another machine's floats, or another library's.
    """
    if still:
        unit = still[0]
        raise BenchError(
            f"the trained part {unit.detail!r} of {unit.model or 'all models'} was lost, and "
            f"training it again here gave other weights than the run recorded ({len(still)} such "
            "parts); bring the cache folder of the machine that trained it (BENCH_CACHE), or "
            "start anew with --fresh."
        )
