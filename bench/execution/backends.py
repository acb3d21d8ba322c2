"""Where worker processes come from: this machine (loky), a dask cluster or a ray cluster.

All take joblib's delayed calls, so the runner hands out the same chunks and reads the same journal
whatever carries them out.  This module knows how to reach workers, how their death looks and how
to end them; it must not know what a chunk is.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast, get_args

from bench.base.errors import BenchError, unknown

if TYPE_CHECKING:
    from concurrent.futures import Future

BackendName = Literal["loky", "dask", "ray"]
MOST_WAITING = 60
"""Seconds to wait for a cluster's scheduler and its first worker."""
RAY_RETRIES = 10
"""Times that ray hands out a chunk again whose worker died; units that kill are given up before."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Which workers, as asked for.

    Attributes:
        backend: Name of the joblib back-end.
        scheduler: Address; None makes workers on this machine.
    """

    backend: BackendName = "loky"
    scheduler: str | None = None

    @classmethod
    def named(cls, backend: str, scheduler: str | None = None) -> Cluster:
        """A cluster from the command line's words.

        Raises:
            BenchError: The back-end is unknown, or loky got an address.
        """
        if backend not in get_args(BackendName):
            raise unknown("backend", backend, get_args(BackendName))
        if backend == "loky" and scheduler is not None:
            raise BenchError(
                "--scheduler: expected --backend dask or ray with it, found loky, which has none."
            )
        return cls(cast(BackendName, backend), scheduler)

    @property
    def remote(self) -> bool:
        """Whether workers may be on other machines, or in other folders."""
        return self.backend != "loky"


THIS_MACHINE = Cluster()


Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]
"""What ``joblib.delayed`` makes."""
Parallel = Callable[[Iterable[Call]], Iterator[Any]]
"""Carries calls out and gives their results as they come."""


class Workers(Protocol):
    """Open workers; one after another they get ``bench.execution.worker.work``'s chunks."""

    def parallel(self, jobs: int) -> Parallel:
        """An unordered generator of results over at most ``jobs`` processes."""
        ...

    def died(self) -> tuple[type[BaseException], ...]:
        """Exceptions that mean that a worker was killed."""
        ...

    def renew(self) -> None:
        """Make ready for more work after a worker's death; a cluster replaces it by itself."""
        return

    def stop(self) -> None:
        """End what is being worked on now; journals are complete up to the last unit."""
        ...


@contextlib.contextmanager
def open_workers(cluster: Cluster, *, jobs: int) -> Iterator[Workers]:
    """Workers for one call of the runner.

    Args:
        cluster: Which.
        jobs: Processes, where this machine has to provide them.

    Raises:
        BenchError: The library is not installed, or nobody answers.
    """
    if cluster.backend == "loky":
        with warnings.catch_warnings():
            # A worker that has grown is replaced between two chunks; nothing is lost.
            warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
            yield LokyWorkers()
    elif cluster.backend == "dask":
        with _dask_client(cluster.scheduler, jobs) as client:
            yield DaskWorkers(client)
    else:
        with _ray(cluster.scheduler, jobs) as ray:
            yield RayWorkers(ray)


class LokyWorkers(Workers):
    """Processes of this machine, reused between stages."""

    def parallel(self, jobs: int) -> Parallel:
        """As the protocol says."""
        return _unordered(backend="loky", n_jobs=jobs, waiting=2 * jobs)

    def died(self) -> tuple[type[BaseException], ...]:
        """As the protocol says."""
        from joblib.externals.loky.process_executor import TerminatedWorkerError

        return (TerminatedWorkerError,)

    def renew(self) -> None:
        """As the protocol says: the survivors of a pool in which one died go as well."""
        self.stop()

    def stop(self) -> None:
        """As the protocol says."""
        from joblib.externals.loky import get_reusable_executor

        executor: Any = get_reusable_executor(reuse=True)
        executor.shutdown(wait=False, kill_workers=True)


@dataclass(frozen=True)
class DaskWorkers(Workers):
    """Workers of a dask cluster; the scheduler gives a dead worker's chunk to the next one."""

    client: Any

    def parallel(self, jobs: int) -> Parallel:
        """As the protocol says; dask itself knows how many workers there are by now."""
        self.client.wait_for_workers(1, timeout=MOST_WAITING)
        threads = sum(self.client.ncores().values())
        waiting = 1 if jobs == 1 else 2 * threads
        return _unordered(backend=_dask_backend()(client=self.client), n_jobs=-1, waiting=waiting)

    def died(self) -> tuple[type[BaseException], ...]:
        """As the protocol says."""
        from distributed.scheduler import KilledWorker

        return (KilledWorker,)

    def stop(self) -> None:
        """Forget everything submitted; a chunk that has begun is finished, and journaled."""
        with contextlib.suppress(Exception):
            self.client.close(timeout=1)


