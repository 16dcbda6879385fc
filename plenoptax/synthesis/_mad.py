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


# Newton's steps back to the constraint after a step of the optimizer. With two, the structural
# similarity of a photograph whose mean squared error is maximized strays by 19 %, with three by
# less than 1e-4.
_NUM_CORRECTIONS = 3


# Nearer than this to a bound, a fraction of a gray level, a variable may be off it by rounding.
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
    """Minimize or maximize one metric while another keeps its value.

    Where the metrics disagree, the image looks much better or much worse than the metric that was
    held can tell. Two kinds of problem hold it:

    - A constraint (``metric_tradeoff_lambda=None``). The part of the gradient that would change
      the reference metric is taken out, and after every step the image is brought back to where
      that metric has its value, within the box of the parametrization. There is no weight to tune.
    - A penalty, as in plenoptic (a number or ``"auto"``): the objective is ``t *
      optimized_metric + metric_tradeoff_lambda * (reference_value - reference_metric)**2 +
      penalty_lambda * penalty_function``, with ``t`` 1 to minimize and -1 to maximize.

    Attributes:
        image: The image that both metrics compare with.
        optimized_metric: From two images, `image` first, to a scalar; 0 for equal images.
        reference_metric: The metric that is held.
        sign: 1 to minimize, -1 to maximize.
        metric_tradeoff_lambda: The weight of the penalty that holds it; None for a constraint.
        reference_value: The value at which it is held.
        initial_noise: The standard deviation of the noise to start from, before it is adjusted.
        penalty_function: From an image to a scalar.
        penalty_lambda: The weight of the penalty, or its schedule.
        parametrization: What the optimizer moves in place of the pixels.

    References:
        Wang and Simoncelli (2008), Journal of Vision 8(12), 8; the projection and the way back to
        the constraint are those of Rosen (1961), Journal of SIAM 9, 514-532.

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
        """Pose the problem.

        Args:
            image: The image to compare with, of any shape that the metrics take; no batch axis.
            optimized_metric: Any callable of two images that JAX can differentiate and that is a
                distance: minimize ``ssim_distance``, not ``ssim``.
            reference_metric: Another.
            minmax: ``"min"`` or ``"max"``.
            metric_tradeoff_lambda: By default a constraint holds the reference metric. A number
                holds it softly, by a penalty of this weight. ``"auto"`` takes the power of ten
                next to the ratio of both metrics between `image` and uniform noise.
            penalty_function: By default what lies outside of [0, 1], squared and summed.
            penalty_lambda: Its weight, or a function of how many steps have been accepted, such as
                an optax schedule.
            reference_value: At which value to hold the reference metric. By default that of
                normal noise added to `image`, the same noise for every key: so what comes of
                different starts can be compared.
            initial_noise: The standard deviation of this noise, in units of the pixels.
            parametrization: By default the pixels: within [0, 1] in the case of a constraint, else
                unbounded.

        Raises:
            TypeError: If the image, a metric or the penalty is of the wrong kind; see
                `plenoptax.validate`.
            ValueError: If the image is not finite or leaves the box, `minmax` is neither, a metric
                or the penalty cannot be used, or a number is not positive.

        Warns:
            UserWarning: With ``"auto"``, of the weight that was chosen.
        """
        if minmax not in ("min", "max"):
            raise ValueError(f"minmax is 'min' or 'max'; got {minmax!r}.")
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
        """The reference metric of an image, once this is brought into the box."""
        z = self.parametrization.project(self.encode(image))
        return call_compiled(self.reference_metric, self.image, self.decode(z))

    def initial_image(self, key: Key) -> Array:
        """Normal noise added to the image, as strong as gives the reference metric its value."""
        noise = jax.random.normal(key, self.image.shape, self.image.dtype)
        return _add_noise_of_value(self, noise)

    def encode(self, image: Array) -> Array:
        """See `AbstractProblem.encode`."""
        return self.parametrization.encode(image)

    def decode(self, z: Array) -> Array:
        """See `AbstractProblem.decode`."""
        return self.parametrization.decode(z)

    def project(self, z: Array) -> Array:
        """See `AbstractProblem.project`; a constraint brings the metric back to its value."""
        if self.metric_tradeoff_lambda is None:
            for _ in range(_NUM_CORRECTIONS):
                z = self._correct(z)
        return self.parametrization.project(z)

    def objective(self, z: Array, memory: Int[Array, ""] | None) -> tuple[Scalar, dict[str, Array]]:
        """See `AbstractProblem.objective`.

        The terms are ``"optimized_metric"``, ``"reference_metric"`` and, in the case of a
        constraint, ``"optimality"``: the norm of what is left of the gradient along the constraint
        and the box, as a part of the whole gradient. It vanishes at a solution.
        """
        if self.metric_tradeoff_lambda is None:
            return self._objective_along_constraint(jax.lax.stop_gradient(z), z, memory)
        optimized, terms = self._optimized(z, memory)
        held = self.reference_metric(self.image, self.decode(z))
        weight = self.metric_tradeoff_lambda.astype(held.dtype)
        loss = optimized + weight * (self.reference_value.astype(held.dtype) - held) ** 2
        return loss, {**terms, "reference_metric": held}

    def is_met(self, terms: dict[str, Array]) -> Bool[Array, ""]:
        """Whether the reference metric is within 1 % of its value."""
        held = terms["reference_metric"]
        wanted = self.reference_value.astype(held.dtype)
        return jnp.abs(held - wanted) <= 0.01 * jnp.abs(wanted)

    def objective_function(self, mad_image: Array, image: Array | None = None) -> Scalar:
        """The objective at any image; in the case of a constraint, without what holds it.

        Args:
            mad_image: The image to judge.
            image: What to compare it with, by default `image`.
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
        """What is minimized under the constraint: the signed metric with the penalty."""
        image = self.decode(z)
        metric = self.optimized_metric(self.image, image)
        loss, terms = self.add_penalty(self.sign.astype(metric.dtype) * metric, image, memory)
        return loss, {**terms, "optimized_metric": metric}

    def _held(self, z: Array) -> Scalar:
        """By how much the reference metric exceeds its value."""
        held = self.reference_metric(self.image, self.decode(z))
        return held - self.reference_value.astype(held.dtype)

    def _constrain(self, z: Array) -> tuple[Scalar, Array, Scalar]:
        """By how much the constraint is missed, and its gradient in units of the largest element.

        The third value is that unit. Squares of a gradient of any size are then in range.
        """
        excess, normal = jax.value_and_grad(self._held)(z)
        unit = safe_divisor(largest_magnitude(normal))
        return excess, normal / unit, unit

    def _objective_along_constraint(
        self, point: Array, z: Array, memory: Int[Array, ""] | None
    ) -> tuple[Scalar, dict[str, Array]]:
        """The Lagrangian at the best multiplier of a point, and its gradient there."""
        (loss, terms), ascent = jax.value_and_grad(self._optimized, has_aux=True)(point, memory)
        excess, normal, unit = self._constrain(point)
        free = jnp.ones(point.shape, bool)
        # Pixels that push against the box have no say in the multiplier, which in turn decides
        # which pixels push; three rounds settle all but a few.
        for _ in range(4):
            multiplier = _divide(jnp.vdot(jnp.where(free, normal, 0), ascent), normal, free)
            gradient = ascent - multiplier * normal
            free = self._is_free(point, gradient)
        remaining, whole = norm(jnp.where(free, gradient, 0)), norm(ascent)
        terms["reference_metric"] = excess + self.reference_value.astype(excess.dtype)
        terms["optimality"] = remaining / safe_divisor(whole)
        # The pixels that push against the box keep their gradient: what it moves out of the box
        # keeps them there when the image is brought back to the constraint.
        return loss - multiplier * (excess / unit) + jnp.vdot(gradient, z - point), terms

    def _is_free(self, z: Array, gradient: Array) -> Bool[Array, "..."]:
        """Whether each variable can follow its gradient downhill."""
        at_low = z - self.parametrization.project(z - 1) < _AT_BOUND
        at_high = self.parametrization.project(z + 1) - z < _AT_BOUND
        return ~((at_low & (gradient > 0)) | (at_high & (gradient < 0)))

    def _correct(self, z: Array) -> Array:
        """One step of Newton's from `z`, which may be out of the box, towards the constraint."""
        inside = self.parametrization.project(z)
        excess, normal, unit = self._constrain(inside)
        correction = _divide(excess / unit, normal, inside == z) * normal
        # At the image itself the metric vanishes: a step as long as the way there overshoots.
        longest, length = 0.5 * norm(inside - self.encode(self.image)), norm(correction)
        return z - jnp.minimum(1, longest / safe_divisor(length)) * correction


