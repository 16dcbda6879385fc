from collections.abc import Callable, Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, ArrayLike, Bool, Float

from .._rules import checked, COUNT, NOT_NEGATIVE, POSITIVE
from .._types import Key, Scalar
from ..linalg import AbstractNoise, AbstractSubspace, linearize, LinearMap
from ..validate import validate_input, validate_model
from ._eigendistortions_result import Eigendistortions


class Detectability(NamedTuple):
    """How far to go along eigendistortions so that the model finds all of them equally visible.

    Attributes:
        alpha: The factors of the eigendistortions.
        predicted: The detectability at these factors by the linear prediction: ``d_prime``, or less
            where alpha is only a bound.
        measured: The length of the change of the response, in units of its noise at the image: the
            smaller and the larger of the two signs.
        is_linear: Whether both are within 5 % of the prediction.
        is_bound: Whether the eigenvalue is below the floor: alpha is then the smallest factor that
            might do, and the true one may be any larger.
    """

    alpha: Float[np.ndarray, " k"]
    predicted: Float[np.ndarray, " k"]
    measured: Float[np.ndarray, "k 2"]
    is_linear: Bool[np.ndarray, " k"]
    is_bound: Bool[np.ndarray, " k"]


@checked(d_prime=POSITIVE)
def equal_detectability(
    found: Eigendistortions,
    model: Callable,
    d_prime: float = 1.0,
    *,
    noise: AbstractNoise | None = None,
) -> Detectability:
    """Scale eigendistortions so that the model predicts one detectability for all of them.

    The prediction ``d' = alpha sqrt(l)`` is that of the linearized model; it is checked with the
    model itself.

    Args:
        found: The eigendistortions.
        model: The model they were made for.
        d_prime: The detectability that is wanted.
        noise: The noise they were made with.

    Returns:
        The factors, and whether to trust them.

    Raises:
        ValueError: If `d_prime` is not positive, or the model cannot be used; see
            `plenoptax.validate`.

    Example:
        >>> import plenoptax as plx
        >>> image, model = plx.data.brick()[:, :32, :32], plx.models.Gaussian(7)
        >>> found = plx.eigendistortions(image, model, progress=False)
        >>> scales = plx.equal_detectability(found, model, 0.1)
        >>> scales.is_linear.tolist()
        [True, True]
    """
    _check(found.image, model)
    is_bound = found.eigenvalues <= found.floor
    alpha = d_prime / np.sqrt(np.maximum(found.eigenvalues, found.floor))
    predicted = alpha * np.sqrt(found.eigenvalues)
    steps = [
        _change(model, noise, found.image, found.eigendistortions, jnp.asarray(sign * alpha))
        for sign in (-1.0, 1.0)
    ]
    measured = np.sort(np.asarray(jnp.stack(steps, axis=1), np.float64), axis=1)
    is_near = np.asarray(np.abs(measured - predicted[:, None]) <= 0.05 * d_prime)
    is_linear = np.asarray(is_near.all(axis=1))
    return Detectability(alpha, predicted, measured, is_linear, is_bound)


@eqx.filter_jit
def _change(
    model: Callable, noise: AbstractNoise | None, image: Array, directions: Array, alpha: Array
) -> Float[Array, " k"]:
    center = jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(model(image))])

    def one(direction: Array, factor: Scalar) -> Scalar:
        moved = model(image + factor.astype(image.dtype) * direction)
        response = jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(moved)])
        if noise is not None:
            difference = noise.coordinates(response, center) - noise.coordinates(center, center)
        else:
            difference = response - center
        return jnp.linalg.norm(difference)

    return jax.vmap(one)(directions, alpha)


@checked(k=COUNT, ridge=POSITIVE)
def generalized_eigendistortions(
    image: Float[Array, "*shape"],
    model: Callable,
    other_model: Callable,
    *,
    k: int = 1,
    ridge: float = 1e-3,
    noise: AbstractNoise | None = None,
    subspace: AbstractSubspace | None = None,
) -> tuple[Float[np.ndarray, " k"], Float[Array, "k *shape"]]:
    """Find the changes about which two models disagree most.

    These are the extremes of ``v^T F_A v / (v^T F_B v + delta |v|^2)``: what the first model sees
    and the second does not, and the reverse. Without a ridge the second model's blind directions
    would win whatever the first one says; ``delta`` is `ridge` times the second model's largest
    eigenvalue. Small eigenvalues of F_B are replaced by it, so look at more than one.

    The two informations are formed as matrices, so the image (or the subspace) has a few thousand
    elements at most.

    Args:
        image: The image.
        model: The first model.
        other_model: The second one.
        k: How many at either end.
        ridge: See above.
        noise: The noise of both, as for ``eigendistortions``.
        subspace: As for ``eigendistortions``.

    Returns:
        The ratios in descending order, those of the first model's side first, and the changes, of
        norm 1.

    Raises:
        ValueError: If there are too many elements, the ridge is not positive, or a model cannot be
            used; see `plenoptax.validate`.

    Example:
        >>> import plenoptax as plx
        >>> image = plx.data.brick()[:, :16, :16]
        >>> fine, coarse = plx.models.Gaussian(7, std=1.0), plx.models.Gaussian(7, std=2.0)
        >>> ratios, changes = plx.generalized_eigendistortions(image, fine, coarse)
        >>> ratios.shape, changes.shape
        ((2,), (2, 1, 16, 16))
    """
    _check(image, model, other_model)
    maps = [linearize(m, image, noise=noise, subspace=subspace) for m in (model, other_model)]
    n = maps[0].input_size
    if n > 5000:
        raise ValueError(
            f"There are {n} dimensions; matrices of that size are too large. Give a subspace, or "
            "compare the models with principal_distortions."
        )
    first, second = (np.asarray(each.dense(), np.float64) for each in maps)
    values, basis = np.linalg.eigh(second.T @ second)
    whitening = basis / np.sqrt(np.maximum(values, 0) + ridge * values[-1])
    ratios, mixing = np.linalg.eigh((first @ whitening).T @ (first @ whitening))
    chosen = np.r_[n - 1 : n - 1 - k : -1, k - 1 : -1 : -1] if k < n else np.r_[n - 1 : -1 : -1]
    vectors = (whitening @ mixing[:, chosen]).T
    vectors = jnp.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), image.dtype)
    lifted = vectors if subspace is None else jax.vmap(subspace)(vectors)  # pyright: ignore
    return ratios[chosen], lifted.reshape(-1, *image.shape)


