"""Spectral norms: closed-form factors, upper bounds against the truth, products, batching."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from defenses.jacobian import Linearization
from defenses.lanczos import aposteriori_bound, apriori_factor, start_quantile
from defenses.spectral import spectral_norm, top_singular_vector

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "data" / "math_vectors.json").read_text()
)


@pytest.fixture(autouse=True)
def one_seed() -> None:
    torch.manual_seed(0)


def conv_net(features: int = 64, dtype: torch.dtype = torch.float32) -> nn.Module:
    return (
        nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, 1, 1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 16, 3, 1, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.LazyLinear(features),
            nn.Sigmoid(),
        )
        .to(dtype)
        .eval()
    )


def images(batch: int = 3, side: int = 16, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(batch, 3, side, side, dtype=dtype)


def linear(matrices: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: torch.einsum("bmn,bn->bm", matrices, x.flatten(1))


# --- closed forms -------------------------------------------------------------------------------


@pytest.mark.parametrize(("key", "expected"), VECTORS["lanczos_q"].items())
def test_start_quantile_vectors(key: str, expected: float) -> None:
    m, delta = key.split(",")
    assert start_quantile(int(m), float(delta)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("key", "expected"), VECTORS["lanczos_factor"].items())
def test_apriori_factor_vectors(key: str, expected: float) -> None:
    m, k, delta = key.split(",")
    assert apriori_factor(int(m), int(k), float(delta)) == pytest.approx(expected, rel=1e-9)


def test_apriori_factor_is_below_kuczynski_and_wozniakowski() -> None:
    for m in (8, 512, 589824):
        for k in range(2, 41, 6):
            for delta in (1e-2, 1e-3, 1e-6):
                gap = (math.log(1.648 * math.sqrt(m) / delta) / (2 * k - 1)) ** 2
                if gap < 1:
                    assert apriori_factor(m, k, delta) < (1 - gap) ** -0.5


def test_aposteriori_bound_solves_its_equation() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        k = int(rng.integers(1, 20))
        theta, beta = rng.random(k) * 5, rng.random(k) * 2
        upper = aposteriori_bound(theta, beta, delta=1e-3, m=100)
        polynomial = np.log(upper - theta).sum() - np.log(beta).sum()
        assert upper > theta.max()
        assert polynomial == pytest.approx(-0.5 * math.log(start_quantile(100, 1e-3)), abs=1e-5)


def test_one_feature_needs_no_luck() -> None:
    assert start_quantile(1, 1e-3) == 1.0 and apriori_factor(1, 1, 1e-3) == 1.0


# --- bounds against the truth -------------------------------------------------------------------

SPECTRA: dict[str, Callable[[int], Tensor]] = {
    "flat": lambda m: torch.ones(m),
    "linear": lambda m: torch.linspace(1, 0, m),
    "decaying": lambda m: 1 / torch.arange(1, m + 1) ** 0.5,
    "clustered": lambda m: torch.cat(
        [1 - 1e-4 * torch.arange(m // 2), 0.3 * torch.ones(m - m // 2)]
    ),
    "outlier": lambda m: torch.cat([torch.tensor([1.0]), 0.999 * torch.ones(m - 1)]),
    "rank one": lambda m: torch.eye(m)[0],
    "chebyshev": lambda m: (0.9 * torch.cos(torch.linspace(0, math.pi / 2, m))).index_fill(
        0, torch.tensor([0]), 1.0
    ),
}


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_upper_bound_holds_in_a_thousand_trials(spectrum: str) -> None:
    # Diagonal matrices suffice: the random start has no preferred direction.
    m, trials = 24, 150
    singular = SPECTRA[spectrum](m).double()
    x = torch.zeros(trials, m, dtype=torch.float64)
    for steps in (1, 3, 8, 20, 60):
        found = spectral_norm(
            lambda z: z * singular,
            x,
            steps=steps,
            delta=1e-3,
            seed=range(1000 * steps, 1000 * steps + trials),
        )
        assert (found.estimate <= 1 + 1e-12).all() and (found.upper >= 1.0).all()


def test_failures_are_no_more_frequent_than_delta_and_not_zero() -> None:
    # A generous delta must show failures, or the test above could not see a wrong bound.
    m, trials, delta = 200, 600, 0.1
    x = torch.zeros(trials, m, dtype=torch.float64)
    tight = SPECTRA["decaying"](m).double()
    close = spectral_norm(lambda z: z * tight, x, steps=5, delta=delta, seed=range(trials))
    missed = int((close.upper < 1.0).sum())
    assert missed > 0
    assert (close.estimate < 1.0).all()  # a Ritz value alone, as power iteration, bounds nothing
    assert stats.binomtest(missed, trials, delta, alternative="greater").pvalue > 1e-3


def power_iteration(jacobian: Linearization, start: Tensor, steps: int) -> Tensor:
    for _ in range(steps):
        start = jacobian.jvp(jacobian.vjp(start))
        start = start / start.norm(dim=1, keepdim=True)
    return jacobian.vjp(start).flatten(1).norm(dim=1)


def test_power_iteration_would_be_rejected() -> None:
    singular = SPECTRA["clustered"](60).double()
    x = torch.zeros(100, 60, dtype=torch.float64)
    jacobian = Linearization(lambda z: z * singular, x)
    found = power_iteration(jacobian, torch.randn(100, 60, dtype=torch.float64), 20)
    assert (found < 1.0 - 1e-9).float().mean() > 0.9


@pytest.mark.parametrize("method", ["exact", "lanczos"])
def test_linear_maps_agree_with_the_singular_values(method: Any) -> None:
    for m, n in [(5, 40), (40, 5), (1, 9), (9, 1), (12, 12)]:
        matrices = torch.randn(4, m, n, dtype=torch.float64)
        truth = torch.linalg.matrix_norm(matrices, ord=2)
        found = spectral_norm(
            linear(matrices), torch.randn(4, n, dtype=torch.float64), method=method, steps=50
        )
        assert found.estimate == pytest.approx(truth, rel=1e-9)
        assert (found.upper >= truth).all() and found.upper == pytest.approx(truth, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_conv_net_bound_is_safe_and_within_five_percent(dtype: torch.dtype) -> None:
    for _ in range(5):
        net, x = conv_net(64, dtype), images(6, 16, dtype)
        exact = spectral_norm(net, x, method="exact")
        found = spectral_norm(net, x, method="lanczos", steps=20, delta=1e-3)
        assert exact.delta == 0.0 and exact.products == 64 and found.products == 40
        assert (found.upper >= exact.estimate).all()
        assert (found.upper <= 1.05 * exact.estimate).all()
        assert (found.estimate <= exact.upper).all()


def test_exact_agrees_with_the_full_jacobian() -> None:
    net, x = conv_net(20, torch.float64), images(2, 16, torch.float64)
    full = torch.stack(
        [
            torch.autograd.functional.jacobian(lambda z: net(z[None])[0], image).flatten(1)  # type: ignore[no-untyped-call]
            for image in x
        ]
    )
    truth = torch.linalg.matrix_norm(full, ord=2)
    for chunk in (1, 7, 64):
        found = spectral_norm(net, x, method="exact", chunk=chunk)
        assert found.estimate == pytest.approx(truth, rel=1e-9)


def test_the_sigmoid_counterexample() -> None:
    case = VECTORS["sigmoid_counterexample"]
    x = torch.tensor([[-0.3]], dtype=torch.float64)
    found = spectral_norm(lambda z: torch.sigmoid(10 * z), x, steps=3)
    assert float(found.estimate) == pytest.approx(case["J"], rel=1e-12)
    radius = 0.1 / float(found.estimate)
    assert radius == pytest.approx(case["eps_x"], rel=1e-12)
    change = float(torch.sigmoid(10 * (x + radius)) - torch.sigmoid(10 * x))
    assert change / 0.1 == pytest.approx(2.655, abs=1e-3)


# --- edges --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["exact", "lanczos"])
@pytest.mark.parametrize(
    "function",
    [
        lambda x: 0.0 * x.flatten(1),
        lambda x: torch.ones(x.shape[0], 5),
        lambda x: torch.relu(-1.0 - x.flatten(1)),
    ],
)
def test_zero_jacobian(method: Any, function: Callable[[Tensor], Tensor]) -> None:
    found = spectral_norm(function, torch.rand(2, 3, 4, 4), method=method, vector=True)
    assert found.estimate.tolist() == [0.0, 0.0] and found.upper.tolist() == [0.0, 0.0]
    assert found.right_vector is not None
    assert float(found.right_vector.abs().sum()) == 0.0


@pytest.mark.parametrize("method", ["exact", "lanczos"])
@pytest.mark.parametrize("size", [1e-25, 1e25])
def test_extreme_jacobians_do_not_vanish_in_float32(method: Any, size: float) -> None:
    found = spectral_norm(lambda x: size * x.flatten(1), torch.rand(2, 1, 2, 3), method=method)
    assert found.estimate == pytest.approx([size, size], rel=1e-5)
    assert (found.upper >= found.estimate).all()


def test_invariant_subspace_ends_the_run() -> None:
    found = spectral_norm(lambda x: 3.0 * x, torch.zeros(2, 50, dtype=torch.float64), steps=30)
    assert found.steps.tolist() == [1, 1] and found.products == 2
    assert found.upper == pytest.approx([3.0, 3.0], rel=1e-9)


def test_more_steps_than_features() -> None:
    matrices = torch.randn(3, 4, 30, dtype=torch.float64)
    found = spectral_norm(linear(matrices), torch.zeros(3, 30, dtype=torch.float64), steps=100)
    assert int(found.steps.max()) <= 4
    assert found.upper == pytest.approx(torch.linalg.matrix_norm(matrices, ord=2), rel=1e-9)


def test_tolerance_stops_early_and_is_kept() -> None:
    net, x = conv_net(64), images(4)
    loose = spectral_norm(net, x, steps=40, tolerance=0.05)
    assert int(loose.steps.max()) < 40
    assert (loose.upper <= 1.0501 * loose.estimate).all()
    assert (loose.upper >= spectral_norm(net, x, method="exact").estimate).all()


# --- products -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["forward", "double_vjp", "auto"])
def test_products_are_adjoint(mode: Any) -> None:
    net, x = conv_net(20, torch.float64), images(3, 16, torch.float64)
    jacobian = Linearization(net, x, jvp=mode)
    u, v = torch.randn(3, 20, dtype=torch.float64), torch.randn_like(x)
    left = (u * jacobian.jvp(v)).sum(1)
    right = (jacobian.vjp(u) * v).flatten(1).sum(1)
    assert left == pytest.approx(right, rel=1e-10)


def test_forward_and_double_backward_agree() -> None:
    net, x = conv_net(20), images()
    one = spectral_norm(net, x, jvp="forward")
    two = spectral_norm(net, x, jvp="double_vjp")
    assert (one.jvp, two.jvp) == ("forward", "double_vjp")
    assert one.estimate == pytest.approx(two.estimate, rel=1e-5)
    assert one.upper == pytest.approx(two.upper, rel=1e-4)


class BackwardOnly(torch.autograd.Function):
    """Doubles its input; has a derivative backwards but none forwards."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return 2 * gradient


