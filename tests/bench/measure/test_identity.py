"""Two models, two smoothers, two parts of one name or of equal weights never share a number."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations, product
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from bench.base.cache import Cache
from bench.base.errors import BenchError
from bench.datasets import DatasetCard, Item, Pair
from bench.execution.planning import make_plan
from bench.measure import identity as identity_module
from bench.measure.certificates import Terms
from bench.measure.context import Context
from bench.measure.identity import identity, same
from bench.plan.loading import Overrides, load_profile, overridden
from bench.plugins.registry import Registry, import_file
from defenses.averaged_scorer import AveragedFeatureScorerPart, Averaging
from defenses.denoisers import DenoiserPart
from defenses.feature_scorer import FeatureScorerPart
from defenses.smoothers import DenoisedSmoother, FeatureSmoother, InputSmoother
from iqa_models.base import IQAModel, ModelCard
from iqa_models.plugin import model_plugin

CARD = ModelCard("one", "One", "NR", (0.0, 9.0), True, 1, "none", "none")


class Plain(IQAModel):
    """The mean of an image, times one weight."""

    def __init__(self, card: ModelCard = CARD, edition: Any = "compact", weight: float = 1) -> None:
        super().__init__()
        self.card, self.edition = card, edition
        self.weight = nn.Parameter(torch.tensor([weight]), requires_grad=False)

    def extract(self, images: Tensor, reference: tuple[Tensor, ...] | None) -> Tensor:
        return images.mean((1, 2, 3))[:, None] * self.weight

    def head(self, features: Tensor) -> Tensor:
        return features[:, 0]


class Doubled(Plain):
    """Another class of the same file with the same parameters."""

    def extract(self, images: Tensor, reference: tuple[Tensor, ...] | None) -> Tensor:
        return 2 * super().extract(images, reference)


MODELS = {
    "plain": partial(Plain),
    "renamed": partial(Plain, replace(CARD, name="two")),
    "published": partial(Plain, CARD, "published"),
    "other weights": partial(Plain, CARD, "compact", 3.0),
    "doubled": partial(Doubled),
    "of a plugin": partial(Plain),
    "of an edited plugin": partial(Plain),
}
PLUGINS = {"of a plugin": {"mine.py": "1" * 64}, "of an edited plugin": {"mine.py": "2" * 64}}


class Images:
    """A data set of two images."""

    def __init__(self, name: str = "set") -> None:
        self.name, self.sha256 = name, hashlib.sha256(name.encode()).hexdigest()
        self.card = DatasetCard(name, "MOS", (1.0, 5.0), True, "", "", False, (4, 4))

    def load(self, item: Item) -> Pair:
        return Pair(np.full((3, 4, 4), item.mos, dtype=np.float32), None)


ITEMS = [Item(f"{mos}", None, f"{mos}", mos, "train") for mos in (0.25, 0.5)]


def context(folder: Path) -> Context:
    profile = load_profile("embedded")
    return Context(
        profile=profile,
        defenses={},
        load_model=lambda name: MODELS[name](),
        load_dataset=Images,  # type: ignore[arg-type]
        device=torch.device("cpu"),
        store=Cache(folder),
        terms=Terms(profile.certificate, 0.999),
        plugin_code=lambda name: PLUGINS.get(name, {}),
    )


def test_no_two_models_share_features(tmp_path: Path) -> None:
    """One cache, one after the other, in both orders; each gets its own."""
    expected = {name: 1.0 for name in MODELS} | {"other weights": 3.0, "doubled": 2.0}
    for number, names in enumerate((list(MODELS), list(MODELS)[::-1])):
        there = context(tmp_path / str(number))
        for name in names:
            found = there.features("set", name, ITEMS)[:, 0].tolist()
            assert found == pytest.approx([0.25 * expected[name], 0.5 * expected[name]]), name
    for one, other in combinations(MODELS, 2):
        assert there.model_sha256(one) != there.model_sha256(other), (one, other)


def test_the_code_of_a_models_blocks_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of our own modules; torch's version is in a run's provenance."""
    named: list[tuple[str, ...]] = []
    monkeypatch.setattr(identity_module, "_code", lambda modules: "of its class")
    monkeypatch.setattr(identity_module, "modules_sha256", lambda *m: str(named.append(m)))
    found = identity_module.model_identity(model_plugin("koncept").architecture("compact"))
    (modules,) = named
    assert {"iqa_models.koncept", "iqa_models.trunks"} <= set(modules)
    assert all(name.startswith("iqa_models.") for name in modules)
    assert found["code"] == ["of its class", "None"] and found["edition"] == "compact"


