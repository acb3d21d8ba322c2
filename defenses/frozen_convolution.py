"""Convolutions with constant weights, whose backward pass is cheap to differentiate.

torch's own double backward pass of a convolution computes the gradient of the weights even where
nobody asks for it, which costs more than the product that is wanted. Here the backward pass is a
transposed convolution, so differentiating it in its vector is one convolution: a Jacobian-vector
product then costs about one forward pass. Values and derivatives are the same. This module must not
know what is differentiated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

Pair = tuple[int, int]


class FrozenConvolutions(TorchFunctionMode):
    """Inside this block ``conv2d`` with constant weights is differentiated as said above."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Redirect the convolutions that qualify; everything else goes its way."""
        options = dict(kwargs or {})
        if func is torch.conv2d:
            found = _constant(*args, **options)
            if found is not None:
                return _Convolution.apply(*found)
        return func(*args, **options)


def _constant(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> tuple[Any, ...] | None:
    """Arguments for the frozen convolution; None if weights are trained or padding is a word."""
    trained = weight.requires_grad or (bias is not None and bias.requires_grad)
    if trained or isinstance(padding, str) or input.ndim != 4:
        return None
    return input, weight, bias, _pair(stride), _pair(padding), _pair(dilation), groups


def _pair(value: int | Sequence[int]) -> Pair:
    """One number for both directions, or one for each.

    >>> _pair(2), _pair([1, 3]), _pair((4,))
    ((2, 2), (1, 3), (4, 4))
    """
    numbers = (value,) if isinstance(value, int) else tuple(value)
    return (numbers[0], numbers[-1])


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: Pair,
        padding: Pair,
        dilation: Pair,
        groups: int,
    ) -> Tensor:
        result = torch.conv2d(x, weight, bias, stride, padding, dilation, groups)
        ctx.save_for_backward(weight)
        # What the transposed convolution must add to meet rows that the stride left over.
        ctx.rest = tuple(
            x.shape[2 + k]
            - (result.shape[2 + k] - 1) * stride[k]
            + 2 * padding[k]
            - dilation[k] * (weight.shape[2 + k] - 1)
            - 1
            for k in range(2)
        )
        ctx.options = stride, padding, dilation, groups
        ctx.shape = x.shape
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.options
        if torch.is_grad_enabled():
            pulled = torch.conv_transpose2d(
                gradient, weight, None, stride, padding, ctx.rest, groups, dilation
            )
        else:  # nobody will differentiate it: torch's own kernel is a quarter faster
            shape_only = gradient.new_empty(1).expand(ctx.shape)
            pulled, _, _ = torch.ops.aten.convolution_backward(
                gradient,
                shape_only,
                weight,
                None,
                stride,
                padding,
                dilation,
                False,
                [0, 0],
                groups,
                [True, False, False],
            )
        return pulled, None, None, None, None, None, None
