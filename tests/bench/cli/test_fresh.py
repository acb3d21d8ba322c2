"""Results are forgotten when nothing else is in the way of making them again, and not before."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.base.errors import BenchError
from bench.cli.run import forget
from bench.execution.backends import Cluster
from bench.execution.options import Execution
from tests.bench.fake_run import fake_plan, fake_run


def test_a_cluster_that_is_not_there_costs_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(*_: object, **__: object) -> object:
        raise BenchError("expected a scheduler, found none.")

    folder = fake_run(tmp_path, fake_plan())
    before = sorted(folder.path.rglob("*"))
    how = Execution(cluster=Cluster(backend="dask", scheduler="tcp://127.0.0.1:9"))
    with monkeypatch.context() as patched:
        patched.setattr("bench.execution.backends.open_workers", nobody)
        with pytest.raises(BenchError, match="expected a scheduler"):
            forget(folder, how)
        assert sorted(folder.path.rglob("*")) == before
        forget(folder, Execution())
    left = {path.name for path in folder.path.rglob("*") if path.is_file()}
    assert "plan.json" in left and not any(name.endswith(".parquet") for name in left)
