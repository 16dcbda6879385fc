"""The value before the rectifier that a layer ends in.

A rectifier is ``max(x, 0)``, alone or below a positive bound, such as the 6 of ReLU6.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.core import Tracer
from jax.extend.core import Literal
from jax.extend.core.primitives import (
    broadcast_in_dim_p,
    clamp_p,
    closed_call_p,
    convert_element_type_p,
    copy_p,
    custom_jvp_call_p,
    custom_vjp_call_p,
    jit_p,
    max_p,
    min_p,
    remat_p,
    reshape_p,
    squeeze_p,
    transpose_p,
)
from jaxtyping import Array


# Equations that move values and compute nothing.
_MOVES = (
    broadcast_in_dim_p,
    convert_element_type_p,
    copy_p,
    reshape_p,
    squeeze_p,
    transpose_p,
)

_CALLS = (closed_call_p, custom_jvp_call_p, custom_vjp_call_p, jit_p, remat_p)

Compute = Callable[[Any, Sequence[Any]], list[Any]]


@dataclasses.dataclass(frozen=True)
class Trail:
    """How a value of a jaxpr came about, as far as it matters here.

    Attributes:
        number: The number that all its elements have, if it is a constant.
        value: Computes the value; None inside a call, for a value that the call computes.
        source: Computes the value before the rectifier, if this is the output of one.
    """

    number: float | None = None
    value: Callable[[], Any] | None = None
    source: Callable[[], Any] | None = None

    @staticmethod
    def constant(value: Any) -> "Trail":
        """Return the trail of a literal."""
        is_number = not isinstance(value, Tracer) and np.ndim(value) == 0
        return Trail(number=float(value) if is_number else None)

    def at(self, value: Any) -> "Trail":
        """Return this trail for a value that is known."""
        return dataclasses.replace(self, value=lambda: value)


def program_of(equation: Any) -> Any:
    """Return the jaxpr that an equation calls."""
    return next(part for part in equation.params.values() if hasattr(part, "eqns"))


def follow(equation: Any, operands: Sequence[Trail], compute: Compute) -> list[Trail]:
    """Return the trails of the outputs of an equation, given those of its operands.

    Args:
        equation: The equation.
        operands: The trails of its operands.
        compute: Evaluates an equation, given its operands.
    """
    if equation.primitive in _CALLS:
        program = program_of(equation)
        return _follow_all(getattr(program, "jaxpr", program), operands, compute)
    if equation.primitive in _MOVES and len(operands) == 1:
        (trail,) = operands
        return [
            Trail(
                number=trail.number,
                value=_moved(equation, trail.value, compute),
                source=_moved(equation, trail.source, compute),
            )
        ]
    return [Trail(source=_source(equation, operands))] * len(equation.outvars)


def _follow_all(jaxpr: Any, operands: Sequence[Trail], compute: Compute) -> list[Trail]:
    """Return the trails of the outputs of a call."""
    # Constants of the program, if there are any, come before its arguments.
    known = dict(zip(reversed(jaxpr.invars), reversed(operands), strict=False))

    def read(atoms: Sequence[Any]) -> list[Trail]:
        return [
            Trail.constant(atom.val) if isinstance(atom, Literal) else known.get(atom, Trail())
            for atom in atoms
        ]

    for equation in jaxpr.eqns:
        known |= zip(
            equation.outvars, follow(equation, read(equation.invars), compute), strict=True
        )
    return read(jaxpr.outvars)


def _moved(equation: Any, value: Callable[[], Any] | None, compute: Compute) -> Any:
    return None if value is None else lambda: compute(equation, [value()])[0]


def _source(equation: Any, operands: Sequence[Trail]) -> Callable[[], Any] | None:
    """Return what computes the value before a rectifier, if the equation is a rectifier."""
    if equation.primitive is clamp_p:
        low, trail, high = operands
        bounds = low.number, high.number
        return trail.value if bounds[0] == 0 and bounds[1] is not None and bounds[1] > 0 else None
    if equation.primitive not in (max_p, min_p):
        return None
    # One operand is the bound.
    bound, trail = sorted(operands, key=lambda trail: trail.number is None)
    if bound.number is None:
        return None
    if equation.primitive is max_p:
        return trail.value if bound.number == 0 else None
    return trail.source if bound.number > 0 else None


@jax.custom_jvp
def pass_gradient(value: Array, source: Array) -> Array:
    """Return a value, with the derivative of another, its source."""
    return value


@pass_gradient.defjvp
def _pass_gradient_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    return primals[0], tangents[1]
