import abc
from collections.abc import Sequence
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .._precision import refuse_half
from .._rules import checked, Real


class AbstractParametrization(eqx.Module):
    """A map from the variable ``z`` of an optimization to an image.

    A subclass says how an image is made out of ``z``, which ``z`` an optimization that begins at
    an image starts from, and what becomes of ``z`` after each step. All three are pure, and
    ``decode(encode(image))`` is the image wherever the subclass can express it.
    """

    @abc.abstractmethod
    def encode(self, image: Float[Array, "..."]) -> Float[Array, "..."]:
        """Find the variable that stands for an image."""

    @abc.abstractmethod
    def decode(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        """Make the image that a variable stands for."""

    @abc.abstractmethod
    def project(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        """Bring a variable back to where it is allowed to be; done once after each step."""


@final
class Pixels(AbstractParametrization):
    """The pixels themselves, optionally clipped into a box after each step.

    With bounds this is projected gradient descent: the constraint holds exactly at every step.
    Bounds that are arrays give each channel, or each pixel, a range of its own, such as a
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
            bounds: Lowest and highest value allowed, numbers or arrays that broadcast to the
                image. By default nothing is clipped.

        Raises:
            ValueError: If the bounds are not a pair, the lower one first.
        """
        self.bounds = None if bounds is None else _check_bounds(bounds)

    def encode(self, image: Float[Array, "..."]) -> Float[Array, "..."]:
        """Take the image as it is, clipped into the box."""
        refuse_half("The image of a parametrization", image.dtype)
        return self.project(image)

    def decode(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return the pixels."""
        refuse_half("The variable of a parametrization", z.dtype)
        return z

    def project(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        """Clip into the box."""
        if self.bounds is None:
            return z
        low, high = (jnp.asarray(bound, z.dtype) for bound in self.bounds)
        return jnp.clip(z, low, high)


@final
class Sigmoid(AbstractParametrization):
    """A sigmoid of an unconstrained variable, which keeps the image strictly between bounds.

    The optimizer needs no constraint, and no pixel can leave the range. The price is that pixels
    near a bound move slowly, since the slope of the sigmoid goes to zero there. ``encode``
    therefore takes an image no nearer to a bound than ``margin``: a variable that starts farther
    out would hardly move again.

    Attributes:
        bounds: Lowest and highest value, neither of which is reached.
        margin: Distance from the bounds at which ``encode`` clips, as a part of their distance.
        inner: Makes what the sigmoid is taken of.

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
            margin: How near to a bound ``encode`` goes, as a part of their distance. The default
                is a quarter of a gray level of 8 bits: black and white pixels of a file are black
                and white again when they are rounded to 8 bits, and start at z = -6.9 and 6.9.
            inner: By default the pixels themselves.

        Raises:
            ValueError: If the bounds are not a pair of finite values, the lower one first, or
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
        """Map the variable between the bounds."""
        logit = self.inner.decode(z)
        low, high = (jnp.asarray(bound, logit.dtype) for bound in self.bounds)
        image = low + (high - low) * jax.nn.sigmoid(logit)
        # The sigmoid rounds to 1, and the sum to either bound, where the logit is beyond about 17
        # in float32. The neighbors of zero are subnormal, which XLA flushes to zero.
        tiny = jnp.finfo(logit.dtype).tiny
        lowest = jnp.maximum(jnp.nextafter(low, high), low + tiny)
        highest = jnp.minimum(jnp.nextafter(high, low), high - tiny)
        return jnp.clip(image, lowest, highest)

    def project(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        """Leave the constraints to the inner parametrization: the sigmoid needs none."""
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
        raise ValueError(f"bounds must be (lowest, highest), the lower one first, got {bounds!r}.")
    if finite and not (np.isfinite(lowest).all() and np.isfinite(highest).all()):
        raise ValueError(f"bounds must be finite, got {bounds!r}.")
    return low, high