def test_missing_forward_derivative_is_noticed() -> None:
    found = spectral_norm(
        lambda x: BackwardOnly.apply(x.flatten(1)),  # type: ignore[no-untyped-call]
        torch.rand(2, 1, 2, 3),
    )
    assert found.jvp == "double_vjp"
    assert found.estimate == pytest.approx([2.0, 2.0], rel=1e-6)


def test_wrong_forward_derivative_is_noticed() -> None:
    class Lying(BackwardOnly):
        @staticmethod
        def jvp(ctx: Any, tangent: Tensor) -> Tensor:  # type: ignore[override]
            return 7 * tangent

    found = spectral_norm(
        lambda x: Lying.apply(x.flatten(1)),  # type: ignore[no-untyped-call]
        torch.rand(2, 1, 2, 3),
    )
    assert found.jvp == "double_vjp"
    assert found.estimate == pytest.approx([2.0, 2.0], rel=1e-6)


class OnceOnly(BackwardOnly):
    """Its backward pass cannot be differentiated, and says so."""

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return 2 * gradient

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:  # type: ignore[override]
        return 2 * tangent


class Detaching(OnceOnly):
    """Its backward pass cannot be differentiated, and does not say so."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return 2 * gradient.detach()


@pytest.mark.parametrize("operator", [OnceOnly, Detaching])
def test_backward_pass_without_a_derivative_is_noticed(operator: Any) -> None:
    found = spectral_norm(lambda x: operator.apply(x.flatten(1)), torch.rand(2, 1, 2, 3))
    assert found.jvp == "forward"
    assert found.estimate == pytest.approx([2.0, 2.0], rel=1e-6)


def test_no_forward_product_that_fits_is_an_error() -> None:
    class Neither(Detaching):
        @staticmethod
        def jvp(ctx: Any, tangent: Tensor) -> Tensor:  # type: ignore[override]
            return 7 * tangent

    with pytest.raises(ValueError, match="no forward product"):
        spectral_norm(
            lambda x: Neither.apply(x.flatten(1)),  # type: ignore[no-untyped-call]
            torch.rand(2, 1, 2, 3),
        )


# --- batching and seeds -------------------------------------------------------------------------


@pytest.mark.parametrize("tolerance", [None, 0.02])
def test_an_image_does_not_depend_on_its_neighbours(tolerance: float | None) -> None:
    net, x = conv_net(64, torch.float64), images(5, 16, torch.float64)
    together = spectral_norm(net, x, steps=12, tolerance=tolerance)
    alone = [spectral_norm(net, image[None], steps=12, tolerance=tolerance) for image in x]
    shuffled = spectral_norm(net, x.flip(0), steps=12, tolerance=tolerance)
    for field in ("estimate", "upper"):
        values = getattr(together, field)
        assert values == pytest.approx([float(getattr(one, field)) for one in alone], rel=1e-9)
        assert values == pytest.approx(getattr(shuffled, field).flip(0), rel=1e-9)
    assert together.steps.tolist() == [int(one.steps) for one in alone]


def test_seeds() -> None:
    net, x = conv_net(64), images(2)
    first = spectral_norm(net, x, steps=4, seed=1)
    assert torch.equal(first.estimate, spectral_norm(net, x, steps=4, seed=1).estimate)
    assert not torch.equal(first.estimate, spectral_norm(net, x, steps=4, seed=2).estimate)
    keyed = spectral_norm(net, x, steps=4, seed=[7, 8])
    single = spectral_norm(net, x[1:], steps=4, seed=[8])
    assert float(keyed.estimate[1]) == pytest.approx(float(single.estimate[0]), rel=1e-5)


def test_top_singular_vector_moves_the_features_most() -> None:
    net, x = conv_net(32, torch.float64), images(2, 16, torch.float64)
    exact = spectral_norm(net, x, method="exact", vector=True)
    vector = top_singular_vector(net, x, steps=32)
    assert vector.flatten(1).norm(dim=1) == pytest.approx([1.0, 1.0], rel=1e-12)
    assert Linearization(net, x).jvp(vector).norm(dim=1) == pytest.approx(exact.estimate, rel=1e-6)
    assert exact.right_vector is not None
    overlap = (vector * exact.right_vector).flatten(1).sum(1).abs()
    assert overlap == pytest.approx([1.0, 1.0], rel=1e-6)


def test_model_is_left_as_it_was() -> None:
    net, x = conv_net(8), images(1)
    spectral_norm(net, x)
    spectral_norm(net, x, method="exact")
    assert all(parameter.grad is None for parameter in net.parameters())
    assert not x.requires_grad


@pytest.mark.parametrize(
    "change",
    [
        {"method": "power"},
        {"steps": 0},
        {"delta": 0.0},
        {"delta": 1.0},
        {"tolerance": -1.0},
        {"seed": [1]},
        {"x": torch.zeros(0, 3)},
        {"x": torch.zeros(2, 3, dtype=torch.int64)},
        {"function": lambda x: x.sum()},
        {"method": "exact", "chunk": 0},
        {"function": lambda x: math.nan * x},
        {"function": lambda x: math.nan * x, "method": "exact"},
    ],
)
def test_bad_arguments_are_refused(change: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"function": lambda x: 2 * x, "x": torch.zeros(2, 3), **change}
    with pytest.raises(ValueError, match=r"found|finite"):
        spectral_norm(arguments.pop("function"), arguments.pop("x"), **arguments)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2},
        {"stride": 3, "padding": 2},
        {"stride": (1, 2), "padding": (0, 1)},
        {"dilation": 2, "padding": 1},
        {"groups": 3, "stride": 2},
        {"padding": "same"},
        {"bias": False, "stride": 4, "kernel_size": 7, "padding": 3},
    ],
)
def test_frozen_convolutions_have_torchs_own_derivatives(options: dict[str, Any]) -> None:
    settings: dict[str, Any] = {"kernel_size": 3, **options}
    layer = nn.Conv2d(3, 6, dtype=torch.float64, **settings).requires_grad_(False)

    def net(z: Tensor) -> Tensor:
        return torch.tanh(layer(z)).flatten(1)

    x = images(2, 13, torch.float64)
    ours, theirs = Linearization(net, x), Linearization(net, x, jvp="forward")
    u, v = torch.randn_like(ours.outputs), torch.randn_like(x)
    assert torch.equal(ours.outputs, theirs.outputs)
    assert torch.allclose(ours.vjp(u), theirs.vjp(u), rtol=1e-12)
    assert torch.allclose(ours.jvp(v), theirs.jvp(v), rtol=1e-12)
    assert ours.jvp_mode == "double_vjp"


def test_convolutions_in_training_are_left_alone() -> None:
    layer = nn.Conv2d(3, 2, 3)
    linear = Linearization(lambda z: layer(z).flatten(1), images(1, 8))
    linear.jvp(linear.vjp(torch.ones_like(linear.outputs)))
    assert linear.jvp_mode == "double_vjp"


def test_a_stationary_point_is_rounding_noise_not_a_wrong_derivative() -> None:
    """Squared differences at their own reference: every product is noise, the norm is ~ 0."""
    torch.manual_seed(0)
    reference = torch.rand(1, 3, 8, 8)
    weight = torch.rand(16, 3, 3, 3)

    def noisy_difference(x: torch.Tensor) -> torch.Tensor:
        ours = torch.nn.functional.conv2d(x, weight)
        theirs = torch.nn.functional.conv2d(reference, weight).detach()
        # Two roundings of the same number leave a gradient of 1e-7 with no consistent adjoint.
        return ((ours - theirs) * (1 + 1e-7)).square().mean((2, 3))

    found = spectral_norm(noisy_difference, reference.clone())
    assert float(found.upper[0]) < 1e-3
