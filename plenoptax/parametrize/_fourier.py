from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._precision import refuse_half
from .._rules import checked, COUNT, NUMBER
from .._safe import safe_sqrt
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


@final
class FixedSpectrum(AbstractParametrization):
    """Images whose amplitude at each frequency is prescribed; only the phases are free.

    Images of objectives, such as the response of a unit, otherwise fill with high frequencies that
    natural images do not have. The variable is an image, of which only the phases are used. After
    each step it is replaced by the image that it represents. Values may leave [0, 1]; the report
    says how many do.

    Attributes:
        spectrum: The amplitudes in the format of ``rfft2``, for an image of its height and width.
            The first one is the sum of the pixels, and keeps its sign.
        width: The width of the images, which the format leaves open.

    References:
        Fel et al. (2023), Unlocking feature visualization for deeper networks with magnitude
        constrained optimization, NeurIPS.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import plenoptax as plx
        >>> image = plx.data.grass()
        >>> parametrization = FixedSpectrum.from_images(image)
        >>> other = parametrization.decode(jax.random.normal(jax.random.key(0), image.shape))
        >>> amplitudes = jnp.abs(jnp.fft.fft2(jnp.stack([image, other])))
        >>> bool(jnp.allclose(*amplitudes, atol=1e-6 * amplitudes.max()))
        True
    """

    spectrum: Float[Array, "*batch height half_width"]
    width: int = eqx.field(static=True)

    @checked(width=COUNT)
    def __init__(self, spectrum: Float[Array, "*batch height half_width"], *, width: int):
        """Prescribe amplitudes; `from_images` measures them.

        Args:
            spectrum: The amplitudes in the format of ``rfft2``.
            width: The width of the images.

        Raises:
            ValueError: If the spectrum is not that of images of this width.
        """
        if spectrum.shape[-1] != width // 2 + 1:
            raise ValueError(
                f"spectrum must have {width // 2 + 1} columns for images {width} pixels wide, got "
                f"shape {spectrum.shape}. Use the format of jax.numpy.fft.rfft2."
            )
        self.spectrum, self.width = spectrum, width

    @classmethod
    def from_images(
        cls, images: Float[Array, "height width"] | Float[Array, "*image channel height width"]
    ) -> "FixedSpectrum":
        """Prescribe the amplitudes of an image, or their mean over several images.

        Args:
            images: One image, or images along a leading axis, of the size of the result: a target,
                or photographs.

        Raises:
            ValueError: If the number of axes is not 2, 3 or 4.
        """
        images = jnp.asarray(images)
        if images.ndim not in (2, 3, 4):
            raise ValueError(
                "images must be one image (channel, height, width), or several along a leading "
                f"axis, got shape {images.shape}. Reshape them."
            )
        refuse_half("The images of a spectrum", images.dtype)
        spectra = jnp.fft.rfft2(images)
        amplitudes = jnp.abs(spectra).at[..., 0, 0].set(spectra[..., 0, 0].real)
        amplitudes = amplitudes.mean(0) if images.ndim == 4 else amplitudes
        return cls(amplitudes, width=images.shape[-1])

    def encode(self, image: Float[Array, "*batch height width"]) -> Float[Array, "..."]:
        """Return the image with the phases of the given one.

        Raises:
            ValueError: If the image has another size than the spectrum.
        """
        return self.decode(image)

    def decode(self, z: Float[Array, "*batch height width"]) -> Float[Array, "..."]:
        """Return the image with the phases of the variable."""
        refuse_half("The variable of a parametrization", z.dtype)
        shape = self.spectrum.shape[-2], self.width
        if z.shape[-2:] != shape:
            raise ValueError(
                f"The image must have {shape[0]} x {shape[1]} pixels as the spectrum, got "
                f"{z.shape[-2]} x {z.shape[-1]}. Make the spectrum from images of its size."
            )
        found = jnp.fft.rfft2(z)
        size = safe_sqrt(found.real**2 + found.imag**2)
        # A frequency that the variable lacks has the phase 0. The sign of the mean is prescribed.
        has_phase = (size > 0).at[..., 0, 0].set(False)
        divisor = jnp.where(has_phase, size, 1)
        real = jnp.where(has_phase, found.real / divisor, 1)
        imaginary = jnp.where(has_phase, found.imag / divisor, 0)
        spectrum = jnp.broadcast_to(self.spectrum.astype(z.dtype), found.shape)
        parts = jax.lax.complex(spectrum * real, spectrum * imaginary)
        return jnp.fft.irfft2(parts, s=shape)

    def project(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return the image that the variable represents, which represents itself."""
        return self.decode(z)


def _hartley(x: Array) -> Array:
    spectrum = jnp.fft.fft2(x, norm="ortho")
    return spectrum.real - spectrum.imag
