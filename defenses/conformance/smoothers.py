"""Checks of the smoother: noise, units, geometry and the end of the certified ball.

The ball's worst point is known for the kit's models (a step along their direction), so whether a
radius is right can be asked directly, without an attack. These checks must not know which statistic
is taken.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch

from defenses.base import Array, Geometry, Target
from defenses.bounds import Bounds
from defenses.certify import Certificate, CertificateError, certify, sorted_draws, width_curve
from defenses.conformance.report import SIGMA, Candidate, NotApplicable, Refusal, require
from defenses.reference_models import (
    COUNTEREXAMPLE_RATIO,
    COUNTEREXAMPLE_SIGMA,
    COUNTEREXAMPLE_SLOPE,
    ProjectionModel,
    analytic_scorer,
    constant_model,
    counterexample_image,
    direction,
    grey,
    half_space_model,
    linear_model,
    nan_model,
    sigmoid_model,
    step_model,
)
from defenses.smoothers import FeatureSmoother
from iqa_models.base import IQAModel

DRAWS, FRESH = 1000, 2000
CONFIDENCE = 1 - 1e-7
"""Of certificates and of the limits they are compared with: a right radius is never refused."""
ROUNDING = 1e-5
"""Share of the score range by which batched float32 arithmetic may differ."""


def reproducible(candidate: Candidate, model: IQAModel | None = None) -> str:
    """The same image and noise give the same score, whatever the batch, order or chunking."""
    candidate.require_draws()
    model = linear_model(sigma=SIGMA) if model is None else model
    target, image = candidate.target(model), grey()
    slack = ROUNDING * candidate.scale(model).span
    draws = candidate.draws(target, image, n=100)
    other = candidate.draws(target, grey() + 0.01, n=100, key="another image")
    require(bool(np.ptp(draws) > 0), "100 draws are all equal: no noise is added")
    require(not np.allclose(draws, other, atol=slack), "two images share their noise")
    for batch in (1, 7, 64, 512):
        again = candidate.draws(target, image, n=100, batch=batch)
        require(
            np.allclose(draws, again, rtol=0, atol=slack),
            f"draws differ by {np.abs(draws - again).max():.3g}, asked again with batch {batch}",
        )
    prefix = candidate.draws(target, image, n=37)
    require(
        np.allclose(draws[:37], prefix, rtol=0, atol=slack),
        "37 draws are not the first 37 of 100: noise depends on how much of it is asked for",
    )
    return "100 draws equal at batch 1, 7, 64, 512, after another image, and as a prefix of 37"


def units(candidate: Candidate) -> str:
    """A network that works on [-1, 1] inside gets the certificate of its twin on [0, 1]."""
    plain, signed = (linear_model(sigma=SIGMA, signed_input=signed) for signed in (False, True))
    first, second = candidate.target(plain), candidate.target(signed)
    draws, twin = (candidate.draws(target, grey(), n=200) for target in (first, second))
    slack = ROUNDING * candidate.scale(plain).span
    require(
        np.allclose(draws, twin, rtol=0, atol=slack),
        "noise is not added to the image: scores change with the network's own normalisation",
    )
    radii = [candidate.geometry(target, grey()).radius(1.0) for target in (first, second)]
    require(
        radii[0] == radii[1] or math.isclose(radii[0] or 0, radii[1] or 0, rel_tol=1e-4),
        f"the radius changes with the network's own normalisation: {radii}",
    )
    return f"same draws and the same radius, {_text(radii[0])}, for both"


def worst_case(candidate: Candidate) -> str:
    """At the end of the ball, the population statistic is inside the certified interval."""
    best, name = 0.0, ""
    for model in (
        linear_model(sigma=SIGMA),
        step_model(sigma=SIGMA),
        half_space_model(threshold=0.7 * SIGMA),
    ):
        target = candidate.target(model)
        geometry = candidate.geometry(target, grey())
        scores = sorted_draws(candidate.draws(target, grey(), n=DRAWS))
        certificate = _certificate(candidate, target, geometry, scores)
        if certificate.radius is None:
            continue
        for share in (1.0, 0.5):
            used = _judge_ball(candidate, target, geometry, scores, share * certificate.radius)
            if used > best:
                best, name = used, model.card.name
    require(best > 0, f"no radius was certified on any model: {certificate.reason}")
    return f"inside at both ends of the ball, at most {best:.0%} of the width used ({name} model)"


def _certificate(
    candidate: Candidate, target: Target, geometry: Geometry, scores: Array
) -> Certificate:
    # A tabulated geometry need not reach down to r = 1; its largest entry is as good.
    native = geometry.radius(1.0) is not None
    ratio = 1.0 if native else max(geometry.ratios, default=1.0)
    return certify(
        candidate.defense,
        scores,
        geometry,
        scale=candidate.scale(target.model.model),
        confidence=CONFIDENCE,
        ratio=ratio,
    )


def _judge_ball(
    candidate: Candidate, target: Target, geometry: Geometry, scores: Array, radius: float
) -> float:
    """Share of the certified interval that both ends of a ball use; refuses more than all."""
    scale = candidate.scale(target.model.model)
    curve = width_curve(
        candidate.defense, scores, geometry, scale=scale, confidence=CONFIDENCE, radii=[radius]
    )
    low, high = curve.lower[0], curve.upper[0]
    estimates = []
    for sign in (-1.0, 1.0):
        fresh = _fresh(candidate, target, sign * radius)
        limits = _limits(candidate, fresh, target)
        slack = ROUNDING * scale.span
        where = f"{radius:.4g} {'up' if sign > 0 else 'down'} the {target.model.card.name} model"
        require(
            limits.upper is None or limits.upper >= low - slack,
            f"{where} the statistic is at most {limits.upper}, below the certified {low:.6g}",
        )
        require(
            limits.lower is None or limits.lower <= high + slack,
            f"{where} the statistic is at least {limits.lower}, above the certified {high:.6g}",
        )
        estimates.append(candidate.defense.statistic.estimate(fresh))
    return (estimates[1] - estimates[0]) / (high - low) if high > low else 0.0


def _fresh(candidate: Candidate, target: Target, step: float) -> Array:
    image = grey() + step * direction()[None]
    return sorted_draws(candidate.draws(target, image, n=FRESH, key=f"fresh {step}"))


def _limits(candidate: Candidate, scores: Array, target: Target) -> Bounds:
    scale = candidate.scale(target.model.model)
    return candidate.defense.statistic.bounds(scores, r=0.0, confidence=CONFIDENCE, scale=scale)


def displacement_ratio(candidate: Candidate) -> float | None:
    """Feature displacement in sigma_f at the radius certified on the sigmoid counterexample.

    B(t) = sigmoid(10 t) at t = -0.3 with sigma_f = 0.1: the slope there is 0.4518, the first-order
    radius 0.2214, and the features really move by 0.2655 within it, 2.655 sigma_f.  None where the
    smoother does not add noise to features.
    """
    smoother = candidate.defense.smoother
    if not isinstance(smoother, FeatureSmoother):
        return None
    target = _counterexample(candidate, sigmoid_model())
    image = counterexample_image()
    radius = candidate.geometry(target, image).radius(1.0)
    if radius is None:
        return 0.0
    with torch.no_grad():
        moved = smoother.embed(target, image + radius * direction()[None])
        distance = float((moved - smoother.embed(target, image)).norm())
    return distance / target.sigma


def _counterexample(candidate: Candidate, model: ProjectionModel) -> Target:
    # gain 0.4: the score under noise keeps to its range while the features move by 2.7 sigma_f.
    part = analytic_scorer(gain=0.4)
    return Target(model=model.bind(), part=part, sigma=COUNTEREXAMPLE_SIGMA)


def counterexample(candidate: Candidate) -> str:
    """A radius that rests on a linearisation is not called proved."""
    ratio = displacement_ratio(candidate)
    rigor = candidate.defense.card.rigor
    if ratio is None:
        raise NotApplicable("noise is not added to features, no map is linearised")
    text = f"features move by {ratio:.3f} sigma_f inside the radius where sigmoid(10 t) bends"
    require(ratio <= 1.0 or rigor != "proved", f"{text}, and yet the card says proved")
    expected = f"{COUNTEREXAMPLE_RATIO} at slope {COUNTEREXAMPLE_SLOPE:g}"
    return f"{text} (first order: {expected}); the card says {rigor}"


def nan(candidate: Candidate) -> str:
    """A network that returns NaN gets no certificate."""
    try:
        draws = candidate.draws(candidate.target(nan_model()), grey(), n=32)
        sorted_draws(draws)
    except CertificateError as error:
        return f"refused: {error}"
    except (ValueError, ArithmeticError) as error:
        return f"refused with {type(error).__name__}"
    raise Refusal("a network that returns NaN gets finite draws: the NaN is hidden, not refused")


def flat_features(candidate: Candidate) -> str:
    """A model that does not move has a finite radius or an abstention with its reason."""
    target = candidate.target(constant_model())
    geometry = candidate.geometry(target, grey())
    if geometry.reason is not None:
        return f"abstains: {geometry.reason}"
    radius = geometry.radius(1.0)
    require(
        radius is None or (0 < radius < math.inf),
        f"a constant model has the radius {radius!r} without a reason",
    )
    if candidate.defense.smoother.rigor == "first-order":
        raise Refusal(f"a vanishing Jacobian is certified to the radius {radius!r}")
    return f"constant model: radius {_text(radius)}, width 0 apart from abstention"


def grows(candidate: Candidate) -> str:
    """Noise units grow with the radius, from 0 on, and radius() undoes ratio()."""
    geometry = candidate.geometry(candidate.target(linear_model(sigma=SIGMA)), grey())
    radii = [0.001, 0.01, 0.05, 0.1, 0.5]
    ratios = [geometry.ratio(radius) for radius in radii]
    require(
        all(0 < a <= b for a, b in pairwise(ratios)),
        f"noise units {ratios} do not grow with the radii {radii}",
    )
    for ratio in (0.5, 1.0, 2.0):
        radius = geometry.radius(ratio)
        require(
            radius is None or geometry.ratio(radius) <= ratio * (1 + 1e-9),
            f"radius({ratio:g}) = {radius} spans {geometry.ratio(radius or 0):g} noise units",
        )
    return f"r = {', '.join(f'{r:.3g}' for r in ratios)} at radius {', '.join(map(str, radii))}"


def gradient(candidate: Candidate) -> str:
    """Scores are differentiable in the image: an attack that sees no gradient proves nothing."""
    smoother, target = candidate.defense.smoother, candidate.target(linear_model(sigma=SIGMA))
    image = grey().requires_grad_(True)
    noise = candidate.stream().draw(
        smoother.noise_shape(target, image), kind=smoother.noise_kind, draws=8
    )
    score = smoother.sample(target, image, noise).mean()
    (slope,) = torch.autograd.grad(score, image)
    norm = float(slope.norm())
    require(math.isfinite(norm) and norm > 0, f"the gradient's norm is {norm}")
    return f"gradient of norm {norm:.3g} along the linear model"


def cost(candidate: Candidate) -> str:
    """The stated number of forward passes is positive and does not shrink with the draws."""
    few, many = (candidate.defense.smoother.forward_passes(n) for n in (10, 1000))
    require(0 < few <= many, f"{few} passes for 10 draws, {many} for 1000")
    return f"{many:g} forward passes for 1000 draws"


def _text(radius: float | None) -> str:
    return "none" if radius is None else f"{radius:.4g}"
