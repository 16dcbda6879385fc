from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Inexact

from .._answers import cites
from .._axes import advise_on_axes, advise_on_size, as_shape
from .._compiled import warn_of_deadlock
from .._function import AbstractFunction
from .._precision import in_single_precision
from .._rules import checked, INDEX, NUMBER, POSITIVE, SIZES, STEPS, Whole
from ._fourier import crop_spectrum, pad_spectrum
from ._steerable_masks import angular_mask, frequency_grid, level_shape, radial_masks
from ._steerable_tensor import convert_pyr_to_tensor, convert_tensor_to_pyr


HIGHPASS = "residual_highpass"
LOWPASS = "residual_lowpass"


_CITATION = """@inproceedings{simoncelli1995steerable,
  author = {Simoncelli, Eero P. and Freeman, William T.},
  title = {The Steerable Pyramid: A Flexible Architecture for Multi-Scale Derivative Computation},
  booktitle = {IEEE International Conference on Image Processing},
  volume = {3}, pages = {444--447}, year = {1995},
  doi = {10.1109/ICIP.1995.537667}
}"""


@cites(_CITATION)
class SteerablePyramidFreq(AbstractFunction):
    """The steerable pyramid, a multi-scale and multi-orientation decomposition of an image.

    The image is divided, in the Fourier domain, into a highpass residual, ``num_scales`` octaves of
    ``num_orientations`` oriented bands each, and a lowpass residual (Simoncelli and Freeman, "The
    steerable pyramid: a flexible architecture for multi-scale derivative computation", ICIP 1995;
    the complex pyramid is that of Portilla and Simoncelli, IJCV 2000). The oriented filters are
    directional derivatives of order ``order``, so a response at any angle is a weighted sum of the
    computed responses. ``recon_pyr`` inverts the transform at every image size, including odd and
    prime sizes. Borders are circular.

    A scale holds ``ceil(n / 2**scale)`` samples along an axis. Filters keep their frequencies in
    cycles per pixel even if the size does not divide. Leading axes of the image are kept.

    Attributes:
        image_shape: Height and width of the images.
        num_scales: Number of octaves.
        num_orientations: Number of bands at each scale, ``order + 1``.
        order: Order of the directional derivatives.
        is_complex: Whether bands are complex.
        downsample: Whether coarser scales are smaller.
        tight_frame: Whether energy is preserved.

    Example:
        >>> import jax
        >>> from plenoptax.process import SteerablePyramidFreq
        >>> image = jax.random.uniform(jax.random.key(0), (1, 37, 53))
        >>> pyramid = SteerablePyramidFreq(image.shape[-2:], height=2)
        >>> coefficients = pyramid(image)
        >>> list(coefficients)
        ['residual_highpass', 0, 1, 'residual_lowpass']
        >>> coefficients[1].shape
        (1, 4, 19, 27)
        >>> bool(abs(pyramid.recon_pyr(coefficients) - image).max() < 1e-6)
        True
    """

    image_shape: tuple[int, int] = eqx.field(static=True)
    num_scales: int = eqx.field(static=True)
    num_orientations: int = eqx.field(static=True)
    order: int = eqx.field(static=True)
    is_complex: bool = eqx.field(static=True)
    downsample: bool = eqx.field(static=True)
    tight_frame: bool = eqx.field(static=True)
    _highpass: Array
    _lowpass: tuple[Array, ...]
    _oriented: tuple[Array, ...]
    _analytic: tuple[Array, ...]

    @checked(image_shape=SIZES, height=Whole(0, words=("auto",)), order=STEPS, twidth=POSITIVE)
    def __init__(
        self,
        image_shape: Sequence[int],
        height: Literal["auto"] | int = "auto",
        order: int = 3,
        twidth: int | float = 1,
        is_complex: bool = False,
        downsample: bool = True,
        tight_frame: bool = False,
    ):
        """Compute the filters.

        Args:
            image_shape: Height and width of the images, in pixels.
            height: Number of scales, at most ``floor(log2(min(image_shape))) - 2``. "auto" gives
                this maximum: the coarsest band then still has 8 samples along an axis.
            order: Order of the directional derivatives, 0 to 15; there are ``order + 1``
                orientations. Order 0 is isotropic.
            twidth: Width of the transitions between scales, in octaves. Wider transitions ring less
                and overlap more; reconstruction is exact at any width.
            is_complex: Whether bands are complex. The imaginary part is the quadrature partner of
                the real part, so the magnitude is a local amplitude and does not depend on phase.
            downsample: Whether to sample scale ``s`` at ``2**-s`` of the resolution of the image.
                Otherwise every band has the size of the image, and the energies stay the same.
            tight_frame: Whether to preserve energy: the sum of squares of all coefficients is that
                of the image. Otherwise values of a band grow fourfold with every downsampling, the
                convention of the first implementations.

        Raises:
            ValueError: If an argument is outside its range, or the pyramid is complex with order 0,
                which has no orientation and so no quadrature partner.
        """
        warn_of_deadlock()
        self.image_shape = as_shape(image_shape)
        self.num_scales = _as_height(height, self.image_shape)
        if order > 15:
            raise ValueError(f"order must be an integer from 0 to 15, got {order}.")
        if is_complex and order == 0:
            raise ValueError(
                "order must be at least 1 for a complex pyramid, got 0. Use order=1 or higher, or "
                "is_complex=False."
            )
        self.order = order
        self.num_orientations = self.order + 1
        self.is_complex = is_complex
        self.downsample = downsample
        self.tight_frame = tight_frame

        scales = range(self.num_scales)
        lowpass, self._highpass = self._radial_masks(0, twidth)
        coarser = [self._radial_masks(scale + 1, twidth)[0] for scale in scales]
        self._lowpass = (lowpass, *coarser)
        self._oriented = tuple(self._oriented_mask(scale, twidth) for scale in scales)
        analytic = scales if is_complex else []
        self._analytic = tuple(self._oriented_mask(scale, twidth, True) for scale in analytic)

    @property
    def scales(self) -> list[int | str]:
        """The keys of the coefficients, from coarse to fine."""
        return [LOWPASS, *reversed(range(self.num_scales)), HIGHPASS]

    @in_single_precision("image")
    def __call__(
        self,
        image: Float[Array, "*batch height width"],
        scales: Sequence[int | str] | int | str | None = None,
    ) -> OrderedDict[int | str, Inexact[Array, "..."]]:
        """Decompose an image.

        Args:
            image: Image of ``image_shape``, after any leading axes.
            scales: The levels to compute: any of ``self.scales``, in any order. Default: all.

        Returns:
            Coefficients from fine to coarse, under the keys "residual_highpass", 0, 1, ...,
            "residual_lowpass". Bands have shape ``(*batch, num_orientations, height, width)``.
            Residuals are real and have shape ``(*batch, height, width)``. The dictionary is
            ordered, because JAX cannot sort keys of two types; ``jit``, ``vmap`` and ``grad``
            preserve the order.

        Raises:
            ValueError: If the image has another size, or a scale does not exist.
        """
        if image.shape[-2:] != self.image_shape:
            raise ValueError(
                f"The image must have the height and width the pyramid was built for, "
                f"{self.image_shape}, got an image of shape {image.shape}."
                f"{advise_on_axes(image.shape)}"
            )
        wanted = _selection(scales, self.scales, "scales")
        bands = [scale for scale in range(self.num_scales) if scale in wanted]
        depth = self.num_scales if LOWPASS in wanted else max(bands, default=-1) + 1
        coefficients = OrderedDict()
        transform = jnp.fft.fft2 if self.is_complex else jnp.fft.rfft2
        spectrum = transform(image, norm=self._norm)
        if HIGHPASS in wanted:
            coefficients[HIGHPASS] = self._real_image(_masked(spectrum, self._highpass), 0)
        spectrum = _masked(spectrum, self._lowpass[0])
        for scale in range(depth):
            if scale in bands:
                coefficients[scale] = self._bands(spectrum, scale)
            coarser = crop_spectrum(spectrum, self._shape(scale + 1), half=not self.is_complex)
            spectrum = _masked(coarser, self._lowpass[scale + 1]) * self._gain
        if LOWPASS in wanted:
            coefficients[LOWPASS] = self._real_image(spectrum, self.num_scales)
        return coefficients

    @in_single_precision("pyr_coeffs")
    def recon_pyr(
        self,
        pyr_coeffs: dict[int | str, Inexact[Array, "..."]],
        levels: Sequence[int | str] | int | str = "all",
        bands: Sequence[int] | int | Literal["all"] = "all",
    ) -> Float[Array, "*batch height width"]:
        """Reconstruct an image from its coefficients, or from some of them.

        With all levels and bands this inverts the transform. The filters of the inverse are real,
        so the imaginary parts of complex bands are not used.

        Args:
            pyr_coeffs: Coefficients of an image, by level.
            levels: The levels to use: any of ``self.scales``. Only these must be present.
            bands: The orientations to use: integers from 0 to ``num_orientations - 1``.

        Returns:
            The image, of shape ``(*batch, height, width)``.

        Raises:
            ValueError: If a level or band does not exist, is missing or has the wrong size.
        """
        wanted = _selection(levels, self.scales, "levels")
        chosen = np.asarray(_selection(bands, range(self.num_orientations), "bands"))
        if len(chosen) == self.num_orientations:
            chosen = slice(None)
        self._check_coefficients(pyr_coeffs, wanted)
        parts = []
        if HIGHPASS in wanted:
            parts.append(_masked(self._spectrum(pyr_coeffs[HIGHPASS]), self._highpass))
        coarser = self._spectrum(pyr_coeffs[LOWPASS]) if LOWPASS in wanted else None
        for scale in reversed(range(self.num_scales)):
            level = []
            if coarser is not None:
                coarser = _masked(coarser, self._lowpass[scale + 1]) / self._gain
                level.append(pad_spectrum(coarser, self._shape(scale), half=True))
            if scale in wanted:
                spectrum = self._spectrum(pyr_coeffs[scale][..., chosen, :, :].real)
                oriented = _masked(spectrum, self._oriented[scale][chosen])
                level.append(oriented.sum(-3) / self._phase)
            coarser = sum(level[1:], level[0]) if level else None
        if coarser is not None:
            parts.append(_masked(coarser, self._lowpass[0]))
        return self._real_image(sum(parts[1:], parts[0]), 0)

    @checked(angles=NUMBER)
    @in_single_precision("pyr_coeffs")
    def steer_coeffs(
        self,
        pyr_coeffs: dict[int | str, Inexact[Array, "..."]],
        angles: float
        | Sequence[int | float]
        | Float[Array, "*angles"]
        | Float[np.ndarray, "*angles"],
        even_phase: bool = True,
    ) -> tuple[
        OrderedDict[int, Inexact[Array, "*batch angles height width"]],
        OrderedDict[int, Float[Array, "orientations angles"]],
    ]:
        """Compute the responses of the same filters rotated to any angles.

        Responses of a real pyramid, and the real parts of a complex one, are weighted sums of the
        bands: this makes the pyramid steerable (Freeman and Adelson, "The design and use of
        steerable filters", PAMI 1991). Quadrature partners have no finite set of weights, so the
        imaginary part is computed from the steered real part, exactly, in the Fourier domain.

        Args:
            pyr_coeffs: Coefficients. Residuals are ignored, and scales may be missing.
            angles: One or more angles in radians. ``pi * k / num_orientations`` gives band ``k``.
            even_phase: Whether the angular harmonics of the filters are in cosine phase at the
                angle. Otherwise they are in sine phase, which gives filters other than those of the
                pyramid.

        Returns:
            ``(resteered_coeffs, resteering_weights)``: the bands by scale, with angles instead of
            orientations, and the weights used, by scale.

        Raises:
            ValueError: If coefficients have the wrong size.
        """
        present = [scale for scale in range(self.num_scales) if scale in pyr_coeffs]
        self._check_coefficients(pyr_coeffs, present)
        steered, weights = OrderedDict(), OrderedDict()
        for scale in present:
            bands = pyr_coeffs[scale]
            angle = jnp.atleast_1d(jnp.asarray(angles, bands.real.dtype))
            weights[scale] = self._steering_weights(angle, even_phase)
            steered[scale] = jnp.einsum("...khw,ka->...ahw", bands.real, weights[scale])
            if self.is_complex:
                quadrature = self._quadrature(steered[scale], angle, scale)
                steered[scale] = lax.complex(steered[scale], quadrature)
        return steered, weights

    convert_pyr_to_tensor = staticmethod(convert_pyr_to_tensor)
    convert_tensor_to_pyr = staticmethod(convert_tensor_to_pyr)

    @property
    def _norm(self) -> str:
        return "ortho" if self.tight_frame else "backward"

    @property
    def _gain(self) -> float:
        # Without downsampling, this keeps the band energies of the downsampled pyramid.
        return 1.0 if self.downsample or self.tight_frame else 2.0

    @property
    def _phase(self) -> complex:
        amplitude = 1 / np.sqrt(2) if self.is_complex and self.tight_frame else 1
        return complex((-1j) ** self.order * amplitude)

    def _shape(self, scale: int) -> tuple[int, int]:
        return level_shape(self.image_shape, scale if self.downsample else 0)

    def _grid(self, scale: int, half: bool) -> tuple[np.ndarray, np.ndarray]:
        return frequency_grid(self._shape(scale), self.image_shape, half)

    def _radial_masks(self, octave: int, twidth: int | float) -> tuple[Array, Array]:
        radius, _ = self._grid(octave, half=not self.is_complex)
        lowpass, highpass = radial_masks(radius, octave, twidth)
        return jnp.asarray(lowpass), jnp.asarray(highpass)

    def _oriented_mask(self, scale: int, twidth: int | float, analytic: bool = False) -> Array:
        radius, angle = self._grid(scale, half=not analytic)
        _, highpass = radial_masks(radius, scale + 1, twidth)
        orientations = np.arange(self.num_orientations)[:, None, None]
        return jnp.asarray(highpass * angular_mask(angle[None], self.order, orientations, analytic))

    def _bands(self, spectrum: Array, scale: int) -> Array:
        spectrum = spectrum[..., None, :, :] * self._phase
        if self.is_complex:
            return jnp.fft.ifft2(_masked(spectrum, self._analytic[scale]), norm=self._norm)
        return self._real_image(_masked(spectrum, self._oriented[scale]), scale)

    def _spectrum(self, level: Array) -> Array:
        return jnp.fft.rfft2(level, norm=self._norm)

    def _real_image(self, spectrum: Array, scale: int) -> Array:
        height, width = self._shape(scale)
        half = spectrum[..., : width // 2 + 1]
        return jnp.fft.irfft2(half, s=(height, width), norm=self._norm)

    def _quadrature(self, steered: Array, angle: Array, scale: int) -> Array:
        _, grid = self._grid(scale, half=True)
        difference = jnp.asarray(grid, angle.dtype)[None] - angle[:, None, None]
        return self._real_image(
            -1j * _masked(self._spectrum(steered), jnp.sign(jnp.cos(difference))), scale
        )

    def _steering_weights(self, angle: Array, even_phase: bool) -> Array:
        num = self.num_orientations
        # A derivative of this order has the angular harmonics order, order - 2, ... At equally
        # spaced angles these are orthogonal, so the weights need no matrix inverse.
        harmonics = np.arange(1 - num % 2, num, 2)
        norms = np.where(harmonics == 0, 1, 2) / num
        shifts = np.where(even_phase | (harmonics == 0), 0, np.pi / 2)
        norms, harmonics, shifts, positions = (
            jnp.asarray(values, angle.dtype)
            for values in (norms, harmonics, shifts, np.pi * np.arange(num) / num)
        )
        difference = angle[None, :] - positions[:, None]
        waves = jnp.cos(harmonics[:, None, None] * difference[None] + shifts[:, None, None])
        return jnp.sum(norms[:, None, None] * waves, axis=0)

    def _check_coefficients(self, pyr_coeffs: dict, wanted: Sequence[int | str]):
        for key in wanted:
            if key not in pyr_coeffs:
                raise ValueError(
                    f"The coefficients must have the level {key!r}, got {list(pyr_coeffs)}. "
                    "Compute it, or choose levels that are present."
                )
            if isinstance(key, str):
                expected = self._shape(0 if key == HIGHPASS else self.num_scales)
            else:
                expected = (self.num_orientations, *self._shape(key))
            if pyr_coeffs[key].shape[-len(expected) :] != expected:
                raise ValueError(
                    f"The level {key!r} must end in axes of size {expected}, got an array of shape "
                    f"{pyr_coeffs[key].shape}. Use the pyramid that computed it."
                )


def _masked(spectrum: Array, mask: Array) -> Array:
    mask = mask[..., : spectrum.shape[-1]].astype(spectrum.dtype)
    return spectrum * mask.reshape((1,) * (spectrum.ndim - mask.ndim) + mask.shape)


def _selection(given: Sequence | int | str | None, valid: Sequence, name: str) -> list:
    if given is None or (isinstance(given, str) and given == "all"):
        return list(valid)
    several: Any = [given] if isinstance(given, str) or np.ndim(given) == 0 else given
    chosen = [one if isinstance(one, str) else INDEX(name, one) for one in several]
    if not chosen or any(value not in valid for value in chosen):
        raise ValueError(f"{name} must be one or more of {list(valid)}, got {chosen}.")
    return [value for value in valid if value in chosen]


def _as_height(height: Literal["auto"] | int, image_shape: tuple[int, int]) -> int:
    highest = max(min(image_shape).bit_length() - 3, 0)
    if height == "auto":
        return highest
    if height > highest:
        raise ValueError(
            f"height must be 'auto' or an integer from 0 to {highest} for images of {image_shape}, "
            f"got {height}.{advise_on_size(image_shape)}"
        )
    return height
