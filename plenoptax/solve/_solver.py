from collections.abc import Callable

import equinox as eqx
import equinox.internal as eqxi
import jax
import optax

from .. import stop as stop_rules
from .._types import PyTree


class Solver(eqx.Module):
    """How a problem is minimized: an optimizer and a rule for stopping.

    Attributes:
        optimizer: The optax transformation as a pytree, so that rebuilding the same optimizer does
            not recompile. A learning rate given as an array is a leaf and can be swept without
            recompiling; a Python float is a constant, and another one compiles once more.
        stop: The rule; see `plenoptax.stop`.

    Example:
        >>> import optax, plenoptax as plx
        >>> solver = plx.Solver(optax.adam(0.01), stop=plx.stop.LossChange(1e-5, window=20))
    """

    optimizer: optax.GradientTransformationExtraArgs
    stop: stop_rules.AbstractStop

    def __init__(
        self,
        optimizer: optax.GradientTransformation,
        stop: stop_rules.AbstractStop | None = None,
    ):
        """Build a solver.

        Args:
            optimizer: Any optax transformation, with or without extra arguments. It is given the
                keyword arguments ``value``, ``grad`` and ``value_fn`` at each update.
            stop: When to stop, by default ``LossChange(1e-4, window=50)`` as plenoptic does.

        Raises:
            TypeError: If `optimizer` is not an optax transformation or `stop` not a rule.
        """
        is_stop = isinstance(optimizer, stop_rules.AbstractStop)
        if is_stop or not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
            raise TypeError(
                "The optimizer is an optax transformation such as optax.adam(0.01) or "
                f"plenoptax.lbfgs(); got {type(optimizer).__name__}."
            )
        if stop is None:
            stop = stop_rules.LossChange(1e-4, window=50)
        if not isinstance(stop, stop_rules.AbstractStop):
            raise TypeError(
                "The stop rule comes from plenoptax.stop (Never() turns it off); got "
                f"{type(stop).__name__}."
            )
        with_arguments = optax.with_extra_args_support(optimizer)
        self.optimizer = jax.tree.map(_as_pytree, with_arguments)
        self.stop = stop


def _as_pytree(function: Callable) -> PyTree:
    # A closure is another object whenever an optimizer is built; as a pytree it equals its twin.
    try:
        return eqxi.closure_to_pytree(function)
    except ValueError:
        # Some closures of optax have variables without a value, which no pytree can hold.
        return function


def as_solver(solver: Solver | optax.GradientTransformation) -> Solver:
    """A solver as it is; a bare optimizer with the default stop rule."""
    return solver if isinstance(solver, Solver) else Solver(solver)
