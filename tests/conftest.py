"""What every test lives by: no network, one torch thread."""

from __future__ import annotations

import ipaddress
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bench.unreported import without_report

_connect = socket.socket.connect


class NetworkBlockedError(RuntimeError):
    """A test tried to leave this machine."""


def _guarded_connect(self: socket.socket, address: Any) -> None:
    """Let sockets reach this machine only."""
    host = address[0] if isinstance(address, tuple) else "127.0.0.1"
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if not local:
        raise NetworkBlockedError(f"a test tried to reach {host!r}")
    _connect(self, address)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail on any connection that leaves this machine."""
    monkeypatch.setattr(socket.socket, "connect", _guarded_connect)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums over several threads are rounded differently; tests that use torch use one."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs end without their report, whose drawings take seconds: for tests that read records."""
    without_report(monkeypatch)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, for tests that ask for one; others share the user's embedded data set."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("BENCH_CACHE", str(folder))
    return folder
