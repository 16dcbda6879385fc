import math
from collections.abc import Callable
from typing import ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int

from .._compiled import call_compiled, compiled
from .._function import AbstractFunction
from .._precision import in_single_precision, refuse_half
from .._rules import checked, COUNT, NOT_NEGATIVE, Whole
from .._safe import safe_divisor
from .._types import Key, Scalar
from ..linalg import linearize
from ._weighted import WeightedL2Norm


# Standard deviation of the noise relative to that of the image. It is so small that the response is
# linear, and still ten thousand times the rounding error of float32.
_NOISE = 3e-3
# Fraction by which correlations in a sampled covariance shrink: a few hundred samples give spurious
# correlations between several hundred statistics.
_SHRINKAGE = 0.1
_LARGEST = 4096


@final
class WhitenedLoss(AbstractFunction):
    """Half the squared length of the smallest image change that explains a difference.

    To first order, a change ``d`` of the image changes the representation by ``J d``. The smallest
    change that gives a difference ``r`` has the squared length ``r^T (J J^T)^-1 r``. ``J J^T`` is
    the covariance of the representation under white noise in the image, so this is the squared
    Mahalanobis distance of the two representations. Two statistics that vary together count once,
    and a statistic that hardly depends on the image counts more than one that every change affects.

    The squared distance suits texture synthesis: its gradient is approximately a Gauss-Newton step,
    so L-BFGS needs a fraction of the evaluations that it needs with the weighted norm of the same
    difference (three to seven times fewer if the covariance is exact).

    Attributes:
        base: The loss that weights the difference before it is whitened. Weight 0 leaves a
            statistic out.
        whitening: The matrix that transforms the weighted difference to covariance 1 under white
            noise of standard deviation 1 in the image. One for each channel, or each window of each
            channel, if these are whitened separately.
        lbfgs_memory: The number of pairs that L-BFGS stores by default.

    Example:
        >>> import jax.numpy as jnp, plenoptax as plx
        >>> base = plx.loss.WeightedL2Norm(jnp.ones(2))
        >>> loss = plx.loss.WhitenedLoss(base, jnp.diag(jnp.array([10.0, 1.0])))
        >>> print(loss(jnp.array([0.1, 1.0]), jnp.zeros(2)))
        1.0
    """

    base: WeightedL2Norm
    whitening: Float[Array, "*block number number"]
    # Without long valleys, more memory helps little: 100 pairs save a tenth of the steps.
    lbfgs_memory: ClassVar[int] = 30

    @in_single_precision("synth_rep", "ref_rep")
    def __call__(self, synth_rep: Float[Array, "..."], ref_rep: Float[Array, "..."]) -> Scalar:
        """Compare two representations. Errors are those of `WeightedL2Norm`."""
        difference = self.base.weigh(synth_rep, ref_rep)
        rows = difference.reshape(*self.whitening.shape[:-2], -1, 1)
        whitening = jnp.asarray(self.whitening, difference.dtype)
        return 0.5 * jnp.sum(jnp.matmul(whitening, rows, precision=jax.lax.Precision.HIGHEST) ** 2)

    def trace_terms(
        self, synth_rep: Float[Array, "..."], ref_rep: Float[Array, "..."]
    ) -> dict[str, Scalar]:
        """Return the norm of the difference before whitening, which plenoptic minimizes."""
        return {"weighted_loss": self.base(synth_rep, ref_rep)}


