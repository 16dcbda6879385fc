import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from .._rules import NOT_NEGATIVE, Real
from .._types import PyTree, Scalar


def amsgrad(
    learning_rate: float | Scalar | Callable,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
) -> optax.GradientTransformation:
    """Adam whose step lengths never grow, with the bias corrected as torch does.

    A step is divided by the root of the largest second moment so far. `optax.amsgrad` takes the
    largest of the moments after their bias is corrected; early gradients, which the correction
    blows up the most, then hold the steps down for good, and a metamer of a linear model stands at
    several times the loss after 500 steps. Here the largest is taken first and corrected last, as
    in torch, so that plenoptic's and plenoptax's default optimizers take the same steps.

    Args:
        learning_rate: The length of the first step in each pixel, or an optax schedule. Under
            `optax.inject_hyperparams` make the others static: ``static_args=("b1", "b2", "eps")``.
        b1: Decay of the first moment, at least 0 and below 1.
        b2: Decay of the second moment, at least 0 and below 1.
        eps: Added to the root of the second moment, so that a gradient of zero makes no step.

    Returns:
        An optax transformation.

    Raises:
        ValueError: If the learning rate is not positive, a decay is below 0 or not below 1, or
            `eps` is negative.

    References:
        Reddi, Kale, Kumar, "On the convergence of Adam and beyond", ICLR 2018.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import plenoptax as plx
        >>> optimizer = plx.amsgrad(0.01)
        >>> x = jnp.array([1.0, -2.0])
        >>> updates, state = optimizer.update(3 * x, optimizer.init(x))
        >>> [f"{value:.2f}" for value in optax.apply_updates(x, updates)]
        ['0.99', '-1.99']
    """

    # Not by the decorator: `optax.inject_hyperparams` would make it a part of the optimizer.
    learning_rate = Real(above=0, schedule=True)("learning_rate", learning_rate)
    b1, b2 = (Real(at_least=0, below=1)(*pair) for pair in (("b1", b1), ("b2", b2)))
    eps = NOT_NEGATIVE("eps", eps)

    def init(params: PyTree) -> optax.ScaleByAmsgradState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return optax.ScaleByAmsgradState(jnp.zeros((), jnp.int32), zeros, zeros, zeros)

    def update(
        updates: PyTree, state: optax.ScaleByAmsgradState, params: PyTree | None = None
    ) -> tuple[PyTree, optax.ScaleByAmsgradState]:
        del params
        count = jnp.asarray(state.count) + 1
        mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, updates)
        nu = jax.tree.map(lambda n, g: b2 * n + (1 - b2) * jnp.abs(g) ** 2, state.nu, updates)
        nu_max = jax.tree.map(jnp.maximum, state.nu_max, nu)

        def direction(m: Array, n: Array) -> Array:
            root = jnp.sqrt(n / _share_seen(b2, count, n.dtype))
            return m / _share_seen(b1, count, m.dtype) / (root + eps)

        return jax.tree.map(direction, mu, nu_max), optax.ScaleByAmsgradState(count, mu, nu, nu_max)

    return optax.chain(
        optax.GradientTransformation(init, update),  # pyright: ignore[reportArgumentType]
        optax.scale_by_learning_rate(learning_rate),
    )


def _share_seen(decay: float, count: Int[Array, ""], dtype: jnp.dtype) -> Scalar:
    """``1 - decay**count``, of full relative precision also at the first counts."""
    return -jnp.expm1(count.astype(dtype) * (math.log(decay) if decay else -math.inf))
