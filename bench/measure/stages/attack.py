"""Attack: I-FGSM on the undefended and the defended model (Figure 4).

It must not know how gains are summarised.

The defended model is attacked through its expectation (EOT, Athalye et al. 2018): the gradient of
the mean score over fresh noise.  Feature noise costs one backbone pass for any number of draws.
What was found on the undefended model is also scored by the defence: transfer, as in the paper.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from PIL import Image as PillowImage
from torch import Tensor

from bench.measure.attacks import Norm, Objective, ifgsm
from bench.measure.context import Context
from bench.plan.units import UNDEFENDED, Cell, Unit
from bench.records.schema import AttackRecord, PictureRecord, Record
from defenses.expectation import unclamped

NAME = "attack"
Kind = Literal["white-box", "transfer"]
KINDS: tuple[Kind, ...] = ("white-box", "transfer")
"""Made on what is attacked, or made on the undefended model and scored by a defence."""


@dataclass(frozen=True, slots=True)
class Strength:
    """What the unit's detail spells: ``norm:epsilon:direction``, and ``:picture`` to keep one."""

    norm: Norm
    epsilon: float
    direction: str
    picture: bool = False

    @classmethod
    def parse(cls, detail: str) -> Strength:
        """Read a unit's detail.

        >>> Strength.parse("linf:0.05:up")
        Strength(norm='linf', epsilon=0.05, direction='up', picture=False)
        """
        norm, epsilon, direction, *kept = detail.split(":")
        return cls("l2" if norm == "l2" else "linf", float(epsilon), direction, kept == ["picture"])


def run(units: Sequence[Unit], context: Context) -> Iterator[tuple[Unit, list[Record]]]:
    """Attack image by image: one unit per model, strength and image, for all that is attacked."""
    for unit in units:
        yield unit, attack(unit, context)


def failed(unit: Unit, context: Context, reason: str) -> list[Record]:
    """An attack that could not be run."""
    return [
        AttackRecord(status="failed", reason=reason, **columns_of(cell, kind, unit, context))
        for cell in unit.cells
        for kind in (("white-box",) if cell.defense == UNDEFENDED else KINDS)
    ]


@dataclass(frozen=True, slots=True)
class Victim:
    """What is attacked, on one image.

    Attributes:
        image: ``(1, 3, H, W)`` in [0, 1].
        expected: Differentiable score of a point at a step, not clamped to the score range: an
            attacker is not stopped by a flat end, whatever is attacked.
        score: Score of a point as a user would compute it, with the noise of a repeat.
    """

    image: Tensor
    expected: Objective
    score: Callable[[Tensor, int], float]


def attack(unit: Unit, context: Context) -> list[Record]:
    """Attack the model and its defences; what was found on the model is scored by all of them."""
    strength = Strength.parse(unit.detail)
    steps = context.profile.attack.steps
    plain = undefended(unit, context)
    carried = search(plain, strength, steps=steps)
    records: list[Record] = []
    for cell in unit.cells:
        if cell.defense == UNDEFENDED:
            victim, own = plain, carried
        else:
            victim = defended(cell, unit, context)
            own = search(victim, strength, steps=steps)
        points: dict[Kind, Tensor] = {"white-box": own}
        if victim is not plain:
            points["transfer"] = carried
        records += scored(victim, points, cell, unit, context)
        records += pictures(cell, unit, strength, victim.image, own)
    return records


def search(victim: Victim, strength: Strength, *, steps: int) -> Tensor:
    """The attacked image that I-FGSM finds."""
    sign = 1.0 if strength.direction == "up" else -1.0
    return ifgsm(
        lambda point, step: sign * victim.expected(point, step),
        victim.image,
        epsilon=strength.epsilon,
        steps=steps,
        norm=strength.norm,
    )


def scored(
    victim: Victim, points: Mapping[Kind, Tensor], cell: Cell, unit: Unit, context: Context
) -> list[Record]:
    """A record for each attacked image: the score before, and after with fresh noise."""
    before = victim.score(victim.image, 0)
    return [
        AttackRecord(
            status="ok",
            score_before=before,
            score_after=victim.score(point, 1 + KINDS.index(kind)),
            **columns_of(cell, kind, unit, context),
        )
        for kind, point in points.items()
    ]


def defended(cell: Cell, unit: Unit, context: Context) -> Victim:
    """The defended model, through its expectation."""
    one = context.defended_item(cell, unit.one_image)
    free = replace(one, target=unclamped(one.target))
    draws = context.profile.attack.expectation

    def score(point: Tensor, repeat: int) -> float:
        # Named by the stage: repeats of the timed image are other noise.
        return one.score(replace(one.stream("repeat", repeat=repeat), dataset=NAME), at=point)

    return Victim(
        one.image, lambda point, step: free.expected(point, draws=draws, step=step), score
    )


def undefended(unit: Unit, context: Context) -> Victim:
    """The plain model."""
    pair = context.pair(unit.dataset, context.item(unit.dataset, unit.one_image))
    bound = context.bind(context.model(unit.one_model), [pair])

    @torch.no_grad()
    def score(point: Tensor, repeat: int) -> float:
        return float(bound(point).item())

    return Victim(
        context.tensor(pair.image),
        lambda point, step: bound.model.head(bound.features(point)).sum(),
        score,
    )


def pictures(
    cell: Cell, unit: Unit, strength: Strength, image: Tensor, attacked: Tensor
) -> list[Record]:
    """The attacked image as a picture, if it is one of those that are kept."""
    if not strength.picture:
        return []
    return [
        PictureRecord(
            status="ok",
            **asdict(cell),
            image=unit.one_image,
            norm=strength.norm,
            epsilon=strength.epsilon,
            original_png=png(image),
            attacked_png=png(attacked),
        )
    ]


def png(image: Tensor) -> str:
    """An image ``(1, 3, H, W)`` in [0, 1] as a base64 PNG of 8 bits."""
    levels = (image[0].permute(1, 2, 0).clamp(0, 1) * 255).round().byte().cpu().numpy()
    buffer = io.BytesIO()
    PillowImage.fromarray(levels).save(buffer, format="PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def columns_of(cell: Cell, kind: Kind, unit: Unit, context: Context) -> dict[str, Any]:
    """Columns that follow from the unit, for one of its defences."""
    strength = Strength.parse(unit.detail)
    scale = context.scale(cell)
    return {
        **asdict(cell),
        "attack": kind,
        "norm": strength.norm,
        "epsilon": strength.epsilon,
        "direction": strength.direction,
        "image": unit.one_image,
        "group": context.item(unit.dataset, unit.one_image).group,
        "steps": context.profile.attack.steps,
        "range_low": scale.low,
        "range_high": scale.high,
    }
