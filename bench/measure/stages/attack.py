"""Attack: I-FGSM on the undefended and the defended model (Figure 4).

The defended model is attacked through its expectation (EOT, Athalye et al. 2018): the gradient of
the mean score over fresh noise.  Feature noise costs one backbone pass for any number of draws.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image as PillowImage
from torch import Tensor

from bench.measure.attacks import Norm, Objective, ifgsm
from bench.measure.context import Context
from bench.plan.units import UNDEFENDED, Unit
from bench.records.schema import AttackRecord, PictureRecord, Record
from defenses.base import Defense, ScoreScale, Target
from defenses.certify import sorted_draws
from defenses.expectation import expected_score
from defenses.noise import NoiseStream
from iqa_models.base import BoundModel


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


class Attack:
    """Stage ``attack``: one unit per model, defence (or none), strength and image."""

    name = "attack"

    def run(self, units: Sequence[Unit], context: Context) -> Iterator[tuple[Unit, list[Record]]]:
        """Attack image by image."""
        for unit in units:
            yield unit, attack(unit, context)

    def failed(self, unit: Unit, context: Context, reason: str) -> list[Record]:
        """An attack that could not be run."""
        low, high = context.model(unit.model or "").card.score_range
        columns = columns_of(unit, context, ScoreScale(low, high, higher_is_better=True))
        return [AttackRecord(status="failed", reason=reason, **columns)]


def attack(unit: Unit, context: Context) -> list[Record]:
    """Attack one image and score it before and after with fresh noise."""
    strength = Strength.parse(unit.detail)
    item = context.item(unit.dataset, unit.image or "")
    pair = context.pair(unit.dataset, item)
    image = context.tensor(pair.image)
    sigma = float(unit.sigma or 0.0)
    settings = context.profile.attack
    sign = 1.0 if strength.direction == "up" else -1.0
    noise = context.noise("attack", unit.dataset, item.image_id, sigma)
    if unit.defense == UNDEFENDED:
        bound = context.bind(context.model(unit.model or ""), [pair])
        scale = ScoreScale(*bound.card.score_range, bound.card.higher_is_better)
        objective = plain_objective(bound, sign)

        def score(point: Tensor, repeat: int) -> float:
            return score_plain(bound, point)

    else:
        defense = context.defenses[unit.defense]
        target = context.target(defense.name, unit.dataset, unit.model or "", sigma, [pair])
        scale = defense.smoother.scale(
            target.model.card, context.dataset(unit.dataset).card.mos_range
        )
        objective = expected_objective(defense, target, noise, settings.expectation, sign)

        def score(point: Tensor, repeat: int) -> float:
            return score_defended(context, defense, target, point, item.image_id, repeat)

    attacked = ifgsm(
        objective, image, epsilon=strength.epsilon, steps=settings.steps, norm=strength.norm
    )
    found = AttackRecord(
        status="ok",
        score_before=score(image, 0),
        score_after=score(attacked, 1),
        **columns_of(unit, context, scale),
    )
    return [found, *pictures(unit, strength, image, attacked)]


def pictures(unit: Unit, strength: Strength, image: Tensor, attacked: Tensor) -> list[Record]:
    """The attacked image as a picture, if it is one of those that are kept."""
    if not strength.picture:
        return []
    return [
        PictureRecord(
            status="ok",
            dataset=unit.dataset,
            model=unit.model or "",
            defense=unit.defense,
            sigma=float(unit.sigma or 0.0),
            image=unit.image or "",
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


def plain_objective(bound: BoundModel, sign: float) -> Objective:
    """The undefended score before clamping, so the gradient survives at the range's ends."""

    def value(image: Tensor, step: int) -> Tensor:
        return sign * bound.model.head(bound.features(image)).sum()

    return value


def expected_objective(
    defense: Defense, target: Target, noise: NoiseStream, draws: int, sign: float
) -> Objective:
    """Mean defended score over fresh draws at every step."""

    def value(point: Tensor, step: int) -> Tensor:
        return sign * expected_score(
            defense.smoother, target, point, noise=noise, draws=draws, step=step
        )

    return value


@torch.no_grad()
def score_plain(bound: BoundModel, image: Tensor) -> float:
    """Score of the undefended model."""
    return float(bound(image).item())


def score_defended(
    context: Context, defense: Defense, target: Target, image: Tensor, name: str, repeat: int
) -> float:
    """Defended score with fresh noise, as a user would compute it."""
    draws = context.engine(context.device.type).draw(
        defense.smoother,
        target,
        image,
        noise=context.noise("repeat", "attack", name, target.sigma, repeat=repeat),
        samples=context.samples(defense),
    )
    return defense.statistic.estimate(sorted_draws(draws))


def columns_of(unit: Unit, context: Context, scale: ScoreScale) -> dict[str, Any]:
    """Columns that follow from the unit."""
    strength = Strength.parse(unit.detail)
    return {
        "dataset": unit.dataset,
        "model": unit.model,
        "defense": unit.defense,
        "sigma": float(unit.sigma or 0.0),
        "norm": strength.norm,
        "epsilon": strength.epsilon,
        "direction": strength.direction,
        "image": unit.image,
        "group": context.item(unit.dataset, unit.image or "").group,
        "steps": context.profile.attack.steps,
        "range_low": scale.low,
        "range_high": scale.high,
    }


STAGE = Attack()
