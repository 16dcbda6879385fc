from collections.abc import Callable, Sequence
from typing import Any, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._function import AbstractFunction
from .._precision import in_single_precision
from .._rules import checked, NOT_NEGATIVE, NUMBER, POSITIVE
from .._safe import safe_divisor
from .._types import PyTree, Scalar
from ._differences import mse


@final
class WeightedSum(AbstractFunction):
    """A weighted sum of losses, or of penalties.

    Attributes:
        terms: The terms to add: losses, which are functions of two representations, or penalties,
            which are functions of an image. The sum takes the same arguments.
        weights: One weight for each term. Changing them causes no compilation.

    Example:
        >>> import jax.numpy as jnp
        >>> from plenoptax.loss import l2_norm, mse
        >>> from plenoptax.regularize import penalize_range, penalize_total_variation
        >>> loss = WeightedSum([mse, l2_norm], [1.0, 10.0])
        >>> print(loss(jnp.array([3.0, 4.0]), jnp.zeros(2)))
        62.5
        >>> penalty = WeightedSum([penalize_range, penalize_total_variation], [1.0, 0.1])
        >>> print(penalty(jnp.array([[[0.0, 2.0]]])))
        1.2
    """

    terms: tuple[Callable, ...]
    weights: Float[Array, " terms"]

    @checked(weights=NUMBER)
    def __init__(self, terms: Sequence[Callable], weights: ArrayLike | Sequence[ArrayLike]):
        """Choose the terms.

        Args:
            terms: Losses or penalties, at least one.
            weights: One number for each term.

        Raises:
            ValueError: If there are no terms, or not one weight for each.
            TypeError: If a term is not callable.
        """
        self.terms, self.weights = _check_terms(terms, weights)

    @in_single_precision("arguments")
    def __call__(self, *arguments: PyTree, **kwargs: Any) -> Scalar:
        """Add the weighted terms.

        Args:
            *arguments: Two representations, or an image.
            **kwargs: Passed on to every term.
        """
        return jnp.sum(_evaluate(self.terms, self.weights, arguments, kwargs))


@final
class SoftMaximum(AbstractFunction):
    """A smooth approximation of the largest of several losses, or penalties.

    A sum can fall through one term while another rises, and the fastest term falls first. Here the
    largest term gets most of the gradient, so all terms fall together.

    The value is ``temperature * log(mean(exp(weights * terms / temperature)))``. It lies between
    the mean of the weighted terms, reached at high temperatures, and the largest of them, reached
    at low temperatures. It is 0 where all terms are 0.

    Attributes:
        terms: Losses, which are functions of two representations, or penalties, which are functions
            of an image.
        weights: One weight for each term, which brings the terms to one scale.
        temperature: How far below the largest weighted term another one still counts, in units of
            the weighted terms.

    Example:
        >>> import jax.numpy as jnp
        >>> from plenoptax.loss import l2_norm, mse
        >>> x, y = jnp.array([3.0, 4.0]), jnp.zeros(2)
        >>> for temperature in (0.01, 1.0, 1000.0):
        ...     print(f"{SoftMaximum([mse, l2_norm], temperature=temperature)(x, y):.2f}")
        12.49
        11.81
        8.76
    """

    terms: tuple[Callable, ...]
    weights: Float[Array, " terms"]
    temperature: Scalar

    @checked(weights=NUMBER, temperature=POSITIVE)
    def __init__(
        self,
        terms: Sequence[Callable],
        weights: ArrayLike | Sequence[ArrayLike] | None = None,
        *,
        temperature: ArrayLike = 1.0,
    ):
        """Choose the terms.

        Args:
            terms: Losses or penalties, at least one.
            weights: One number for each term. By default 1.
            temperature: Smoothness of the maximum, a positive number.

        Raises:
            ValueError: If there are no terms, or not one weight for each.
            TypeError: If a term is not callable.
        """
        weights = jnp.ones(len(terms)) if weights is None else weights
        self.terms, self.weights = _check_terms(terms, weights)
        self.temperature = jnp.asarray(temperature, jnp.result_type(float))

    @in_single_precision("arguments")
    def __call__(self, *arguments: PyTree, **kwargs: Any) -> Scalar:
        """Compute the soft maximum.

        Args:
            *arguments: Two representations, or an image.
            **kwargs: Passed on to every term.
        """
        values = _evaluate(self.terms, self.weights, arguments, kwargs)
        temperature = jnp.asarray(self.temperature, values.dtype)
        mean = jax.nn.logsumexp(values / temperature, b=1 / len(self.terms))
        return temperature * mean


