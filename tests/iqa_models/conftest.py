"""Fixtures of the model tests: no test here may open a connection."""

from __future__ import annotations

import socket

import pytest
import torch
from torch import Tensor

HEIGHT, WIDTH = 96, 128


class NetworkBlockedError(RuntimeError):
    """A test tried to reach the network."""


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise NetworkBlockedError("no test of the models may use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def picture(*, seed: int = 0, batch: int = 1, height: int = HEIGHT, width: int = WIDTH) -> Tensor:
    """A smooth random colour picture ``(batch, 3, height, width)`` with some fine detail."""
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, 3, 6, 8, generator=draw)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")
    detail = 0.2 * torch.rand(batch, 3, height, width, generator=draw) - 0.1
    return (smooth + detail).clamp(0, 1)
