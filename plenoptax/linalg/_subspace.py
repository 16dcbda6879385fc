import abc
from collections.abc import Callable
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .._function import AbstractFunction
from .._rules import COUNT
from .._safe import safe_divisor


class AbstractSubspace(AbstractFunction):
    """A linear map A from coordinates z, a flat vector, to an input of a model.

    The search finds eigenvectors z of ``A^T F A`` and returns ``A z``. If the columns of A are
    orthonormal, this restricts F to their span. Otherwise ``|z|``, not ``|A z|``, is 1, so A
    defines the cost of a change.
    """

    size: eqx.AbstractVar[int]

    @abc.abstractmethod
    def __call__(self, z: Float[Array, " size"]) -> Float[Array, "*shape"]:
        """Map coordinates to an input."""


@final
class Linear(AbstractSubspace):
    """Any linear map from coordinates to inputs.

    Attributes:
        function: A linear function from a flat vector of coordinates to an input.
        size: The number of coordinates.

    Example:
        >>> import jax.numpy as jnp, plenoptax as plx
        >>> first_two = plx.linalg.Linear(lambda z: jnp.pad(z, (0, 2)), 2)
        >>> first_two(jnp.ones(2)).tolist()
        [1.0, 1.0, 0.0, 0.0]
    """

    function: Callable
    size: int = eqx.field(static=True, converter=COUNT.of("size"))

    def __call__(self, z: Float[Array, " size"]) -> Float[Array, "*shape"]:
        """Map coordinates to an input."""
        return self.function(z)


@final
class Window(AbstractSubspace):
    """A selection of weighted elements of an input; made by ``mask`` and ``window``.

    Attributes:
        weights: The weights of the selected elements, in order.
        indices: Their indices in the flattened input.
        shape: The shape of the input.
        size: The number of selected elements.
    """

    weights: Float[Array, " size"]
    indices: Array
    shape: tuple[int, ...] = eqx.field(static=True)
    size: int = eqx.field(static=True, init=False)

    def __post_init__(self) -> None:
        self.size = self.weights.size

    def __call__(self, z: Float[Array, " size"]) -> Float[Array, "*shape"]:
        """Map coordinates to an input."""
        flat = jnp.zeros(int(np.prod(self.shape)), z.dtype)
        weighted = z * self.weights.astype(z.dtype)
        return flat.at[self.indices].set(weighted, unique_indices=True).reshape(self.shape)


def mask(selected: Bool[Array, "*shape"] | Bool[np.ndarray, "*shape"]) -> Window:
    """Restrict a map to the elements where a mask is true: a region, or some channels.

    Args:
        selected: The mask, of the shape of the input.

    Raises:
        ValueError: If nothing is selected.

    Example:
        >>> import jax.numpy as jnp, plenoptax as plx
        >>> plx.linalg.mask(jnp.asarray([False, True, True]))(jnp.asarray([1.0, 2.0])).tolist()
        [0.0, 1.0, 2.0]
    """
    return window(np.asarray(selected, np.result_type(float)))


def window(weights: Float[Array, "*shape"] | Float[np.ndarray, "*shape"]) -> Window:
    """Weight the elements of an input by a soft spatial window W.

    The search finds eigenvectors z of ``W F W`` on the support of W. The distortion is ``W z``: it
    fades with the window, and ``|z| = 1``. The generalized problem ``W F W z = l W^2 z`` has other
    solutions: it restricts F to the support, as ``mask`` does.

    Args:
        weights: The window, of the shape of the input, in [0, 1].

    Raises:
        ValueError: If the window is zero everywhere.

    Example:
        >>> import jax.numpy as jnp, plenoptax as plx
        >>> plx.linalg.window(jnp.asarray([0.0, 0.5, 1.0]))(jnp.asarray([1.0, 2.0])).tolist()
        [0.0, 0.5, 2.0]
    """
    flat = np.asarray(weights).ravel()
    indices = np.flatnonzero(flat)
    if indices.size == 0:
        raise ValueError(
            "The mask or window must have a nonzero element, got only zeros, which leave no "
            "direction to search."
        )
    return Window(jnp.asarray(flat[indices]), jnp.asarray(indices), np.shape(weights))


@final
class Complement(AbstractSubspace):
    """All directions orthogonal to given ones; made by ``complement``.

    Attributes:
        reflectors: Unit vectors; the product of their reflections maps the last coordinates to an
            orthonormal basis of the complement.
        shape: The shape of the input.
        size: The dimension of the complement.
    """

    reflectors: Float[Array, "few n"]
    shape: tuple[int, ...] = eqx.field(static=True)
    size: int = eqx.field(static=True, init=False)

    def __post_init__(self) -> None:
        self.size = self.reflectors.shape[1] - self.reflectors.shape[0]

    def __call__(self, z: Float[Array, " size"]) -> Float[Array, "*shape"]:
        """Map coordinates to an input."""
        x = jnp.pad(z, (len(self.reflectors), 0))
        for reflector in self.reflectors[::-1].astype(z.dtype):
            x = x - 2 * reflector * jnp.dot(reflector, x, precision=jax.lax.Precision.HIGHEST)
        return x.reshape(self.shape)


def complement(*vectors: Float[Array, "*shape"]) -> Complement:
    """Restrict a map to directions that are orthogonal to all given arrays.

    A model that ignores the mean or the contrast is blind to adding a constant or the image itself.
    ``complement(jnp.ones_like(image), image)`` leaves out both, because they are rarely of
    interest.

    Args:
        *vectors: Arrays of one shape.

    Raises:
        ValueError: If no array is given, their shapes differ, or they are linearly dependent.

    Example:
        >>> import jax.numpy as jnp, plenoptax as plx
        >>> subspace = plx.linalg.complement(jnp.ones(3))
        >>> subspace.size, abs(float(subspace(jnp.asarray([1.0, 2.0])).sum())) < 1e-6
        (2, True)
    """
    shapes = {np.shape(vector) for vector in vectors}
    if len(shapes) != 1:
        raise ValueError(
            f"The arrays must have one common shape, got {sorted(shapes) or 'no arrays'}."
        )
    columns = np.stack([np.asarray(v, np.float64).ravel() for v in vectors], axis=1)
    columns = columns / safe_divisor(np.linalg.norm(columns, axis=0))
    singular = np.linalg.svd(columns, compute_uv=False)
    if not singular[-1] > 1e-6:
        raise ValueError(
            "The arrays must be linearly independent, got dependent (or zero) ones. Leave some of "
            "them out."
        )
    reflectors = []
    for i in range(columns.shape[1]):
        # A Householder reflection that maps column i to coordinate i; earlier columns stay.
        reflector = np.where(np.arange(len(columns)) >= i, columns[:, i], 0.0)
        reflector[i] += np.copysign(np.linalg.norm(reflector), reflector[i])
        reflector /= np.linalg.norm(reflector)
        columns = columns - 2 * np.outer(reflector, reflector @ columns)
        reflectors.append(reflector)
    return Complement(jnp.asarray(np.stack(reflectors)), shapes.pop())