def _divide(value: Scalar, normal: Float[Array, "..."], free: Bool[Array, "..."]) -> Scalar:
    """A scalar over the squared norm of the free part of a vector; 0 where this vanishes."""
    square = jnp.sum(jnp.where(free, normal, 0) ** 2)
    return jnp.where(square == 0, 0, value / safe_divisor(square))


@eqx.filter_jit
def _add_noise_of_value(problem: MADCompetition, noise: Array) -> Array:
    """The image with this noise, at the strength that gives the reference metric its value."""

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
    """plenoptic's weight: the power of ten next to the ratio of the metrics on uniform noise."""
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
    """Pixels within [0, 1] for a constraint; without bounds where a penalty holds them."""
    if not is_held:
        return Pixels()
    if not isinstance(image, Tracer):
        check_within_pixels(image)
    return Pixels(bounds=(0.0, 1.0))


def check_within_pixels(image: Array) -> None:
    """Refuse an image, or images, that the pixels of a constraint cannot take."""
    low, high = float(jnp.min(image)), float(jnp.max(image))
    if low < 0 or high > 1:
        raise ValueError(
            "The constraint keeps the image within [0, 1], but the image to compare with has "
            f"values from {low:g} to {high:g}: {say_how_to_fit((low, high), (0.0, 1.0))}, or give "
            "its range: parametrization=plenoptax.parametrize.Pixels(bounds=(lowest, highest))."
        )