@dataclass(frozen=True)
class RayWorkers(Workers):
    """Processes of a ray cluster; ray gives a dead one's chunk to the next.

    Ray's own joblib back-end returns results in one list at the end, so its tasks are used as they
    are.
    """

    ray: Any

    def parallel(self, jobs: int) -> Parallel:
        """As the protocol says; ray itself knows how many processes there are by now."""
        processes = int(self.ray.cluster_resources().get("CPU", jobs))
        return partial(self._results, waiting=1 if jobs == 1 else 2 * processes)

    def _results(self, calls: Iterable[Call], *, waiting: int) -> Iterator[Any]:
        """Results as they come, with at most ``waiting`` calls handed out."""
        remote = self.ray.remote(num_cpus=1, max_retries=RAY_RETRIES)(_called)
        left = iter(calls)
        begun: list[Any] = []
        try:
            while True:
                begun += [remote.remote(call) for call in islice(left, waiting - len(begun))]
                if not begun:
                    return
                (done, *_), begun = self.ray.wait(begun, num_returns=1)
                yield self.ray.get(done)
        finally:
            for task in begun:  # two workers must not have the same chunk
                self.ray.cancel(task, force=True)

    def died(self) -> tuple[type[BaseException], ...]:
        """As the protocol says."""
        found = self.ray.exceptions
        return (found.WorkerCrashedError, found.OutOfMemoryError, found.NodeDiedError)

    def stop(self) -> None:
        """As the protocol says."""
        self.ray.shutdown()


def _called(call: Call) -> Any:
    function, arguments, named = call
    return function(*arguments, **named)


def _unordered(*, backend: Any, n_jobs: int, waiting: int) -> Parallel:
    import joblib

    parallel: Parallel = joblib.Parallel(
        n_jobs=n_jobs,
        backend=backend,
        return_as="generator_unordered",
        batch_size=1,
        pre_dispatch=waiting,
    )
    return parallel


def _dask_backend() -> type:
    """Joblib's dask back-end, which tells of dead workers.

    Joblib's own calls back for results only: a task that dask gives up (KilledWorker) is never
    heard of again, and the runner would wait for ever.
    """
    from joblib._dask import DaskDistributedBackend

    class TellingBackend(DaskDistributedBackend):  # type: ignore[misc]
        def submit(self, func: Any, callback: Callable[[Any], None] | None = None) -> Any:
            future = super().submit(func, callback)

            def tell(done: Future[Any]) -> None:
                if callback is not None and (error := done.exception()) is not None:
                    callback(error)

            future.add_done_callback(tell)
            return future

    return TellingBackend


@contextlib.contextmanager
def _dask_client(address: str | None, jobs: int) -> Iterator[Any]:
    """A client of the scheduler, or of a cluster of our own on this machine."""
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise BenchError(
            '--backend dask: expected the package distributed; install ".[dask]".'
        ) from error
    if address is None:
        with (
            LocalCluster(
                n_workers=jobs, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
            ) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            yield client
        return
    try:
        client = Client(address, timeout=MOST_WAITING, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise BenchError(
            f"--scheduler: expected a dask scheduler at {address}, found {error}."
        ) from error
    with client:
        yield client


@contextlib.contextmanager
def _ray(address: str | None, jobs: int) -> Iterator[Any]:
    """Ray, connected to the cluster or started on this machine."""
    try:
        import ray
    except ImportError as error:
        raise BenchError(
            "--backend ray: expected the package ray, which is not installed."
        ) from error
    try:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers
        own: dict[str, Any] = {
            "num_cpus": jobs,
            "include_dashboard": False,
            "_node_ip_address": "127.0.0.1",
        }
        ray.init(address=address, log_to_driver=False, **({} if address else own))
    except Exception as error:  # a plain one where its own 30 seconds are over
        where = f"at {address}" if address else "to start on this machine"
        found = f"{type(error).__name__}: {error}".rstrip(".")
        raise BenchError(f"--backend ray: expected a cluster {where}, found {found}.") from error
    try:
        yield ray
    finally:
        ray.shutdown()