@final
class ZScored(AbstractFunction):
    """A loss between standardized representations.

    Statistics may differ in scale by orders of magnitude, and the largest would dominate. Here each
    is ``(x - mean) / standard_deviation``, with its mean and standard deviation over a set of
    images, so a difference counts by how unusual it is.

    Attributes:
        mean: The mean to subtract: an array, or a tree of arrays as the model returns it.
        standard_deviation: The standard deviation to divide by, of the same structure. A statistic
            with a standard deviation of 0 is not divided.
        loss_function: The loss between the standardized representations.

    Example:
        >>> import jax.numpy as jnp
        >>> from plenoptax.loss import l2_norm
        >>> representations = jnp.array([[1.0, 100.0], [3.0, 500.0]])
        >>> loss = ZScored(representations.mean(0), representations.std(0), l2_norm)
        >>> print(loss(jnp.array([4.0, 300.0]), jnp.array([0.0, 900.0])))
        5.0
    """

    mean: PyTree
    standard_deviation: PyTree
    loss_function: Callable

    def __init__(self, mean: PyTree, standard_deviation: PyTree, loss_function: Callable = mse):
        """Choose the scale.

        Args:
            mean: The mean: an array or a tree of arrays, as the model returns it.
            standard_deviation: The standard deviation, of the same structure and shapes.
            loss_function: A loss; by default the mean squared difference.

        Raises:
            ValueError: If the two differ in structure or shapes, or a standard deviation is
                negative or not finite.
        """
        _check_structure("The standard deviation", standard_deviation, mean)
        for leaf in jax.tree.leaves(standard_deviation):
            NOT_NEGATIVE("standard_deviation", leaf)
        self.mean, self.standard_deviation = jax.tree.map(jnp.asarray, (mean, standard_deviation))
        shapes = [
            [x.shape for x in jax.tree.leaves(tree)]
            for tree in (self.mean, self.standard_deviation)
        ]
        if shapes[0] != shapes[1]:
            raise ValueError(
                "The mean and the standard deviation must have the same shapes, got "
                f"{shapes[0]} and {shapes[1]}."
            )
        self.loss_function = loss_function

    @in_single_precision("synth_rep", "ref_rep")
    def __call__(self, synth_rep: PyTree, ref_rep: PyTree, **kwargs: Any) -> Scalar:
        """Compare two representations.

        Args:
            synth_rep: Representation of the synthesized image.
            ref_rep: Representation of the reference image.
            **kwargs: Passed on to the loss.

        Raises:
            ValueError: If either differs from the mean in structure or shapes.
        """
        return self.loss_function(
            self._standardize(synth_rep), self._standardize(ref_rep), **kwargs
        )

    def _standardize(self, representation: PyTree) -> PyTree:
        _check_structure("The representation", representation, self.mean)
        return jax.tree.map(_standardize, representation, self.mean, self.standard_deviation)


def _check_terms(
    terms: Sequence[Callable], weights: ArrayLike | Sequence[ArrayLike]
) -> tuple[tuple[Callable, ...], Float[Array, " terms"]]:
    weights = jnp.asarray(weights, jnp.result_type(float))
    if not terms or weights.shape != (len(terms),):
        raise ValueError(
            f"weights must have one number for each of at least one term, got {len(terms)} terms "
            f"and weights of shape {weights.shape}."
        )
    for term in terms:
        if not callable(term):
            raise TypeError(f"Each term must be callable, a loss or a penalty, got {term!r}.")
    return tuple(terms), weights


def _evaluate(
    terms: tuple[Callable, ...], weights: Array, arguments: tuple[PyTree, ...], kwargs: Any
) -> Float[Array, " terms"]:
    values = jnp.stack([term(*arguments, **kwargs) for term in terms])
    return jnp.asarray(weights, values.dtype) * values


def _check_structure(name: str, tree: PyTree, mean: PyTree) -> None:
    found, wanted = jax.tree.structure(tree), jax.tree.structure(mean)
    if found != wanted:
        raise ValueError(f"{name} must have the structure of the mean, {wanted}, got {found}.")


def _standardize(x: Array, mean: Array, standard_deviation: Array) -> Array:
    if x.shape != mean.shape:
        raise ValueError(
            f"An array of the representation must have the shape of the mean, {mean.shape}, got "
            f"{x.shape}. Measure the mean with this model and with images of this shape."
        )
    scale = safe_divisor(jnp.asarray(standard_deviation, x.dtype))
    return (x - jnp.asarray(mean, x.dtype)) / scale
