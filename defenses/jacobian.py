"""Products with the Jacobian of a batched function, one linearisation for all of them.

This module must not know what the function is, nor what the products are for.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from typing import Literal

import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor

from defenses.frozen_convolution import FrozenConvolutions

Function = Callable[[Tensor], Tensor]
JvpMode = Literal["auto", "forward", "double_vjp"]

ADJOINT_TOLERANCE = 1e-2
"""Relative gap of <u, Jv> = <J^T u, v> that separates a wrong derivative from float32 rounding."""

ROUNDING = 1e-5
"""Products of unit vectors below this are not compared: a Jacobian so small is an abstention."""


class Linearization:
    """Jacobian of ``function`` at ``x``, applied to every row of the batch at once.

    The function must act on each row alone, so that one backward pass gives every row's own
    product. The forward pass is done once and its graph is kept for all VJPs. JVPs come from
    differentiating the VJP, which is linear in its vector, a second time, or, where an operator's
    backward pass cannot be differentiated, from forward-mode AD.

    Attributes:
        outputs: (B, m) features at ``x``, detached.
        jvp_mode: How JVPs are computed; settled by the first one when `auto`.
    """

    def __init__(self, function: Function, x: Tensor, *, jvp: JvpMode = "auto") -> None:
        """Evaluates the function once.

        Args:
            function: Maps (B, ...) to (B, m), each row on its own.
            x: (B, ...) floating-point point of linearisation.
            jvp: How to compute JVPs.

        Raises:
            ValueError: If the function does not return one feature vector per row.
        """
        self._function = function
        cheap = contextlib.nullcontext() if jvp == "forward" else FrozenConvolutions()
        with torch.enable_grad(), cheap:
            self._x = x.detach().clone().requires_grad_(True)
            self._y = function(self._x)
        if self._y.ndim != 2 or self._y.shape[0] != x.shape[0]:
            raise ValueError(
                f"function must return ({x.shape[0]}, m) features, found {tuple(self._y.shape)}."
            )
        self.outputs = self._y.detach()
        self.jvp_mode: JvpMode = jvp
        self._pullback: tuple[Tensor, Tensor] | None = None

    @property
    def connected(self) -> bool:
        """Whether autograd finds any way from ``x`` to the outputs; without one J counts as 0."""
        return self._y.requires_grad

    def vjp(self, u: Tensor) -> Tensor:
        """J^T u, (B, ...) in the type of ``x``, for u (B, m), converted to the features' type."""
        if not self.connected:
            return torch.zeros_like(self._x)
        (product,) = torch.autograd.grad(
            self._y, self._x, u.to(self._y.dtype), retain_graph=True, materialize_grads=True
        )
        return product.detach()

    def vjp_many(self, u: Tensor) -> Tensor:
        """J^T u, (K, B, ...), for u (K, B, m), by vectorised backward passes if possible."""
        if not self.connected:
            return torch.zeros(u.shape[0], *self._x.shape, dtype=self._x.dtype, device=u.device)
        try:
            (product,) = torch.autograd.grad(
                self._y,
                self._x,
                u.to(self._y.dtype),
                retain_graph=True,
                is_grads_batched=True,
                materialize_grads=True,
            )
        except RuntimeError:  # an operator without a batching rule
            product = torch.stack([self.vjp(row) for row in u])
        return product.detach()

    def jvp(self, v: Tensor, *, adjoint: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """J v, (B, m) in the features' type, for v (B, ...), converted to the type of ``x``.

        ``adjoint`` is a pair (u, J^T u) against which a new forward derivative is checked once.
        """
        if self.jvp_mode == "auto":
            return self._settle(v, adjoint)
        return self._forward(v) if self.jvp_mode == "forward" else self._double_vjp(v)

    def _settle(self, v: Tensor, adjoint: tuple[Tensor, Tensor] | None) -> Tensor:
        """The first way whose product is the transpose of the backward pass.

        The double VJP comes first: it costs one to two forward passes, a dual pass four to eight
        (measured on a CPU over both editions), because it need not compute the outputs again.
        """
        if adjoint is None:
            u = self.outputs.sign() + 0.5
            adjoint = u, self.vjp(u)
        modes: tuple[JvpMode, ...] = ("double_vjp", "forward")
        for self.jvp_mode in modes:
            try:
                product = self.jvp(v)
            except (RuntimeError, NotImplementedError):
                continue
            if _is_adjoint(adjoint, v, product):
                return product
        self.jvp_mode = "auto"
        raise ValueError("no forward product of this function fits its backward pass.")

    def _forward(self, v: Tensor) -> Tensor:
        with torch.no_grad(), forward_ad.dual_level(), warnings.catch_warnings():
            # torch compiles its own decompositions at first use and warns about how it does it.
            warnings.simplefilter("ignore", FutureWarning)
            dual = forward_ad.make_dual(self._x.detach(), v.to(self._x.dtype))
            outputs = self._function(dual)
            tangent: Tensor | None = forward_ad.unpack_dual(outputs).tangent
        return torch.zeros_like(self.outputs) if tangent is None else tangent

    def _double_vjp(self, v: Tensor) -> Tensor:
        if not self.connected:
            return torch.zeros_like(self.outputs)
        if self._pullback is None:
            with torch.enable_grad():
                u = torch.zeros_like(self.outputs).requires_grad_(True)
                (pulled,) = torch.autograd.grad(
                    self._y, self._x, u, create_graph=True, materialize_grads=True
                )
            self._pullback = u, pulled
        u, pulled = self._pullback
        if not pulled.requires_grad:
            return torch.zeros_like(self.outputs)
        (product,) = torch.autograd.grad(
            pulled, u, v.to(pulled.dtype), retain_graph=True, materialize_grads=True
        )
        return product.detach()


def _is_adjoint(adjoint: tuple[Tensor, Tensor], v: Tensor, product: Tensor) -> bool:
    """Whether <u, Jv> = <J^T u, v> for every row.

    A custom operator may drop tangents, or detach its backward pass, without a word.
    """
    u, pulled = (part.flatten(1).double() for part in adjoint)
    ours = (u * product.double()).sum(1)
    theirs = (pulled * v.flatten(1).double()).sum(1)
    size = u.norm(dim=1) * product.double().norm(dim=1) + theirs.abs()
    # At a stationary point (an image that equals its reference) both sides are rounding noise.
    noise = ROUNDING * u.norm(dim=1) * v.flatten(1).double().norm(dim=1)
    return bool(((ours - theirs).abs() <= ADJOINT_TOLERANCE * size + noise).all())
