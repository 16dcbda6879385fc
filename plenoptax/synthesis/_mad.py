import warnings
from collections.abc import Callable
from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int

from .._compiled import call_compiled
from .._rules import checked, POSITIVE, Real, say_how_to_fit
from .._safe import safe_divisor
from .._tree import largest_magnitude, norm
from .._types import Key, Scalar
from ..parametrize import AbstractParametrization, Pixels
from ..regularize import penalize_range
from ..solve import AbstractConstrained
from ..validate import validate_metric, validate_penalty
from ._problem import AbstractOneStageProblem, as_jax, as_parametrization, as_weight, check_images


# Newton steps back to the constraint after a step of the optimizer. If the mean squared error of a
# photograph is maximized with its structural similarity held, the similarity drifts by 19 % with
# two steps, and by less than 1e-4 with three.
_NUM_CORRECTIONS = 3


# A variable closer than this to a bound (a fraction of a gray level) counts as at the bound,
# because rounding may have moved it.
_AT_BOUND = 1e-4


_CITATION = """@article{wang2008maximum,
  author = {Wang, Zhou and Simoncelli, Eero P.},
  title = {Maximum Differentiation ({MAD}) Competition: A Methodology for Comparing Computational
           Models of Perceptual Quantities},
  journal = {Journal of Vision},
  volume = {8}, number = {12}, pages = {8}, year = {2008},
  doi = {10.1167/8.12.8}
}"""


