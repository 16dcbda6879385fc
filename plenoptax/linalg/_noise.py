from abc import abstractmethod
from collections.abc import Callable
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float

from .._rules import checked, NOT_NEGATIVE, POSITIVE


class AbstractNoise(eqx.Module):
    """What corrupts a model's response, as a change of coordinates that makes it standard normal.

    A noise of your own defines ``coordinates``; the Fisher information about the input is then
    ``B^T B``, with B the Jacobian of the coordinates with respect to the input.
    """

    @abstractmethod
    def coordinates(
        self, response: Float[Array, " m"], center: Float[Array, " m"]
    ) -> Float[Array, " coordinates"]:
        """A function of the response whose Jacobian B at `center` has ``B^T B`` = the metric.

        Args:
            response: The variable, flat.
            center: The response where the metric is wanted; constants may be computed from it.
        """

    def check(self, response: Float[Array, " m"]) -> None:
        """Refuse, by a ValueError, a response that cannot have this noise."""


@final
class GaussianNoise(AbstractNoise):
    """Gaussian noise, of constant covariance or of one that depends on the response.

    With a constant covariance S the information is ``J^T S^-1 J``. If S depends on the response,
    it also tells about the input, which adds ``1/2 tr(S^-1 dS_i S^-1 dS_j)``.

    Attributes:
        covariance: A variance, the variance of each response, a covariance matrix, or a function
            from the flat response to one of these.
        mean_term_only: Whether to leave out the information in the covariance itself.

    References:
        Kay (1993), Fundamentals of Statistical Signal Processing: Estimation Theory, section 3.9.

    Example:
        >>> import jax.numpy as jnp, plenoptax as plx
        >>> noise = plx.linalg.GaussianNoise(jnp.asarray([1.0, 4.0]))
        >>> plx.linalg.fisher_matrix(lambda x: x, jnp.ones(2), noise=noise).tolist()
        [[1.0, 0.0], [0.0, 0.25]]
        >>> grows = plx.linalg.GaussianNoise(lambda response: response)
        >>> plx.linalg.fisher_matrix(lambda x: x, jnp.ones(1), noise=grows).tolist()
        [[1.5]]
    """

    covariance: Array | Callable
    mean_term_only: bool = eqx.field(static=True)

    def __init__(self, covariance: ArrayLike | Callable, *, mean_term_only: bool = False):
        """Set the attributes."""
        self.covariance = covariance if callable(covariance) else jnp.asarray(covariance)
        self.mean_term_only = mean_term_only

    def coordinates(
        self, response: Float[Array, " m"], center: Float[Array, " m"]
    ) -> Float[Array, " coordinates"]:
        """See ``AbstractNoise``."""
        fixed = self._covariance(center)
        if fixed.ndim < 2:
            mean = response / jnp.sqrt(jnp.broadcast_to(fixed, response.shape))
        else:
            root = jnp.linalg.cholesky(fixed)
            mean = jax.scipy.linalg.solve_triangular(root, response, lower=True)
        if self.mean_term_only or not callable(self.covariance):
            return mean
        moving = self._covariance(response)
        if fixed.ndim < 2:
            fixed, moving = (jnp.broadcast_to(s, response.shape) for s in (fixed, moving))
            spread = moving / fixed
        else:
            half = jax.scipy.linalg.solve_triangular(root, moving, lower=True)
            spread = jax.scipy.linalg.solve_triangular(root, half.T, lower=True).ravel()
        return jnp.concatenate([mean, spread / jnp.sqrt(jnp.asarray(2, response.dtype))])

    def check(self, response: Float[Array, " m"]) -> None:
        """See ``AbstractNoise``."""
        covariance = self._covariance(response)
        variances = covariance if covariance.ndim < 2 else jnp.linalg.eigvalsh(covariance)
        _require_positive(variances, "The covariance of Gaussian noise is positive definite")

    def _covariance(self, response: Float[Array, " m"]) -> Array:
        given = self.covariance(response) if callable(self.covariance) else self.covariance
        if given.shape not in ((), (1,), response.shape, response.shape * 2):
            raise ValueError(
                f"The covariance has shape {given.shape}; for {response.size} responses it is a "
                "scalar, a vector of that length or a square matrix of that size."
            )
        return given.astype(response.dtype)


@final
class PoissonNoise(AbstractNoise):
    """Independent Poisson counts, or counts that vary more than Poisson's.

    The information is ``duration * J^T diag(1 / r) J`` at rates r. With a `dispersion` s the
    variance of a count of mean c is ``c + s^2 c^2``, and only the mean is taken to inform.

    Attributes:
        duration: For how long the responses, as rates, are counted.
        dispersion: The standard deviation of a gain that multiplies the rate; 0 for Poisson counts.

    References:
        Goris, Movshon and Simoncelli (2014), Partitioning neuronal variability, Nature Neuroscience
        17, 858-865.

    Example:
        >>> import jax.numpy as jnp, plenoptax as plx
        >>> noise = plx.linalg.PoissonNoise(duration=2.0)
        >>> plx.linalg.fisher_matrix(lambda x: x, jnp.asarray([0.5]), noise=noise).tolist()
        [[4.0]]
    """

    duration: Array
    dispersion: Array

    @checked(duration=POSITIVE, dispersion=NOT_NEGATIVE)
    def __init__(self, duration: ArrayLike = 1.0, dispersion: ArrayLike = 0.0):
        """Set the attributes."""
        self.duration = jnp.asarray(duration)
        self.dispersion = jnp.asarray(dispersion)

    def coordinates(
        self, response: Float[Array, " m"], center: Float[Array, " m"]
    ) -> Float[Array, " coordinates"]:
        """See ``AbstractNoise``."""
        duration = self.duration.astype(center.dtype)
        mean = duration * center
        variance = mean + (self.dispersion.astype(center.dtype) * mean) ** 2
        return duration * response / jnp.sqrt(variance)

    def check(self, response: Float[Array, " m"]) -> None:
        """See ``AbstractNoise``."""
        _require_positive(
            response, "The responses of a model with Poisson noise are rates, above 0"
        )


@final
class MetricNoise(AbstractNoise):
    """A Fisher metric of the responses that you give as a function.

    Attributes:
        metric: From the flat response to the diagonal of the metric, or the whole matrix, which is
            symmetric and has no negative eigenvalues.

    Example:
        >>> import jax.numpy as jnp, plenoptax as plx
        >>> noise = plx.linalg.MetricNoise(lambda response: 1 / response)
        >>> plx.linalg.fisher_matrix(lambda x: x, jnp.asarray([0.25]), noise=noise).tolist()
        [[4.0]]
    """

    metric: Callable

    def coordinates(
        self, response: Float[Array, " m"], center: Float[Array, " m"]
    ) -> Float[Array, " coordinates"]:
        """See ``AbstractNoise``."""
        metric = self.metric(center).astype(center.dtype)
        if metric.ndim < 2:
            return response * jnp.sqrt(metric)
        values, vectors = jnp.linalg.eigh(metric)
        return jnp.sqrt(jnp.maximum(values, 0)) * (vectors.T @ response)


def _require_positive(values: Array, rule: str) -> None:
    if isinstance(values, Tracer):
        return
    smallest = float(jnp.min(values))
    if not smallest > 0:
        raise ValueError(f"{rule}; the smallest value here is {smallest:.3g}.")