@checked(num_samples=COUNT, ridge=NOT_NEGATIVE, separate_axes=Whole(0))
def whitened_loss_factory(
    model: Callable[[Array], Array],
    image: Float[Array, "..."],
    base: WeightedL2Norm | None = None,
    *,
    num_samples: int | None = 256,
    ridge: float = 5e-4,
    separate_axes: int = 0,
    key: Key | None = None,
) -> WhitenedLoss:
    """Make a loss that measures a difference by the smallest image change that explains it.

    The covariance of the representation under faint white noise is measured at the target, and is
    fixed during a synthesis. This loss helps most if a synthesis takes hundreds of steps and the
    representation has fewer values than the image, as with texture statistics.

    Another device or version of JAX rounds the samples differently, which changes the loss by about
    1e-4 of its value. `plenoptax.io.load` may then conclude that a file is of another problem:
    measure exactly, or load the file with ``raise_on_checks=False``.

    Args:
        model: A function from an image to one array of at most 4096 real numbers, without the axes
            whose entries are whitened separately.
        image: The target image.
        base: Weights for the statistics; weight 0 leaves one out. By default all weights are 1.
        num_samples: Number of noisy images to measure the covariance with, each one evaluation of
            the model. None measures it exactly, with one product with the Jacobian for each
            statistic: for textures ten times the work, and half the evaluations afterwards, which
            pays off if many images are made from one target.
        ridge: Value to add to the covariance for each statistic, relative to its (Frobenius) norm.
            It limits the influence of statistics that hardly depend on the image. With an exact
            covariance 1e-4 may be better.
        separate_axes: The number of leading axes of the representation whose entries are whitened
            separately, each with the covariance of its own statistics: 1 if the first axis is that
            of channels, each of which depends on one channel of the image, as in
            Portilla-Simoncelli; 2 for channels and windows. Windows that overlap are related, but
            less than the statistics of one window.
        key: Random key that draws the noise; by default key 0.

    Returns:
        The loss, a function of the synthesized and the reference representation.

    Raises:
        ValueError: If the representation is too large, or is not an array of real numbers; or if
            `base` does not fit it.
        TypeError: If the image is in half precision, whose rounding is larger than the noise.

    Example:
        >>> import jax.numpy as jnp, plenoptax as plx
        >>> model = lambda image: jnp.array([10.0, 1.0]) * image.sum((-2, -1))
        >>> loss = plx.loss.whitened_loss_factory(
        ...     model, jnp.ones((2, 3, 3)), num_samples=None, ridge=0.0
        ... )
        >>> print(f"{loss(jnp.array([10.0, 2.0]), jnp.zeros(2)):.4f}")
        0.2778
    """
    refuse_half("The target image of a loss", image.dtype)
    response = call_compiled(model, image)
    _check(response, separate_axes)
    base = WeightedL2Norm(jnp.ones_like(response)) if base is None else base
    eqx.filter_eval_shape(base.weigh, response, response)
    weights = jnp.asarray(base.weights, response.dtype)
    blocks = response.shape[:separate_axes]
    if num_samples is None:
        rows = weights.reshape(-1, 1) * linearize(model, image).dense()
        changes, shrinkage = rows.reshape(math.prod(blocks), -1, rows.shape[-1]), 0.0
    else:
        key = jax.random.key(0) if key is None else key
        samples = _respond_to_noise(model, image, num_samples, key)
        changes = _as_changes(image, response, samples, weights, math.prod(blocks))
        shrinkage = _SHRINKAGE
    whitening = _whiten(
        changes, jnp.asarray(ridge, changes.dtype), jnp.asarray(shrinkage, changes.dtype)
    )
    return WhitenedLoss(base, whitening.reshape(*blocks, *whitening.shape[1:]))


def _check(response: Array, separate_axes: int) -> None:
    if not isinstance(response, jax.Array) or not jnp.issubdtype(response.dtype, jnp.floating):
        raise ValueError(
            "A whitened representation must be one array of real numbers, got "
            f"{eqx.tree_pformat(response)}. Wrap the model in a function that returns one array."
        )
    if separate_axes > response.ndim:
        raise ValueError(
            f"separate_axes must be at most the {response.ndim} axes of the representation, got "
            f"{separate_axes}. Count its leading axes."
        )
    size = math.prod(response.shape[separate_axes:])
    if size > _LARGEST:
        raise ValueError(
            f"A whitened representation must have at most {_LARGEST} values, got {size}. Use "
            "another loss, such as plenoptax.loss.mse."
        )


def _respond_to_noise(
    model: Callable, image: Array, num_samples: int, key: Key
) -> Float[Array, "sample ..."]:
    def respond(number: Int[Array, ""] | np.int32) -> Array:
        return call_compiled(model, _disturb(image, key, number))

    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((model, image))):
        return jax.lax.map(respond, jnp.arange(num_samples))
    # A Python loop reuses the compiled program that measured the target.
    return jnp.asarray(np.stack([respond(np.int32(i)) for i in range(num_samples)]))


@jax.jit
def _disturb(image: Array, key: Key, number: Int[Array, ""] | np.int32) -> Array:
    noise = jax.random.rademacher(jax.random.fold_in(key, number), image.shape, image.dtype)
    return image + _noise_level(image) * noise


def _noise_level(image: Array) -> Scalar:
    return _NOISE * safe_divisor(jnp.std(image))


@compiled(lambda image, *_: image.size)
def _as_changes(
    image: Array,
    response: Array,
    samples: Float[Array, "sample ..."],
    weights: Array,
    num_blocks: int,
) -> Float[Array, "block number sample"]:
    """Compute the changes under white noise of standard deviation 1, by finite differences."""
    changes = weights[None] * (samples - response[None]) / _noise_level(image)
    changes = jnp.moveaxis(changes.reshape(len(samples), num_blocks, -1), 0, -1)
    return changes / len(samples) ** 0.5


@compiled(lambda changes, *_: changes.shape[-2])
def _whiten(
    changes: Float[Array, "block number sample"], ridge: Scalar, shrinkage: Scalar
) -> Float[Array, "block number number"]:
    """Return the inverse of the Cholesky factor of the regularized covariance."""
    covariance = jnp.matmul(
        changes, jnp.swapaxes(changes, -2, -1), precision=jax.lax.Precision.HIGHEST
    )
    identity = jnp.eye(changes.shape[-2], dtype=changes.dtype)[None]
    covariance = jnp.where(identity == 0, (1 - shrinkage) * covariance, covariance)
    norm = jnp.linalg.norm(covariance, axis=(-2, -1), keepdims=True)
    # A response that noise does not change at all keeps its scale.
    floor = jnp.where(norm > 0, jnp.maximum(ridge, jnp.finfo(changes.dtype).eps) * norm, 1)
    factor = jnp.linalg.cholesky(covariance + floor * identity)
    return jax.vmap(
        lambda factor: jax.scipy.linalg.solve_triangular(factor, identity[0], lower=True)
    )(factor)
