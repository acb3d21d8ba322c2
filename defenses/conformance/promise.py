"""Checks of what is promised: the guarantee card and the trained part.

They must not know the bounds; those are the statistic's and the smoother's checks.
"""

from __future__ import annotations

import math

import torch

from defenses.base import Target
from defenses.certify import certify, sorted_draws
from defenses.conformance.report import SIGMA, Candidate, NotApplicable, require
from defenses.reference_models import grey, linear_model

RIGOR = ("empirical", "first-order", "proved")
"""From the weakest to the strongest."""


def card(candidate: Candidate) -> str:
    """The card promises no more than the parts can keep, and says what it must."""
    defense, promise = candidate.defense, candidate.defense.card
    for name in ("norm", "statement", "trained", "cost", "applies_to"):
        require(bool(getattr(promise, name).strip()), f"the card's {name} is empty")
    require(bool(defense.citation.strip()), "no citation")
    require("l2" in promise.norm.lower(), f"Gaussian noise gives l2 radii, not {promise.norm!r}")
    require(promise.claim in ("population", "deployed"), f"unknown claim {promise.claim!r}")
    require(promise.rigor in RIGOR, f"unknown rigor {promise.rigor!r}, expected one of {RIGOR}")
    require(
        RIGOR.index(promise.rigor) <= RIGOR.index(defense.smoother.rigor),
        f"the card says {promise.rigor}, its smoother only {defense.smoother.rigor}",
    )
    require(bool(promise.assumptions), "no assumptions: every smoothing certificate has some")
    text = " ".join((promise.statement, *promise.assumptions)).lower()
    if promise.rigor == "first-order":
        require(
            "first order" in text or "first-order" in text or "linear" in text,
            "a first-order radius must be called so in the statement or the assumptions",
        )
    trains = promise.trained.strip().lower() not in ("nothing", "none", "-")
    require(
        trains == (defense.part is not None),
        f"the card says trained: {promise.trained!r}, the part is {defense.part!r}",
    )
    named = None if defense.part is None else defense.part.name
    require(
        defense.smoother.part == named,
        f"the smoother needs part {defense.smoother.part!r}, the defence trains {named!r}",
    )
    return f"l2, {promise.claim}, {promise.rigor}; trained: {promise.trained}"


def delta(candidate: Candidate) -> str:
    """A radius that can fail says so: its failure probability is recorded and assumed."""
    geometry = candidate.geometry(candidate.target(linear_model(sigma=SIGMA)), grey())
    require(0 <= geometry.delta < 0.5, f"failure probability {geometry.delta!r} of the radius")
    if geometry.delta > 0:
        text = " ".join(candidate.defense.card.assumptions).lower()
        require("delta" in text or "probability" in text, "the card does not mention delta")
    return f"the radius itself fails with probability {geometry.delta:g}"


def part(candidate: Candidate) -> str:
    """The part trains, twice to the same bits, and certifies once it is trained."""
    trained = candidate.trained
    definition = candidate.defense.part
    if definition is None:
        raise NotApplicable("nothing is trained")
    curves = (*trained.train_loss, *trained.validation_loss)
    require(bool(curves) and all(map(math.isfinite, curves)), f"losses {curves}")
    module = trained.module
    require(not module.training, "the trained module is not in evaluation mode")
    require(
        not any(parameter.requires_grad for parameter in module.parameters()),
        "the trained module still asks for gradients of its weights",
    )
    again = definition.train(candidate.training_job()).module.state_dict()
    require(
        all(torch.equal(value, again[name]) for name, value in module.state_dict().items()),
        "training twice from one seed gives different weights",
    )
    model = linear_model(sigma=SIGMA)
    target = Target(model=model.bind(), part=module, sigma=SIGMA)
    scores = sorted_draws(candidate.draws(target, grey(), n=200))
    found = certify(
        candidate.defense,
        scores,
        candidate.geometry(target, grey()),
        scale=candidate.scale(model),
        confidence=0.99,
    )
    outcome = found.reason or f"radius {found.radius:.4g}"
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return f"{parameters} parameters, the same bits twice; with it: {outcome}"
