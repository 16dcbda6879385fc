import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, final

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, ArrayLike, Float

from .._answers import citations, name_of
from .._compiled import compiled
from .._progress import Interrupt, ProgressBar
from .._rules import checked, COUNT, NOT_NEGATIVE
from .._types import Key, Scalar
from .._words import describe_key
from ..linalg import AbstractNoise, linearize, LinearMap
from ..solve import Status
from ._comparison import check_models, ComparisonReport, describe_comparison
from ._saved import AbstractSaved


_CITATION = """@inproceedings{feather2025discriminating,
  author = {Feather, Jenelle and Lipshutz, David and Harvey, Sarah E. and Williams, Alex H. and
            Simoncelli, Eero P.},
  title = {Discriminating Image Representations with Principal Distortions},
  booktitle = {International Conference on Learning Representations},
  year = {2025}
}"""


# One object for all calls: a transformation of optax consists of functions, and other functions are
# other programs.
_MOMENTS = optax.scale_by_adam()


@final
class PrincipalDistortions(AbstractSaved):
    """Two changes of an image whose relative visibility differs most between models.

    ``print(found)`` shows the log ratio of each model.

    Attributes:
        distortions: The two changes, u and v, each of norm 1.
        log_ratios: ``log (s_i(u) / s_i(v))`` for each model, where s_i is its squared sensitivity,
            including the ridge.
        variances: The variance of the log ratios over models, before each step and after the last:
            n steps have n + 1 variances. The last is that of `distortions`.
        ridge: The ridge of each model, as a fraction of the mean eigenvalue of its Fisher
            information.
        status: ``step_limit`` if all steps were taken, ``interrupted`` if Ctrl-C ended the ascent,
            ``nonfinite`` if the variance was infinite or NaN. The changes are then those of the
            last finite variance. See `plenoptax.Status`.
        names: The names of the models.
        image: The image.
        provenance: How they were computed, in plain values: models, noise, key, ridge, limit on
            steps, versions, device, and seconds of wall time.

    Example:
        >>> import jax, plenoptax as plx
        >>> image = plx.data.brick()[:, :16, :16]
        >>> models = [plx.models.Gaussian(7, std=std) for std in (1.0, 2.0, 3.0)]
        >>> found = plx.principal_distortions(
        ...     image, models, key=jax.random.key(0), max_steps=5, progress=False
        ... )
        >>> found.names, found.variances.shape
        (('Gaussian', 'Gaussian', 'Gaussian'), (6,))
        >>> bool(found.status == plx.Status.step_limit)
        True
    """

    citation: ClassVar[str] = _CITATION

    distortions: Float[Array, "2 *shape"]
    log_ratios: Float[np.ndarray, " models"]
    variances: Float[np.ndarray, " steps"]
    ridge: Float[np.ndarray, " models"]
    status: Any
    names: tuple[str, ...]
    image: Float[Array, "*shape"]
    provenance: dict[str, Any]

    def __str__(self) -> str:
        """Return as text the log ratios of the models, their variance, and the status."""
        lines = ["log ratio of the squared sensitivities to the first change and the second", ""]
        ratios = zip(self.log_ratios, self.names, strict=True)
        lines += [f"  {ratio:10.4g}  {name}" for ratio, name in ratios]
        first, last = self.variances[[0, -1]]
        return "\n".join([*lines, "", f"variance: {first:.4g} -> {last:.4g}", self._describe_end()])

    def report(self) -> ComparisonReport:
        """Return a summary of the comparison, to be printed."""
        numbers = self.ridge if np.ptp(self.ridge) else self.ridge[:1]
        return ComparisonReport(
            status={"ascent": self._describe_end()},
            ridge=f"{', '.join(f'{number:.3g}' for number in numbers)} times the mean eigenvalue "
            "of each model's Fisher information",
            table=str(self),
            provenance=self.provenance,
            bibtex=citations(self.citation, *self.provenance["citations"]),
        )

    def _describe_end(self) -> str:
        taken, limit = len(self.variances) - 1, self.provenance["max_steps"]
        if self.status == Status.interrupted:
            return f"Ctrl-C ended the ascent after {taken} of {limit} steps."
        if self.status == Status.nonfinite:
            return (
                f"The variance was infinite or NaN after {taken} of {limit} steps. Give a larger "
                "ridge, or check the derivatives of the models at this image."
            )
        return f"All {limit} steps were taken."


