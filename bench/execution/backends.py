"""Where worker processes come from: this machine (loky), a dask cluster or a ray cluster.

All are joblib back-ends, so the runner hands out the same chunks and reads the same journal
whatever carries them out.  This module knows how to reach workers, how their death looks and how
to end them; it must not know what a chunk is.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast, get_args

from bench.base.errors import BenchError, unknown

if TYPE_CHECKING:
    from concurrent.futures import Future

    import joblib

BackendName = Literal["loky", "dask", "ray"]
MOST_WAITING = 60
"""Seconds to wait for a cluster's scheduler and its first worker."""


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


class Workers(Protocol):
    """Open workers; one after another they get ``bench.execution.worker.work``'s chunks."""

    def parallel(self, jobs: int) -> joblib.Parallel:
        """An unordered generator of results over at most ``jobs`` processes."""
        ...

    def died(self) -> tuple[type[BaseException], ...]:
        """Exceptions that mean that a worker was killed."""
        ...

    def renew(self) -> None:
        """Make ready for more work after a worker's death."""
        ...

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


class LokyWorkers:
    """Processes of this machine, reused between stages."""

    def parallel(self, jobs: int) -> joblib.Parallel:
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
class DaskWorkers:
    """Workers of a dask cluster; the scheduler gives a dead worker's chunk to the next one."""

    client: Any

    def parallel(self, jobs: int) -> joblib.Parallel:
        """As the protocol says; dask itself knows how many workers there are by now."""
        self.client.wait_for_workers(1, timeout=MOST_WAITING)
        threads = sum(self.client.ncores().values())
        waiting = 1 if jobs == 1 else 2 * threads
        return _unordered(backend=_dask_backend()(client=self.client), n_jobs=-1, waiting=waiting)

    def died(self) -> tuple[type[BaseException], ...]:
        """As the protocol says."""
        from distributed.scheduler import KilledWorker

        return (KilledWorker,)

    def renew(self) -> None:
        """Nothing to do: the cluster replaces its workers itself."""

    def stop(self) -> None:
        """Forget everything submitted; a chunk that has begun is finished, and journaled."""
        with contextlib.suppress(Exception):
            self.client.close(timeout=1)


@dataclass(frozen=True)
class RayWorkers:
    """Actors of a ray cluster."""

    ray: Any

    def parallel(self, jobs: int) -> joblib.Parallel:
        """As the protocol says."""
        from ray.util.joblib import register_ray

        register_ray()
        processes = int(self.ray.cluster_resources().get("CPU", jobs))
        waiting = 1 if jobs == 1 else 2 * processes
        return _unordered(backend="ray", n_jobs=processes, waiting=waiting)

    def died(self) -> tuple[type[BaseException], ...]:
        """As the protocol says."""
        return (self.ray.exceptions.RayActorError, self.ray.exceptions.WorkerCrashedError)

    def renew(self) -> None:
        """Nothing to do: the cluster replaces its workers itself."""

    def stop(self) -> None:
        """As the protocol says."""
        self.ray.shutdown()


def _unordered(*, backend: Any, n_jobs: int, waiting: int) -> joblib.Parallel:
    import joblib

    return joblib.Parallel(
        n_jobs=n_jobs,
        backend=backend,
        return_as="generator_unordered",
        batch_size=1,
        pre_dispatch=waiting,
    )


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
        ray.init(address=address, **({} if address else {"num_cpus": jobs}))
    except (OSError, ValueError, RuntimeError) as error:
        raise BenchError(
            f"--scheduler: expected a ray cluster at {address}, found {error}."
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()
