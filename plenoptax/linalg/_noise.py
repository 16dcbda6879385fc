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
    """Noise of a model's response, as a change of coordinates that makes it standard normal.

    To define a noise of your own, write ``coordinates``. The Fisher information about the input is
    then ``B^T B``, where B is the Jacobian of the coordinates with respect to the input.
    """

    @abstractmethod
    def coordinates(
        self, response: Float[Array, " m"], center: Float[Array, " m"]
    ) -> Float[Array, " coordinates"]:
        """Return a function of the response with Jacobian B at `center`, ``B^T B`` = the metric.

        Args:
            response: The response, as a flat vector.
            center: The response at which the metric is evaluated; constants may be computed from
                it.
        """

    def check(self, response: Float[Array, " m"]) -> None:
        """Raise a ValueError if a response cannot have this noise."""


@final
class GaussianNoise(AbstractNoise):
    """Gaussian noise, with a covariance that is constant or depends on the response.

    With a constant covariance S the information is ``J^T S^-1 J``. If S depends on the response, S
    is itself informative about the input, which adds ``1/2 tr(S^-1 dS_i S^-1 dS_j)``.

    Attributes:
        covariance: A variance, the variance of each response, a covariance matrix, or a function
            from the flat response to one of these.
        mean_term_only: Whether to ignore the information in the covariance itself.

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
        _require_positive(variances, "The variances (or eigenvalues of the covariance)")

    def _covariance(self, response: Float[Array, " m"]) -> Array:
        given = self.covariance(response) if callable(self.covariance) else self.covariance
        if given.shape not in ((), (1,), response.shape, response.shape * 2):
            raise ValueError(
                f"covariance must be a scalar, a vector of length {response.size} or a square "
                f"matrix of that size, got the shape {given.shape}."
            )
        return given.astype(response.dtype)


@final
class PoissonNoise(AbstractNoise):
    """Noise of independent Poisson counts, or of counts that vary more than Poisson counts.

    The information is ``duration * J^T diag(1 / r) J`` at rates r. With a `dispersion` s the
    variance of a count of mean c is ``c + s^2 c^2``, and only the information in the mean counts.

    Attributes:
        duration: The counting time; the responses are rates.
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
        _require_positive(response, "The rates of Poisson noise (the responses of the model)")


@final
class MetricNoise(AbstractNoise):
    """Noise given by your own Fisher metric of the responses, as a function.

    Attributes:
        metric: A function from the flat response to the diagonal of the metric, or to the full
            matrix, which is symmetric and has no negative eigenvalues.

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
        raise ValueError(f"{rule} must be positive, got a smallest value of {smallest:.3g}.")
