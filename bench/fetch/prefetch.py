"""Everything that a published run needs, fetched beforehand: weights by model, data by name.

The run itself never touches the network. Where `BENCH_WEIGHTS` names files, or `--offline` is
asked for, this one does not either: it only says what is there and what is missing.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from bench.base.errors import BenchError, unknown, weights_asked_for
from bench.base.files import file_sha256
from bench.fetch.download import DownloadError, Meter, Wanted, download, unpack
from iqa_models.artifacts import Artifact, Shelf, artifact, artifacts, needed_by, record_sum
from iqa_models.plugin import METRICS

HASHED = re.compile(r"-([0-9a-f]{8})\.\w+$")
"""Names of checkpoints that end with the beginning of their hash."""
Status = Literal["present", "fetched", "missing", "failed", "replaced"]

Watcher = Callable[[Artifact], Meter]
"""Makes the progress callback of one artifact."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What became of one artifact.

    Attributes:
        artifact: which one.
        status: `missing` and `failed` are the bad ones; of a `replaced` one the fallback is there.
        reason: one sentence for these.
    """

    artifact: Artifact
    status: Status
    reason: str = ""

    @property
    def good(self) -> bool:
        """Whether the artifact is there now."""
        return self.status in ("present", "fetched", "replaced")


def chosen_artifacts(models: Sequence[str], datasets: Sequence[str]) -> list[Artifact]:
    """What some models and data sets are made of; artifacts' own names are accepted as well.

    Raises:
        BenchError: a name is neither.
    """
    table = artifacts()
    users = {user for entry in table.values() for user in entry.needed_by}
    chosen = {entry.name: entry for entry in needed_by([*models, *datasets])}
    for name in (*models, *datasets):
        if name in table:
            chosen[name] = table[name]
        elif name.startswith(METRICS):
            entry = metric(name.removeprefix(METRICS))
            chosen[entry.name] = entry
        elif name not in users:
            raise unknown("model, data set or artifact", name, sorted(users | set(table)))
    return list(chosen.values())


def metric(name: str) -> Artifact:
    """The file of a pyiqa metric, with the address that pyiqa itself would load.

    Raises:
        BenchError: There is no such metric.
    """
    from iqa_models.pyiqa_metrics import artifact_name, metric_plugin, whole_checkpoint

    with weights_asked_for():
        (recipe,) = metric_plugin(name).recipes
        entry, url = artifact(artifact_name(name)), whole_checkpoint(name)
    if url is None or not recipe.needs or entry.urls:
        return entry
    found = HASHED.search(url)
    return replace(entry, urls=(url,), sha256=found and found[1], note="")


def prefetch(
    wanted: Iterable[Artifact], shelf: Shelf, *, offline: bool = False, watch: Watcher | None = None
) -> list[Fetched]:
    """Fetch what is not there yet; one failure does not stop the others.

    Args:
        wanted: artifacts.
        shelf: where files lie and are put.
        offline: only look.
        watch: makes a progress callback for each download.
    """
    local_only = offline or shelf.given is not None
    return [out for entry in wanted for out in _with_fallback(entry, shelf, local_only, watch)]


def _with_fallback(
    entry: Artifact, shelf: Shelf, local_only: bool, watch: Watcher | None
) -> list[Fetched]:
    """An artifact, and in its place the one that its row names, where it cannot be had."""
    found = _one(entry, shelf, local_only, watch)
    if found.good or entry.fallback is None:
        return [found]
    other = _one(artifact(entry.fallback), shelf, local_only, watch)
    if not other.good:
        return [found, other]
    reason = f"{found.reason} {other.artifact.file} takes its place."
    return [replace(found, status="replaced", reason=reason), other]


def _one(entry: Artifact, shelf: Shelf, local_only: bool, watch: Watcher | None) -> Fetched:
    if shelf.find(entry.name) is not None:
        return Fetched(entry, "present")
    if local_only or not entry.urls:
        return Fetched(entry, "missing", _how_to_get(entry, shelf))
    try:
        _check_space(entry, shelf.cache)
        _fetch(entry, shelf, watch(entry) if watch is not None else None)
    except BenchError as error:
        return Fetched(entry, "failed", str(error))
    return Fetched(entry, "fetched")


def _fetch(entry: Artifact, shelf: Shelf, progress: Meter | None) -> None:
    folder, known = shelf.cache, shelf.hash_of(entry)
    file = download(Wanted(entry.file, entry.urls, known), folder, progress=progress)
    if entry.sha256 is None or entry.name not in artifacts():
        record_sum(folder, entry.file, file_sha256(file))
    if entry.archive:
        unpack(file, folder / entry.stored_as)
        file.unlink()


def _check_space(entry: Artifact, folder: Path) -> None:
    """Refuse to begin what cannot end; an archive is there twice while it is unpacked."""
    folder.mkdir(parents=True, exist_ok=True)
    needed = (entry.megabytes or 0) * 1e6 * (2.2 if entry.archive else 1.1)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DownloadError(
            f"{entry.file}: expected {needed / 1e9:.1f} GB of free space in {folder}, "
            f"found {free / 1e9:.1f} GB."
        )


def _how_to_get(entry: Artifact, shelf: Shelf) -> str:
    if entry.note:
        return f"it {entry.note}."
    place = f"BENCH_WEIGHTS={shelf.given}" if shelf.given else f"the cache {shelf.cache}"
    return f"expected {entry.file} in {place}, found none; it is at {entry.urls[0]}."
