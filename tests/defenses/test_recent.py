"""What is kept is what was made; the longest unused goes first."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from defenses.noise import NoiseStream
from defenses.recent import Recent, content


class Maker:
    """Tensors of four bytes; counts them."""

    def __init__(self) -> None:
        self.made: list[float] = []

    def __call__(self, value: float) -> Tensor:
        self.made.append(value)
        return torch.full((1,), float(value))


def asked(recent: Recent, maker: Maker, *values: float) -> None:
    for value in values:
        assert recent(value, lambda value=value: maker(value)).item() == value  # type: ignore[misc]


def test_the_longest_unused_goes_when_memory_is_full() -> None:
    recent, maker = Recent(memory=8), Maker()
    asked(recent, maker, 1, 2, 1, 3, 1, 2)
    assert maker.made == [1, 2, 3, 2], "1 was asked for again and stayed; 2 had to go for 3"
    assert recent.size == 8


def test_what_does_not_fit_is_not_kept() -> None:
    recent, maker = Recent(memory=3), Maker()
    asked(recent, maker, 1, 1)
    assert maker.made == [1, 1] and not recent.known and recent.size == 0


def test_what_is_made_together_stays_together() -> None:
    recent, maker = Recent(memory=12), Maker()
    for _ in range(2):
        found = recent.several("a", lambda: (maker(1), maker(2)))
        found[1].zero_()
        assert found[0].item() == 1
    assert recent.several("a", lambda: ())[1].item() == 2, "what was handed out is a copy"
    assert maker.made == [1, 2] and recent.size == 8
    asked(recent, maker, 3, 4)
    assert maker.made == [1, 2, 3, 4] and list(recent.known) == [3, 4] and recent.size == 8


def test_a_key_knows_values_shape_and_kind() -> None:
    one = np.arange(6, dtype=np.float32).reshape(2, 3)
    others = [one + 1, one.reshape(3, 2), one.view(np.int32), one[:, ::-1]]
    assert len({content(values) for values in (one, *others)}) == 5
    assert content(one) == content(np.asfortranarray(one)) == content(one.copy())


def test_who_writes_into_what_is_handed_out_changes_nothing() -> None:
    recent, maker = Recent(), Maker()
    for _ in range(3):
        recent("a", lambda: maker(7)).zero_()
    assert recent("a", lambda: maker(7)).item() == 7 and maker.made == [7]


@pytest.mark.parametrize("kind", ["input", "features"])
def test_noise_of_a_moment_ago_is_the_streams_own(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[int, ...]] = []
    whole = torch.from_numpy

    def counted(array: object) -> Tensor:
        result = whole(array)
        drawn.append(tuple(result.shape))
        return result

    monkeypatch.setattr("defenses.noise.torch.from_numpy", counted)
    recent, size = Recent(), 16 if kind == "input" else 256
    stream = NoiseStream(1, "certify", "set", "image", 0.25)
    others = (NoiseStream(1, "certify", "set", name, 0.25) for name in ("image", "other"))
    for one in (stream, *others):
        for draws, first in ((size + 3, 0), (size + 3, 2), (size + 1, 0), (5, 0), (3, 1)):
            plain = torch.cat(list(one.chunks((2,), kind=kind, draws=draws, first=first)))
            count = len(drawn)
            kept = one.chunks((2,), kind=kind, draws=draws, first=first, recent=recent)
            assert torch.equal(torch.cat(list(kept)), plain)
            if one is not stream and one.image == "image":
                assert len(drawn) == count, "an equal stream was asked for before"
    # No row is drawn that nobody asked for.
    assert drawn[:2] == [(size, 2), (3, 2)]
