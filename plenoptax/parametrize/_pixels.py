import abc
from collections.abc import Sequence
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .._function import AbstractFunction
from .._precision import refuse_half
from .._rules import checked, Real


class AbstractParametrization(AbstractFunction):
    """A map from the variable ``z`` of an optimization to an image.

    A subclass defines how ``z`` makes an image, which ``z`` represents an initial image, and how
    ``z`` is constrained after each step. All three methods are pure. ``decode(encode(image))`` is
    the image if the subclass can express it.
    """

    @abc.abstractmethod
    def encode(self, image: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return the variable that represents an image."""

    @abc.abstractmethod
    def decode(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return the image that a variable represents."""

    @abc.abstractmethod
    def project(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        """Move a variable back into the allowed set; called once after each step."""


@final
class Pixels(AbstractParametrization):
    """The pixels themselves, optionally clipped into a box after each step.

    With bounds, gradient descent becomes projected gradient descent: the constraint holds exactly
    at every step. Arrays as bounds give each channel, or each pixel, its own range, such as a
    neighborhood of another image.

    Attributes:
        bounds: Lowest and highest value, or ``None``.

    Example:
        >>> import jax.numpy as jnp
        >>> parametrization = Pixels(bounds=(0.0, 1.0))
        >>> print(parametrization.project(jnp.array([[[-0.5, 0.25, 1.5]]])))
        [[[0.   0.25 1.  ]]]
    """

    bounds: tuple[Float[Array, "..."], Float[Array, "..."]] | None

    def __init__(self, *, bounds: Sequence[ArrayLike] | None = None):
        """Choose the box.

        Args:
            bounds: Lowest and highest allowed value, numbers or arrays that broadcast to the image.
                By default nothing is clipped.

        Raises:
            ValueError: If the bounds are not a pair with the lower one first.
        """
        self.bounds = None if bounds is None else _check_bounds(bounds)

    def encode(self, image: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return the image, clipped into the box."""
        refuse_half("The image of a parametrization", image.dtype)
        return self.project(image)

    def decode(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return the pixels."""
        refuse_half("The variable of a parametrization", z.dtype)
        return z

    def project(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        """Clip the pixels into the box."""
        if self.bounds is None:
            return z
        low, high = (jnp.asarray(bound, z.dtype) for bound in self.bounds)
        return jnp.clip(z, low, high)


@final
class Sigmoid(AbstractParametrization):
    """A sigmoid of an unconstrained variable, which keeps the image strictly between bounds.

    The optimizer needs no constraint, and no pixel can leave the range. The cost is that pixels
    near a bound move slowly, because the slope of the sigmoid goes to zero there. ``encode``
    therefore keeps an image at least ``margin`` away from a bound: a variable that starts farther
    out would hardly move again.

    Attributes:
        bounds: Lowest and highest value. Neither is reached.
        margin: Distance from the bounds at which ``encode`` clips, relative to ``high - low``.
        inner: The parametrization that makes the argument of the sigmoid.

    Example:
        >>> import jax.numpy as jnp
        >>> parametrization = Sigmoid()
        >>> z = parametrization.encode(jnp.array([[[0.0, 0.5, 1.0]]]))
        >>> [f"{value:.2f}" for value in z.ravel()]
        ['-6.91', '0.00', '6.91']
        >>> [f"{pixel:.3f}" for pixel in parametrization.decode(z).ravel()]
        ['0.001', '0.500', '0.999']
    """

    bounds: tuple[Float[Array, "..."], Float[Array, "..."]]
    margin: float = eqx.field(static=True)
    inner: AbstractParametrization

    @checked(margin=Real(above=0, below=0.5))
    def __init__(
        self,
        bounds: Sequence[ArrayLike] = (0.0, 1.0),
        *,
        margin: float = 1e-3,
        inner: AbstractParametrization | None = None,
    ):
        """Choose the range.

        Args:
            bounds: Lowest and highest value, numbers or arrays that broadcast to the image. By
                default those of an image.
            margin: The smallest distance from a bound in ``encode``, relative to the range. The
                default is a quarter of an 8-bit gray level: black and white pixels of a file are
                black and white again when rounded to 8 bits, and start at z = -6.9 and 6.9.
            inner: The inner parametrization; by default the pixels themselves.

        Raises:
            ValueError: If the bounds are not a pair of finite values with the lower one first, or
                ``margin`` is not between 0 and 1/2.
        """
        self.bounds = _check_bounds(bounds, finite=True)
        self.margin = margin
        self.inner = inner or Pixels()

    def encode(self, image: Float[Array, "..."]) -> Float[Array, "..."]:
        """Invert the sigmoid, after clipping the image to ``margin`` inside the bounds."""
        low, high = (jnp.asarray(bound, image.dtype) for bound in self.bounds)
        fraction = jnp.clip((image - low) / (high - low), self.margin, 1 - self.margin)
        return self.inner.encode(jnp.log(fraction) - jnp.log1p(-fraction))

    def decode(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        """Map the variable into the range between the bounds."""
        logit = self.inner.decode(z)
        low, high = (jnp.asarray(bound, logit.dtype) for bound in self.bounds)
        image = low + (high - low) * jax.nn.sigmoid(logit)
        # Where the logit is beyond about 17 in float32, the sigmoid rounds to 1 and the sum to a
        # bound. The neighbors of zero are subnormal, and XLA flushes them to zero.
        tiny = jnp.finfo(logit.dtype).tiny
        lowest = jnp.maximum(jnp.nextafter(low, high), low + tiny)
        highest = jnp.minimum(jnp.nextafter(high, low), high - tiny)
        return jnp.clip(image, lowest, highest)

    def project(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        """Apply the constraints of the inner parametrization. The sigmoid needs none."""
        return self.inner.project(z)


def _check_bounds(
    bounds: Sequence[ArrayLike], *, finite: bool = False
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    if len(bounds) != 2:
        raise ValueError(f"bounds must be (lowest, highest), got {bounds!r}.")
    low, high = (jnp.asarray(bound, jnp.result_type(float)) for bound in bounds)
    try:
        lowest, highest = (np.asarray(bound) for bound in bounds)
    except jax.errors.TracerArrayConversionError:
        return low, high
    if not np.all(lowest < highest):
        raise ValueError(f"bounds must be (lowest, highest), lower one first, got {bounds!r}.")
    if finite and not (np.isfinite(lowest).all() and np.isfinite(highest).all()):
        raise ValueError(f"bounds must be finite, got {bounds!r}.")
    return low, high