class MADCompetition(AbstractOneStageProblem, AbstractConstrained):
    """The problem of MAD competition: one metric minimized or maximized, another held fixed.

    If the metrics disagree, the image looks much better or much worse than the fixed metric
    predicts. Two kinds of problem hold that metric:

    - A constraint (``metric_tradeoff_lambda=None``). The part of the gradient that would change the
      reference metric is removed. After every step the image is brought back to where that metric
      has its value, within the box of the parametrization. There is no weight to tune.
    - A penalty, as in plenoptic (a number or ``"auto"``): the objective is ``t *
      optimized_metric + metric_tradeoff_lambda * (reference_value - reference_metric)**2 +
      penalty_lambda * penalty_function``, with ``t`` 1 to minimize and -1 to maximize.

    Attributes:
        image: The image that both metrics compare others with.
        optimized_metric: A function from two images, `image` first, to a scalar; 0 for equal
            images.
        reference_metric: The metric that is held fixed.
        sign: 1 to minimize, -1 to maximize.
        metric_tradeoff_lambda: The weight of the penalty that holds the reference metric; None for
            a constraint.
        reference_value: The value at which the reference metric is held.
        initial_noise: The standard deviation of the starting noise, before its adjustment.
        penalty_function: A function from an image to a scalar.
        penalty_lambda: The weight of the penalty, or its schedule.
        parametrization: The variables that the optimizer moves instead of the pixels.

    References:
        Wang and Simoncelli (2008), Journal of Vision 8(12), 8; the projection and the return to the
        constraint follow Rosen (1961), Journal of SIAM 9, 514-532.

    Example:
        >>> import plenoptax as plx
        >>> problem = plx.MADCompetition(
        ...     plx.data.brick(), plx.metric.ssim_distance, plx.metric.mse, "max"
        ... )
        >>> print(f"{problem.reference_value:.4f}")
        0.0100
    """

    citation: ClassVar[str] = _CITATION
    image: Array
    optimized_metric: Callable
    reference_metric: Callable
    sign: Scalar
    metric_tradeoff_lambda: Scalar | None
    reference_value: Scalar
    initial_noise: Scalar
    penalty_function: Callable
    penalty_lambda: Scalar | Callable
    parametrization: AbstractParametrization

    @checked(
        metric_tradeoff_lambda=Real(at_least=0, words=("auto",)),
        reference_value=POSITIVE,
        initial_noise=POSITIVE,
    )
    def __init__(
        self,
        image: Array,
        optimized_metric: Callable,
        reference_metric: Callable,
        minmax: Literal["min", "max"],
        metric_tradeoff_lambda: float | Scalar | Literal["auto"] | None = None,
        penalty_function: Callable = penalize_range,
        penalty_lambda: float | Scalar | Callable = 0.1,
        *,
        reference_value: float | Scalar | None = None,
        initial_noise: float | Scalar = 0.1,
        parametrization: AbstractParametrization | None = None,
    ):
        """Build the problem.

        Args:
            image: The image to compare with, of any shape that the metrics take; no batch axis.
            optimized_metric: Any callable of two images that JAX can differentiate. It must be a
                distance: minimize ``ssim_distance``, not ``ssim``.
            reference_metric: Another such callable, the metric to hold fixed.
            minmax: Whether to minimize (``"min"``) or maximize (``"max"``) the optimized metric.
            metric_tradeoff_lambda: By default a constraint holds the reference metric. With a
                number, a penalty of this weight holds it approximately. ``"auto"`` uses the power
                of ten nearest to the ratio of the two metrics between `image` and uniform noise.
            penalty_function: A function from an image to a scalar. By default the sum of squares of
                the distances of pixel values from [0, 1].
            penalty_lambda: The weight of the penalty, or a function of the number of accepted
                steps, such as an optax schedule.
            reference_value: The value at which to hold the reference metric. Defaults to its value
                at `image` plus fixed normal noise, so that runs with different keys are comparable.
            initial_noise: The standard deviation of this noise, in units of the pixels.
            parametrization: The variables that the optimizer moves. By default the pixels: within
                [0, 1] with a constraint, else unbounded.

        Raises:
            TypeError: If the image, a metric or the penalty is of the wrong type; see
                `plenoptax.validate`.
            ValueError: If the image is not finite or leaves the box, `minmax` is neither ``"min"``
                nor ``"max"``, a metric or the penalty cannot be used, or a number is not positive.

        Warns:
            UserWarning: With ``"auto"``, to report the chosen weight.
        """
        if minmax not in ("min", "max"):
            raise ValueError(f"minmax must be 'min' or 'max', got {minmax!r}.")
        image = as_jax(image)
        check_images(image, penalty_function, penalty_lambda)
        validate_metric(optimized_metric, image.shape, image.dtype)
        validate_metric(reference_metric, image.shape, image.dtype)
        validate_penalty(penalty_function, image.shape, image.dtype)
        self.image = image
        self.optimized_metric = optimized_metric
        self.reference_metric = reference_metric
        self.sign = jnp.asarray(1 if minmax == "min" else -1, self.image.dtype)
        self.initial_noise = jnp.asarray(initial_noise, self.image.dtype)
        self.penalty_function = penalty_function
        self.penalty_lambda = as_weight(penalty_lambda)
        if parametrization is None:
            parametrization = _default_pixels(self.image, metric_tradeoff_lambda is None)
        self.parametrization = as_parametrization(parametrization)
        if isinstance(metric_tradeoff_lambda, str):
            metric_tradeoff_lambda = _balance(optimized_metric, reference_metric, self.image)
        if metric_tradeoff_lambda is not None:
            metric_tradeoff_lambda = jnp.asarray(metric_tradeoff_lambda, jnp.result_type(float))
        self.metric_tradeoff_lambda = metric_tradeoff_lambda
        if reference_value is None:
            noise = jax.random.normal(jax.random.key(0), self.image.shape, self.image.dtype)
            reference_value = self.evaluate_reference(self.image + self.initial_noise * noise)
        self.reference_value = jnp.asarray(reference_value, self.image.dtype)

    @property
    def minmax(self) -> str:
        """``"min"`` or ``"max"``."""
        return "min" if self.sign > 0 else "max"

    def evaluate_reference(self, image: Array) -> Scalar:
        """Return the reference metric of an image after projection into the box."""
        z = self.parametrization.project(self.encode(image))
        return call_compiled(self.reference_metric, self.image, self.decode(z))

    def initial_image(self, key: Key) -> Array:
        """Return the image plus normal noise, scaled to give the reference metric its value."""
        noise = jax.random.normal(key, self.image.shape, self.image.dtype)
        return _add_noise_of_value(self, noise)

    def encode(self, image: Array) -> Array:
        """Return the ``z`` of an image; the inverse of `decode`."""
        return self.parametrization.encode(image)

    def decode(self, z: Array) -> Array:
        """Return the image of a ``z``, the variables that the parametrization moves."""
        return self.parametrization.decode(z)

    def project(self, z: Array) -> Array:
        """Apply the hard constraints; a held metric is brought back to its value."""
        if self.metric_tradeoff_lambda is None:
            for _ in range(_NUM_CORRECTIONS):
                z = self._correct(z)
        return self.parametrization.project(z)

    def objective(self, z: Array, memory: Int[Array, ""] | None) -> tuple[Scalar, dict[str, Array]]:
        """Return the optimized metric, with its sign, plus the weighted penalty, and the terms.

        The terms are ``"optimized_metric"``, ``"reference_metric"`` and, with a constraint,
        ``"optimality"``: the norm of the remaining gradient along the constraint and the box, as a
        fraction of the norm of the full gradient. It is 0 at a solution.
        """
        if self.metric_tradeoff_lambda is None:
            return self._objective_along_constraint(jax.lax.stop_gradient(z), z, memory)
        optimized, terms = self._optimized(z, memory)
        held = self.reference_metric(self.image, self.decode(z))
        weight = self.metric_tradeoff_lambda.astype(held.dtype)
        loss = optimized + weight * (self.reference_value.astype(held.dtype) - held) ** 2
        return loss, {**terms, "reference_metric": held}

    def is_met(self, terms: dict[str, Array]) -> Bool[Array, ""]:
        """Return whether the reference metric is within 1 % of its value."""
        held = terms["reference_metric"]
        wanted = self.reference_value.astype(held.dtype)
        return jnp.abs(held - wanted) <= 0.01 * jnp.abs(wanted)

    def objective_function(self, mad_image: Array, image: Array | None = None) -> Scalar:
        """Return the objective at any image; with a constraint, without the term that holds it.

        Args:
            mad_image: The image to judge.
            image: The image to compare it with, by default the problem's `image`.
        """
        image = self.image if image is None else image
        loss = self.sign * self.optimized_metric(image, mad_image)
        if self.metric_tradeoff_lambda is not None:
            held = self.reference_metric(image, mad_image)
            excess = (self.reference_value.astype(held.dtype) - held) ** 2
            loss = loss + self.metric_tradeoff_lambda.astype(held.dtype) * excess
        return self.add_penalty(loss, mad_image, None)[0]

    def _optimized(
        self, z: Array, memory: Int[Array, ""] | None
    ) -> tuple[Scalar, dict[str, Array]]:
        """Return the objective under the constraint: the signed metric with the penalty."""
        image = self.decode(z)
        metric = self.optimized_metric(self.image, image)
        loss, terms = self.add_penalty(self.sign.astype(metric.dtype) * metric, image, memory)
        return loss, {**terms, "optimized_metric": metric}

    def _held(self, z: Array) -> Scalar:
        """Return by how much the reference metric exceeds its value."""
        held = self.reference_metric(self.image, self.decode(z))
        return held - self.reference_value.astype(held.dtype)

    def _constrain(self, z: Array) -> tuple[Scalar, Array, Scalar]:
        """Return the error of the constraint, and its gradient in units of its largest element.

        The third value is that unit. It keeps squares of a gradient of any size in range.
        """
        excess, normal = jax.value_and_grad(self._held)(z)
        unit = safe_divisor(largest_magnitude(normal))
        return excess, normal / unit, unit

    def _objective_along_constraint(
        self, point: Array, z: Array, memory: Int[Array, ""] | None
    ) -> tuple[Scalar, dict[str, Array]]:
        """Return the Lagrangian at the best multiplier of a point, and its gradient there."""
        (loss, terms), ascent = jax.value_and_grad(self._optimized, has_aux=True)(point, memory)
        excess, normal, unit = self._constrain(point)
        free = jnp.ones(point.shape, bool)
        # Pixels that push against the box do not contribute to the multiplier, but the multiplier
        # decides which pixels push. Three rounds settle all except a few.
        for _ in range(4):
            multiplier = _divide(jnp.vdot(jnp.where(free, normal, 0), ascent), normal, free)
            gradient = ascent - multiplier * normal
            free = self._is_free(point, gradient)
        remaining, whole = norm(jnp.where(free, gradient, 0)), norm(ascent)
        terms["reference_metric"] = excess + self.reference_value.astype(excess.dtype)
        terms["optimality"] = remaining / safe_divisor(whole)
        # The pixels that push against the box keep their gradient. It moves them out of the box, so
        # they stay at the bound when the image is brought back to the constraint.
        return loss - multiplier * (excess / unit) + jnp.vdot(gradient, z - point), terms

    def _is_free(self, z: Array, gradient: Array) -> Bool[Array, "..."]:
        """Return whether each variable can follow its gradient downhill."""
        at_low = z - self.parametrization.project(z - 1) < _AT_BOUND
        at_high = self.parametrization.project(z + 1) - z < _AT_BOUND
        return ~((at_low & (gradient > 0)) | (at_high & (gradient < 0)))

    def _correct(self, z: Array) -> Array:
        """Take one Newton step from `z`, which may be outside the box, toward the constraint."""
        inside = self.parametrization.project(z)
        excess, normal, unit = self._constrain(inside)
        correction = _divide(excess / unit, normal, inside == z) * normal
        # At the image itself the metric is 0: a step as long as the distance to it overshoots.
        longest, length = 0.5 * norm(inside - self.encode(self.image)), norm(correction)
        return z - jnp.minimum(1, longest / safe_divisor(length)) * correction


