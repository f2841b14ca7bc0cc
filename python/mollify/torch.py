"""The library's functions on PyTorch's tensors: differentiable to any order, without copies.

    import mollify.torch as mt
    y = mt.relu_smoothed(x, 0.1)        # x, and y, are torch.Tensor; s may be one, too
    own = mt.function(lambda x, s: mollify.smoothing.relu_smoothed(x, s) * 2.0)
"""

import functools
import typing

import torch

import mollify
from mollify import smoothing


def _ours(x: torch.Tensor) -> mollify.Tensor:
    return mollify.from_dlpack(x.detach())


def _theirs(x: mollify.Tensor) -> torch.Tensor:
    return torch.from_dlpack(x)


class _Call(torch.autograd.Function):
    """f of tensors, as a function of PyTorch. Its backward pass is one, too, so that derivatives nest."""

    @staticmethod
    def forward(ctx, f, *inputs):
        ctx.f = f
        ctx.save_for_backward(*inputs)
        ctx.record = None
        given = [_ours(x) for x in inputs]
        if not any(ctx.needs_input_grad[1:]):
            return _theirs(f(*given))
        variables = [
            mollify.variable(x) if needed else x for x, needed in zip(given, ctx.needs_input_grad[1:])
        ]
        value = f(*variables)
        ctx.record = (value, variables)
        return _theirs(value.detach())

    @staticmethod
    def backward(ctx, g):
        inputs = ctx.saved_tensors  # raises where one was overwritten
        needed = ctx.needs_input_grad[1:]
        if not torch.is_grad_enabled():
            value, variables = ctx.record
            wanted = [v for v, n in zip(variables, needed) if n]
            found = iter(mollify.vjp_of([value], [_ours(g)], wanted))
            return None, *(_theirs(next(found)) if n else None for n in needed)
        # The gradient itself is wanted as a function of inputs and g.
        return None, *(
            _Call.apply(functools.partial(_gradient, ctx.f, i), *inputs, g) if n else None
            for i, n in enumerate(needed)
        )


def _gradient(f, place, *inputs_and_seed):
    """The seed pulled back from f to one of its inputs."""
    *inputs, seed = inputs_and_seed
    of_one = lambda x: f(*inputs[:place], x, *inputs[place + 1 :])  # noqa: E731
    return mollify.vjp(of_one, inputs[place], seed)[1]


def function(f: typing.Callable[..., mollify.Tensor]) -> typing.Callable[..., torch.Tensor]:
    """f, which takes tensors of mollify to one, as a function of PyTorch's tensors on the CPU or the GPU.

    Numbers among the arguments become tensors of the first one's dtype.
    """

    @functools.wraps(f)
    def on_torch(*arguments):
        like = next(x for x in arguments if isinstance(x, torch.Tensor))
        inputs = [
            x if isinstance(x, torch.Tensor) else torch.tensor(x, dtype=like.dtype, device=like.device)
            for x in arguments
        ]
        return _Call.apply(f, *inputs)

    return on_torch


def _smoothed(name):
    closed_form = getattr(smoothing, name)

    def smoothed(x: torch.Tensor, s: typing.Union[float, torch.Tensor], *numbers: float) -> torch.Tensor:
        return function(lambda x, s: closed_form(x, s, *numbers))(x, s)

    smoothed.__name__ = smoothed.__qualname__ = name
    smoothed.__doc__ = closed_form.__doc__
    return smoothed


relu_smoothed = _smoothed("relu_smoothed")
step_smoothed = _smoothed("step_smoothed")
sign_smoothed = _smoothed("sign_smoothed")
abs_smoothed = _smoothed("abs_smoothed")
relu_squared_smoothed = _smoothed("relu_squared_smoothed")
leaky_relu_smoothed = _smoothed("leaky_relu_smoothed")
elu_smoothed = _smoothed("elu_smoothed")
gelu_smoothed = _smoothed("gelu_smoothed")
erf_smoothed = _smoothed("erf_smoothed")
sin_smoothed = _smoothed("sin_smoothed")
cos_smoothed = _smoothed("cos_smoothed")
exp_smoothed = _smoothed("exp_smoothed")
gaussian_smoothed = _smoothed("gaussian_smoothed")
power_smoothed = _smoothed("power_smoothed")
clip_smoothed = _smoothed("clip_smoothed")