@dataclass(frozen=True, slots=True)
class InheritedName(InputSmoother):
    """A smoother of one's own that forgot to change the name it inherits."""

    def sample(self, target: Any, image: Tensor, noise: Tensor) -> Tensor:
        return torch.zeros(len(noise))


@dataclass(frozen=True, slots=True)
class InheritedPart(FeatureScorerPart):
    """Likewise."""


SMOOTHERS = (
    InputSmoother(),
    InheritedName(),
    InputSmoother(rigor="empirical"),
    DenoisedSmoother(name="input"),
    DenoisedSmoother(name="input", part="other"),
    FeatureSmoother(name="input"),
)
PARTS = (
    FeatureScorerPart(),
    InheritedPart(),
    FeatureScorerPart(per_model=False),
    DenoiserPart(name="ftn", per_model=True),
    AveragedFeatureScorerPart(name="ftn"),
    AveragedFeatureScorerPart(name="ftn", copies=5),
    AveragedFeatureScorerPart(name="ftn", averaging=Averaging(share=0.3)),
)


@pytest.mark.parametrize("parts", [SMOOTHERS, PARTS])
def test_no_two_parts_of_one_name_are_the_same(parts: Sequence[Any]) -> None:
    assert len({part.name for part in parts}) == 1
    for one, other in combinations(parts, 2):
        assert not same(one, other), (one, other)
        assert same(one, replace(one))


def test_no_two_parts_models_data_sets_or_noise_levels_share_a_trained_part(
    tmp_path: Path,
) -> None:
    there = context(tmp_path)
    wanted = list(product(PARTS, ("set", "other"), (None, *MODELS), (None, 0.1, 0.2)))
    keys = {there.part_key(*one) for one in wanted}  # type: ignore[arg-type]
    assert len(keys) == len(wanted)


@pytest.mark.parametrize("section", ["seed", "sigmas", "fit", "data"])
def test_no_two_recipes_share_a_trained_part(tmp_path: Path, section: str) -> None:
    there = context(tmp_path)
    profile = there.profile
    other = {
        "seed": profile.seed + 1,
        "sigmas": (*profile.sigmas, 0.9),
        "fit": {"ftn": profile.fit["ftn"].model_copy(update={"epochs": 3})},
        "data": profile.data.model_copy(update={"train_limit": 17}),
    }
    changed = replace(there, profile=profile.model_copy(update={section: other[section]}))
    keys = {one.part_key(PARTS[0], "set", "plain", None) for one in (there, changed)}  # type: ignore[arg-type]
    assert len(keys) == 2


@given(one=st.floats(0, 1), other=st.floats(0, 1), copies=st.integers(1, 9))
def test_a_part_is_its_numbers(one: float, other: float, copies: int) -> None:
    def part(share: float) -> AveragedFeatureScorerPart:
        return AveragedFeatureScorerPart(averaging=Averaging(share=share), copies=copies)

    assert same(part(one), part(other)) == (repr(one) == repr(other))


@dataclass(frozen=True)
class Holder:
    """A part whose field may be anything."""

    value: Any
    name: str = "ftn"


class Slotted:
    """An object without a dictionary."""

    __slots__ = ("value",)

    def __init__(self, value: int) -> None:
        self.value = value

    def get(self) -> int:
        return self.value


class Attributes:
    """An object with one."""

    def __init__(self, value: int) -> None:
        self.value = value


def scaled(by: Any) -> Callable[[Any], Any]:
    """A function that remembers."""

    def multiplied(x: Any) -> Any:
        return x * by

    return multiplied


def with_default(by: int) -> Callable[..., int]:
    """A function with a number of its own."""

    def multiplied(x: int, *, factor: int = by) -> int:
        return x * factor

    return multiplied