def _divide(value: Scalar, normal: Float[Array, "..."], free: Bool[Array, "..."]) -> Scalar:
    """Divide a scalar by the squared norm of the free part of a vector; 0 if that norm is 0."""
    square = jnp.sum(jnp.where(free, normal, 0) ** 2)
    return jnp.where(square == 0, 0, value / safe_divisor(square))


@eqx.filter_jit
def _add_noise_of_value(problem: MADCompetition, noise: Array) -> Array:
    """Return the image plus this noise, scaled to give the reference metric its value."""

    def at(octaves: Scalar) -> Array:
        strength = problem.initial_noise * 2**octaves
        z = problem.encode(problem.image + strength * noise)
        return problem.decode(problem.parametrization.project(z))

    def halve(_: Int[Array, ""], bracket: tuple[Scalar, Scalar]) -> tuple[Scalar, Scalar]:
        low, high = bracket
        middle = 0.5 * (low + high)
        held = problem.reference_metric(problem.image, at(middle))
        is_less = held < problem.reference_value.astype(held.dtype)
        return jnp.where(is_less, middle, low), jnp.where(is_less, high, middle)

    dtype = problem.image.dtype
    bracket = jnp.asarray(-10, dtype), jnp.asarray(10, dtype)
    low, high = jax.lax.fori_loop(0, 30, halve, bracket)
    return at(0.5 * (low + high))