@checked(ridge=NOT_NEGATIVE, max_steps=COUNT)
def principal_distortions(
    image: Float[Array, "*shape"],
    models: Sequence[Callable],
    *,
    key: Key,
    ridge: ArrayLike = 1e-3,
    noise: AbstractNoise | None = None,
    max_steps: int = 1000,
    progress: bool = True,
) -> PrincipalDistortions:
    """Find two changes whose relative visibility differs most between any number of models.

    The variance over models of ``log (s_i(u) / s_i(v))`` is maximized over changes u and v of norm
    1. The squared sensitivity is ``s_i(u) = u^T F_i u + ridge l_i``, where l_i is the mean
    eigenvalue of F_i, so that the scale of a model's response does not matter. For two models and
    without a ridge these are the generalized eigendistortions.

    Args:
        image: The image.
        models: Two or more models.
        key: Draws 64 random changes; the ascent starts from the best two.
        ridge: The ridge, as a fraction of the mean eigenvalue; one for all models or one for each.
        noise: The noise of all responses, as for ``eigendistortions``.
        max_steps: The number of steps of gradient ascent. Ctrl-C ends the ascent after the current
            step.
        progress: Whether to show a progress bar.

    Returns:
        The two changes, the log ratio of each model, and the variance at each step.

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
        >>> found = plx.principal_distortions(
        ...     image, models, key=jax.random.key(0), progress=False
        ... )
        >>> found.distortions.shape, found.log_ratios.shape
        ((2, 1, 16, 16), (3,))
        >>> bool(found.variances[-1] > found.variances[0])
        True
    """
    started = time.perf_counter()
    if len(models) < 2:
        raise ValueError(f"models must be two or more models, got {len(models)}.")
    check_models(image, *models)
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
    with ProgressBar(max_steps, "step", visible=progress) as bar:
        pair, variances, status = _climb(maps, offsets, pair, max_steps, bar)
    logs = _log_sensitivities(maps, offsets, pair)
    options = dict(noise=noise, key=describe_key(key), ridge=ridge, max_steps=max_steps)
    return PrincipalDistortions(
        distortions=pair.reshape(2, *image.shape),
        log_ratios=np.asarray(logs[:, 0] - logs[:, 1]),
        variances=np.asarray(variances, dtype),
        ridge=np.broadcast_to(np.asarray(ridge, np.float64), (len(models),)),
        status=status,
        names=tuple(name_of(model) for model in models),
        image=image,
        provenance=describe_comparison(models, options, started),
    )


def _climb(
    maps: list[LinearMap],
    offsets: Float[Array, " models"],
    pair: Float[Array, "2 n"],
    max_steps: int,
    bar: ProgressBar,
) -> tuple[Float[Array, "2 n"], list[float], Any]:
    """Return the pair after the last step, the variances of all pairs up to it, and the status."""
    state, before, variances = _MOMENTS.init(pair), pair, []
    with Interrupt() as interrupt:
        while True:
            # The variance belongs to the pair before the step; the step after the last is
            # discarded. As an array, another number of steps is no other program.
            share = jnp.asarray(len(variances) / max_steps, pair.dtype)
            after, state, variance = _ascend(maps, offsets, share, pair, state)
            number = float(variance)
            if not np.isfinite(number):
                return before, variances or [number], Status.nonfinite
            variances.append(number)
            if len(variances) > max_steps:
                return pair, variances, Status.step_limit
            if interrupt.is_set():
                return pair, variances, Status.interrupted
            before, pair = pair, after
            bar.update(1, {"variance": number})


@compiled()
def _log_sensitivities(
    maps: list[LinearMap], offsets: Float[Array, " models"], changes: Float[Array, "k n"]
) -> Float[Array, "models k"]:
    squared = jnp.stack([jnp.sum(each(changes) ** 2, axis=1) for each in maps])
    # The ratio does not depend on the norm of a change, so the gradient has no part along the
    # change, which Adam would follow.
    return jnp.log(squared + offsets[:, None] * jnp.sum(changes**2, axis=1)[None])


@compiled()
def _ascend(
    maps: list[LinearMap],
    offsets: Float[Array, " models"],
    share: Scalar,
    pair: Float[Array, "2 n"],
    state: optax.OptState,
) -> tuple[Float[Array, "2 n"], optax.OptState, Scalar]:
    def negative_variance(pair: Array) -> Scalar:
        logs = _log_sensitivities(maps, offsets, pair)
        return -jnp.var(logs[:, 0] - logs[:, 1])

    negative, gradient = jax.value_and_grad(negative_variance)(pair)
    # optax multiplies its counter, an integer, by floating-point numbers.
    with jax.numpy_dtype_promotion("standard"):
        updates, state = _MOMENTS.update(gradient, state)
    # Steps are of the size of a unit vector's elements, and fall to zero like half a cosine.
    size = 0.05 * (1 + jnp.cos(jnp.pi * share))
    size = size / jnp.sqrt(jnp.asarray(pair.shape[1], pair.dtype))
    pair = pair - size * jnp.asarray(updates)
    return pair / jnp.linalg.norm(pair, axis=1, keepdims=True), state, -negative