@checked(ridge=NOT_NEGATIVE, max_steps=COUNT)
def principal_distortions(
    image: Float[Array, "*shape"],
    models: Sequence[Callable],
    *,
    key: Key,
    ridge: ArrayLike = 1e-3,
    noise: AbstractNoise | None = None,
    max_steps: int = 1000,
) -> tuple[Float[Array, "2 *shape"], Float[np.ndarray, " models"]]:
    """Find two changes whose relative visibility differs most between any number of models.

    The variance between models of ``log (s_i(u) / s_i(v))`` is maximized over changes u and v of
    norm 1, with the squared sensitivity ``s_i(u) = u^T F_i u + ridge l_i``, where l_i is the mean
    eigenvalue of F_i (so that the scale of a model's response does not matter). For two models
    these are the generalized eigendistortions, but for the ridge.

    Args:
        image: The image.
        models: Two models or more.
        key: Draws 64 random changes to start from the best two of.
        ridge: See above.
        noise: The noise of all, as for ``eigendistortions``.
        max_steps: How many steps of gradient ascent to take.

    Returns:
        The two changes, and the log ratio of each model, of which the variance is largest.

    Raises:
        ValueError: If there are fewer than two models, or one of them cannot be used; see
            `plenoptax.validate`.

    References:
        Feather et al. (2025), Discriminating image representations with principal distortions,
        ICLR.

    Example:
        >>> import jax, plenoptax as plx
        >>> image = plx.data.brick()[:, :16, :16]
        >>> models = [plx.models.Gaussian(7, std=std) for std in (1.0, 2.0, 3.0)]
        >>> pair, ratios = plx.principal_distortions(image, models, key=jax.random.key(0))
        >>> pair.shape, ratios.shape
        ((2, 1, 16, 16), (3,))
    """
    if len(models) < 2:
        raise ValueError(f"Two models or more are compared; got {len(models)}.")
    _check(image, *models)
    maps = [linearize(model, image, noise=noise) for model in models]
    n, dtype = image.size, image.dtype
    first, second = jax.random.split(key)
    # The mean eigenvalue is the trace over n, and the trace a mean over random vectors.
    probes = jax.random.rademacher(first, (16, n), dtype)
    scale = [jnp.mean(jnp.sum(each(probes) ** 2, axis=1)) / n for each in maps]
    offsets = jnp.asarray(ridge, dtype) * jnp.stack(scale)
    starts = jax.random.normal(second, (64, n), dtype)
    starts = starts / jnp.linalg.norm(starts, axis=1, keepdims=True)
    logs = _log_sensitivities(maps, offsets, starts)
    spread = jnp.var(logs[:, :, None] - logs[:, None, :], axis=0)
    best = jnp.unravel_index(jnp.argmax(spread), spread.shape)
    pair = starts[jnp.stack(best)]
    optimizer = optax.adam(optax.cosine_decay_schedule(0.1, max_steps))
    state = optimizer.init(pair)
    for _ in range(max_steps):
        pair, state = _ascend(maps, offsets, optimizer, pair, state)
    logs = _log_sensitivities(maps, offsets, pair)
    return pair.reshape(2, *image.shape), np.asarray(logs[:, 0] - logs[:, 1])


def _check(image: Array, *models: Callable) -> None:
    validate_input(image, allowed_range=None)
    for model in models:
        validate_model(model, image.shape, image.dtype)


@eqx.filter_jit
def _log_sensitivities(
    maps: list[LinearMap], offsets: Float[Array, " models"], changes: Float[Array, "k n"]
) -> Float[Array, "models k"]:
    squared = jnp.stack([jnp.sum(each(changes) ** 2, axis=1) for each in maps])
    # Homogeneous, so that the gradient has no part along the changes, which Adam would follow.
    return jnp.log(squared + offsets[:, None] * jnp.sum(changes**2, axis=1)[None])


@eqx.filter_jit
def _ascend(
    maps: list[LinearMap],
    offsets: Float[Array, " models"],
    optimizer: optax.GradientTransformation,
    pair: Float[Array, "2 n"],
    state: optax.OptState,
) -> tuple[Float[Array, "2 n"], optax.OptState]:
    def negative_variance(pair: Array) -> Scalar:
        logs = _log_sensitivities(maps, offsets, pair)
        return -jnp.var(logs[:, 0] - logs[:, 1])

    gradient = jax.grad(negative_variance)(pair)
    # optax multiplies its counter, an integer, with numbers of floating point.
    with jax.numpy_dtype_promotion("standard"):
        updates, state = optimizer.update(gradient, state)
    # Steps are of the size of a unit vector's elements.
    pair = pair + jnp.asarray(updates) / jnp.sqrt(jnp.asarray(pair.shape[1], pair.dtype))
    return pair / jnp.linalg.norm(pair, axis=1, keepdims=True), state