def _balance(optimized_metric: Callable, reference_metric: Callable, image: Array) -> Scalar:
    """Return plenoptic's weight: the power of ten nearest the ratio of the metrics on noise."""
    noise = jax.random.uniform(jax.random.key(0), image.shape, image.dtype)
    ratio = call_compiled(optimized_metric, image, noise) / call_compiled(
        reference_metric, image, noise
    )
    weight = 10 ** jnp.round(jnp.log10(ratio))
    chosen = "one for each image" if isinstance(weight, Tracer) else f"{float(weight):g}"
    warnings.warn(
        f"metric_tradeoff_lambda was chosen to roughly balance the metrics: {chosen}. Try others, "
        "or None, which needs no weight.",
        stacklevel=3,
    )
    return weight


def _default_pixels(image: Array, is_held: bool) -> Pixels:
    """Return pixels within [0, 1] for a constraint, and without bounds for a penalty."""
    if not is_held:
        return Pixels()
    if not isinstance(image, Tracer):
        check_within_pixels(image)
    return Pixels(bounds=(0.0, 1.0))


def check_within_pixels(image: Array) -> None:
    """Raise an error if images have values that the pixels of a constraint cannot take."""
    low, high = float(jnp.min(image)), float(jnp.max(image))
    if low < 0 or high > 1:
        raise ValueError(
            f"image must be within [0, 1] for a constraint, got values from {low:g} to {high:g}: "
            f"{say_how_to_fit((low, high), (0.0, 1.0))}, or give its range as "
            "parametrization=plenoptax.parametrize.Pixels(bounds=(lowest, highest))."
        )
