from typing import final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._precision import refuse_half
from .._rules import checked, NUMBER
from ._pixels import AbstractParametrization


@final
class Fourier(AbstractParametrization):
    """Fourier coefficients, each in units of the typical amplitude at its frequency.

    The amplitudes of natural images fall with frequency, so a step of equal size for all pixels is
    mostly noise. Here the optimizer moves variables of the same order of magnitude in a natural
    image. Low frequencies, which take longest to converge with pixels, converge first.

    The variable has the shape of the image, of any height and width. At each frequency and its
    opposite it has the real part of the coefficient minus and plus the imaginary part. This is the
    Hartley transform, which is orthogonal and its own inverse. The scale is normalized so that
    equal steps of all variables move the pixels by the same root mean square: learning rates for
    pixels work here too.

    Attributes:
        exponent: The power of the frequency with which amplitudes are assumed to fall.

    References:
        Olah, Mordvintsev and Schubert (2017), Feature Visualization, Distill.

    Example:
        >>> import jax.numpy as jnp
        >>> parametrization = Fourier()
        >>> image = jnp.ones((1, 3, 5)).at[0, 1, 2].set(0.0)
        >>> z = parametrization.encode(image)
        >>> z.shape
        (1, 3, 5)
        >>> bool(jnp.allclose(parametrization.decode(z), image, atol=1e-6))
        True
    """

    exponent: float = eqx.field(static=True)

    @checked(exponent=NUMBER)
    def __init__(self, *, exponent: float = 1.0):
        """Choose the scale.

        Args:
            exponent: The power of the frequency with which amplitudes are assumed to fall. By
                default 1, which is about that of photographs. With 0 all frequencies have the same
                scale.
        """
        self.exponent = exponent

    def encode(self, image: Float[Array, "*batch height width"]) -> Float[Array, "..."]:
        """Transform the image, and divide by the scale."""
        refuse_half("The image of a parametrization", image.dtype)
        return _hartley(image) / self._scale(image)

    def decode(self, z: Float[Array, "*batch height width"]) -> Float[Array, "..."]:
        """Multiply the variable by the scale, and transform back."""
        refuse_half("The variable of a parametrization", z.dtype)
        return _hartley(z * self._scale(z))

    def project(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return the variable, which has no constraints."""
        return z

    def _scale(self, like: Array) -> Array:
        height, width = like.shape[-2:]
        frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
        scale = np.maximum(frequency, 1 / max(height, width)) ** -self.exponent
        scale /= np.sqrt(np.mean(scale**2))
        return jnp.broadcast_to(jnp.asarray(scale, like.dtype), like.shape)


def _hartley(x: Array) -> Array:
    spectrum = jnp.fft.fft2(x, norm="ortho")
    return spectrum.real - spectrum.imag