VALUES = (
    *(None, True, 1, 1.0, "1", "a", (1,), (1, 1), {"a": 1}, {"a": 2}, {1}, {"1"}),
    *(np.ones(2), np.ones(3), np.ones(2, dtype=np.int64), torch.ones(2), torch.zeros(2)),
    *(Plain(), Plain(weight=2.0), Averaging(), Averaging(share=0.3), len, max),
    *(Path("a"), Path("b"), b"a", b"b", 1j, 2j, range(2), range(3), torch.float32, torch.float64),
    *(partial(max, 1), partial(max, 2), partial(min, 1), partial(max, default=1)),
    *(Slotted(1), Slotted(2), Attributes(1), Attributes(2), Slotted(1).get, Slotted(2).get),
    *(scaled(1), scaled(2), scaled(Slotted(1)), scaled(scaled), with_default(1), with_default(2)),
    *(lambda x: x, lambda x: 2 * x),
)


def test_fields_of_any_kind_count() -> None:
    for one, other in combinations(VALUES, 2):
        assert identity(Holder(one)) != identity(Holder(other)), (one, other)
    for equal in (
        np.ones(2),
        Path("a"),
        partial(max, 1),
        Slotted(1),
        Attributes(1),
        scaled(3),
        Slotted(4).get,
    ):
        assert identity(Holder(equal)) == identity(Holder(deepcopy(equal))), equal


def test_a_function_that_calls_itself_has_an_end() -> None:
    def countdown(number: int) -> int:
        return countdown(number - 1) if number else 0

    assert identity(Holder(countdown)) == identity(Holder(countdown)) != identity(Holder(scaled(1)))


def test_what_cannot_be_told_from_another_is_refused() -> None:
    with pytest.raises(BenchError, match=r"lock: expected a value that can be told from another"):
        identity(Holder(Lock()))


def test_the_same_needs_the_same_class() -> None:
    """Of two classes of one name, made by a function, neither is the other."""

    def made() -> Any:
        @dataclass(frozen=True)
        class Local:
            value: int = 1

        return Local()

    one, other = made(), made()
    assert same(one, one) and identity(one) == identity(other) and not same(one, other)


PLUGIN = """
from dataclasses import dataclass, replace
from defenses.fs_iqa import DEFENSE as FS
from defenses.ms import DEFENSE as MS
from defenses.feature_scorer import FeatureScorerPart
from defenses.smoothers import FeatureSmoother, InputSmoother

@dataclass(frozen=True, slots=True)
class Mine(InputSmoother):
    pass  # {comment}

@dataclass(frozen=True, slots=True)
class Part(FeatureScorerPart):
    pass

DEFENSES = [
    replace(MS, name="mine", smoother=Mine()),
    replace(FS, name="mine-fs", smoother=FeatureSmoother(name="mine"), part=Part()),
]
"""


@pytest.mark.parametrize(
    ("defenses", "words"),
    [
        (("ms", "mine"), "'ms' and 'mine': expected one smoother named 'input'"),
        (("mine", "rs-reg"), "'(mine|rs-reg)' and '(mine|rs-reg)': expected one smoother"),
        (("fs-iqa", "mine-fs"), "'fs-iqa' and 'mine-fs': expected one trained part named 'ftn'"),
    ],
)
def test_a_plan_refuses_two_of_one_name(
    tmp_path: Path, defenses: tuple[str, ...], words: str
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(PLUGIN.format(comment="first"))
    registry = Registry.open([file])
    changes = Overrides(models=("dbcnn",), defenses=defenses, limit=1)
    profile = overridden(load_profile("embedded"), changes)
    with pytest.raises(BenchError, match=words):
        make_plan(profile, registry)
    ours = tuple(name for name in defenses if "mine" not in name)
    alone = profile.model_copy(update={"defenses": ours})
    assert make_plan(alone, registry).cells


def test_the_code_of_a_plugin_counts_and_its_place_does_not(tmp_path: Path) -> None:
    found = []
    for number, comment in enumerate(("first", "first", "second")):
        file = tmp_path / str(number) / "mine.py"
        file.parent.mkdir()
        file.write_text(PLUGIN.format(comment=comment))
        found.append(identity(import_file(file).Mine()))
    assert found[0] == found[1] != found[2]
