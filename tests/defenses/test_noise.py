"""Noise is keyed: one key, one stream; a different key, an independent one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from defenses.noise import (
    CHUNK,
    NoiseStream,
    batches,
    key_seed,
    keyed_weights,
    standard_normal,
    wide_generator,
)

STREAM = NoiseStream(7, "certify", "set", "image", 0.25)


def draw(stream: NoiseStream, draws: int = 40, kind: str = "input") -> torch.Tensor:
    return stream.draw((3, 4), kind=kind, draws=draws)


def test_first_values_are_part_of_the_format() -> None:
    """Recorded runs can only be repeated while these stay."""
    assert key_seed("embedded", 1, 0.5) == 16427785293142450338
    first = NoiseStream(7, "certify", "set", "image", 0.25).draw((2,), kind="input", draws=1)
    assert first[0].tolist() == pytest.approx([-0.7481696605682373, 0.19112223386764526], rel=1e-6)
    assert key_seed(1) != key_seed(1.0) != key_seed("1.0")
    assert key_seed("a", "b") != key_seed("ab") != key_seed("b", "a")


@pytest.mark.parametrize(
    "other",
    [
        replace(STREAM, seed=8),
        replace(STREAM, purpose="audit"),
        replace(STREAM, dataset="x"),
        replace(STREAM, image="x"),
        replace(STREAM, sigma=0.1),
        replace(STREAM, repeat=1),
    ],
)
def test_every_part_of_the_key_counts(other: NoiseStream) -> None:
    pair = [draw(stream, 400).flatten().numpy() for stream in (STREAM, other)]
    assert abs(float(np.corrcoef(pair)[0, 1])) < 0.1
    assert not torch.equal(draw(STREAM), draw(other))


def test_kinds_are_different_streams() -> None:
    assert not torch.equal(draw(STREAM), draw(STREAM, kind="features"))


@settings(max_examples=40, deadline=None)
@given(draws=st.integers(1, 70), more=st.integers(0, 70))
def test_a_shorter_stream_is_a_prefix(draws: int, more: int) -> None:
    assert torch.equal(draw(STREAM, draws), draw(STREAM, draws + more)[:draws])


@settings(max_examples=40, deadline=None)
@given(draws=st.integers(1, 100), size=st.integers(1, 120))
def test_batches_only_cut(draws: int, size: int) -> None:
    cut = list(batches(STREAM.chunks((2,), kind="input", draws=draws), size=size))
    assert [len(part) for part in cut[:-1]] == [size] * (len(cut) - 1)
    assert torch.equal(torch.cat(cut), STREAM.draw((2,), kind="input", draws=draws))


@pytest.mark.parametrize("kind", ["input", "features"])
@pytest.mark.parametrize("first", [7, 16, 33, 256, 299])
def test_the_first_draws_may_be_left_out(kind: str, first: int) -> None:
    rest = torch.cat(list(STREAM.chunks((2,), kind=kind, draws=300, first=first)))
    assert torch.equal(rest, STREAM.draw((2,), kind=kind, draws=300)[first:])


def test_chunks_are_independent_of_each_other_and_of_the_global_state() -> None:
    torch.manual_seed(0)
    first = draw(STREAM)
    torch.manual_seed(1)
    torch.rand(5)
    assert torch.equal(first, draw(STREAM))
    assert not torch.equal(first[:CHUNK], first[CHUNK : 2 * CHUNK])


def test_draws_are_standard_normal() -> None:
    values = STREAM.draw((50,), kind="input", draws=400).flatten().numpy()
    assert stats.kstest(values, "norm").pvalue > 1e-6


@pytest.mark.parametrize("bit", range(64))
def test_every_bit_of_a_seed_counts(bit: int) -> None:
    """PyTorch's own CPU generator ignores half of them."""
    cpu = torch.device("cpu")
    one, other = (standard_normal(seed, (64,), cpu) for seed in (12345, 12345 ^ (1 << bit)))
    assert not (one == other).any()


@pytest.mark.parametrize("bit", range(64))
def test_every_bit_of_a_training_seed_counts(bit: int) -> None:
    one, other = (
        torch.rand(64, generator=wide_generator(seed)) for seed in (12345, 12345 ^ (1 << bit))
    )
    assert not (one == other).any()


def test_the_state_of_a_wide_generator_is_what_philox_drew() -> None:
    """NumPy's MT19937 with the same words: the layout of PyTorch's state is as assumed."""
    words = np.random.Philox(key=7).random_raw(624) >> np.uint64(32)
    same = np.random.MT19937()
    same.state = {"bit_generator": "MT19937", "state": {"key": words.astype("u4"), "pos": 624}}
    drawn = torch.randint(2**20, (2000,), generator=wide_generator(7))
    assert drawn.tolist() == [word % 2**20 for word in same.random_raw(2000).tolist()]


def test_weights_come_from_the_key_and_leave_the_global_stream_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    built = []
    for key in (("weights", 1), ("weights", 1), ("weights", 2)):
        with keyed_weights(*key):
            built.append(torch.nn.Linear(3, 3).weight)
    assert torch.equal(torch.rand(4), expected)
    assert torch.equal(built[0], built[1]) and not (built[0] == built[2]).any()


def test_seeds_reach_the_highest_bit() -> None:
    seeds = [key_seed("seed", index) for index in range(64)]
    assert max(seeds) >= 2**63 and max(seeds) < 2**64  # all below: 2^-64


def test_no_draws_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least 1 draw, found 0"):
        list(STREAM.chunks((2,), kind="input", draws=0))
