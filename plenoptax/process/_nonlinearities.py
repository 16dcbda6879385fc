from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TypeAlias

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Complex, Float, Inexact

from .._precision import in_single_precision
from .._rules import checked, NOT_NEGATIVE
from .._safe import safe_sqrt
from ._convolution import blur_downsample, upsample_blur
from ._signal import refuse_negative


# Ordered, because JAX cannot sort the keys of a pyramid, which are numbers and strings.
Bands: TypeAlias = OrderedDict[int | str | tuple[int, int], Inexact[Array, "..."]]
Coefficients: TypeAlias = Mapping[int | str | tuple[int, int], Inexact[Array, "..."]]


@in_single_precision("x")
def rectangular_to_polar(
    x: Inexact[Array, "*shape"],
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Compute the amplitude and phase of a complex signal.

    Where the amplitude is zero, the phase and the gradients of both are zero. The phase and its
    gradient are also zero where the square of the amplitude is below the smallest normal number
    (1e-38 in float32).

    Args:
        x: Complex signal, such as bands of a complex steerable pyramid. The phase of a real signal
            is 0 or pi.

    Returns:
        ``(amplitude, phase)``; phases are in (-pi, pi].

    Example:
        >>> import jax.numpy as jnp
        >>> amplitude, phase = rectangular_to_polar(jnp.asarray([3j, -2.0, 0.0]))
        >>> amplitude
        Array([3., 2., 0.], dtype=float32)
        >>> [f"{angle:.2f}" for angle in phase]
        ['1.57', '3.14', '0.00']
    """
    if not jnp.iscomplexobj(x):
        x = lax.complex(x, jnp.zeros_like(x))
    # Where squares round to zero, the derivative of the phase would not be finite.
    nonzero = _power(x) > jnp.finfo(x.dtype).tiny
    return jnp.abs(x), jnp.angle(jnp.where(nonzero, x, 1))


@in_single_precision("amplitude", "phase")
def polar_to_rectangular(
    amplitude: Float[Array, "*shape"], phase: Float[Array, "*shape"]
) -> Complex[Array, "*shape"]:
    """Compute a complex signal from amplitude and phase, the inverse of ``rectangular_to_polar``.

    Args:
        amplitude: Amplitudes, not negative.
        phase: Phases in radians.

    Raises:
        ValueError: If an amplitude is negative. Amplitudes traced by JAX are not checked.

    Example:
        >>> import jax.numpy as jnp
        >>> polar_to_rectangular(jnp.asarray([2.0, 0.5]), jnp.zeros(2))
        Array([2. +0.j, 0.5+0.j], dtype=complex64)
    """
    refuse_negative(amplitude, "amplitude")
    return lax.complex(amplitude * jnp.cos(phase), amplitude * jnp.sin(phase))


def rectangular_to_polar_dict(
    coeff_dict: Coefficients, residuals: bool = False
) -> tuple[Bands, Bands]:
    """Compute the amplitudes and phases of the bands of a complex pyramid.

    Args:
        coeff_dict: Coefficients by level. Levels whose name begins with "residual" are real and
            have no phase.
        residuals: Whether to keep the residuals, unchanged, among the amplitudes.

    Returns:
        ``(energy, state)``: the amplitudes and the phases, by level.

    Example:
        >>> import jax
        >>> from plenoptax.process import SteerablePyramidFreq
        >>> image = jax.random.uniform(jax.random.key(0), (1, 16, 16))
        >>> coefficients = SteerablePyramidFreq((16, 16), is_complex=True)(image)
        >>> energy, state = rectangular_to_polar_dict(coefficients, residuals=True)
        >>> list(energy), list(state)
        (['residual_highpass', 0, 1, 'residual_lowpass'], [0, 1])
    """
    return _analyze(rectangular_to_polar, coeff_dict, residuals)


def polar_to_rectangular_dict(energy: Coefficients, state: Coefficients) -> Bands:
    """Compute the coefficients of a complex pyramid from its amplitudes and phases.

    Args:
        energy: Amplitudes by level. Any residuals are returned unchanged.
        state: Phases by level.

    Raises:
        ValueError: If an amplitude is negative, or a level has no phase.

    Example:
        >>> import jax
        >>> from plenoptax.process import SteerablePyramidFreq
        >>> image = jax.random.uniform(jax.random.key(0), (1, 16, 16))
        >>> pyramid = SteerablePyramidFreq((16, 16), is_complex=True)
        >>> energy, state = rectangular_to_polar_dict(pyramid(image), residuals=True)
        >>> again = pyramid.recon_pyr(polar_to_rectangular_dict(energy, state))
        >>> bool(abs(again - image).max() < 1e-5)
        True
    """
    return _synthesize(polar_to_rectangular, energy, state, True)


@checked(epsilon=NOT_NEGATIVE)
@in_single_precision("x")
def local_gain_control(
    x: Inexact[Array, "*batch height width"], epsilon: int | float = 1e-8
) -> tuple[Float[Array, "*batch rows columns"], Inexact[Array, "*batch height width"]]:
    """Divide a signal by its local amplitude, the analog of amplitude and phase for real signals.

    The amplitude is the square root of the blurred power, at half the height and width. Where an
    entire neighborhood is zero, both results are zero and the gradients are finite.

    Args:
        x: Signal, real or complex.
        epsilon: Added to the amplitude before the division, in the units of the signal.

    Returns:
        ``(norm, direction)``: the amplitude, at half the size rounded up, and the signal divided
        by it.

    Example:
        >>> import jax
        >>> band = jax.random.normal(jax.random.key(0), (4, 9, 16))
        >>> norm, direction = local_gain_control(band)
        >>> norm.shape, direction.shape
        ((4, 5, 8), (4, 9, 16))
    """
    norm = safe_sqrt(blur_downsample(_power(x)))
    return norm, x * jnp.asarray(1 / _gain(norm, x, epsilon), x.dtype)


@checked(epsilon=NOT_NEGATIVE)
@in_single_precision("norm", "direction")
def local_gain_release(
    norm: Float[Array, "*batch rows columns"],
    direction: Inexact[Array, "*batch height width"],
    epsilon: int | float = 1e-8,
) -> Inexact[Array, "*batch height width"]:
    """Multiply a signal by a local amplitude, the inverse of ``local_gain_control``.

    Args:
        norm: Local amplitude, at half the size rounded up.
        direction: Signal of unit local amplitude.
        epsilon: The value that ``local_gain_control`` added to the amplitude.

    Example:
        >>> import jax
        >>> band = jax.random.normal(jax.random.key(0), (4, 9, 16))
        >>> again = local_gain_release(*local_gain_control(band))
        >>> bool(abs(again - band).max() < 1e-5)
        True
    """
    return direction * jnp.asarray(_gain(norm, direction, epsilon), direction.dtype)


def local_gain_control_dict(
    coeff_dict: Coefficients, residuals: bool = True
) -> tuple[Bands, Bands]:
    """Divide the bands of a pyramid by their local amplitudes.

    Args:
        coeff_dict: Coefficients by level, real or complex.
        residuals: Whether to keep the levels whose name begins with "residual", unchanged, among
            the amplitudes. Otherwise they are left out.

    Returns:
        ``(energy, state)``: the amplitudes and the divided bands, by level.

    Example:
        >>> import jax
        >>> from plenoptax.process import SteerablePyramidFreq
        >>> image = jax.random.uniform(jax.random.key(0), (1, 16, 16))
        >>> energy, state = local_gain_control_dict(SteerablePyramidFreq((16, 16))(image))
        >>> energy[0].shape, state[0].shape
        ((1, 4, 8, 8), (1, 4, 16, 16))
    """
    return _analyze(local_gain_control, coeff_dict, residuals)


def local_gain_release_dict(
    energy: Coefficients, state: Coefficients, residuals: bool = True
) -> Bands:
    """Compute the coefficients of a pyramid from local amplitudes and divided bands.

    Args:
        energy: Amplitudes by level.
        state: Divided bands by level.
        residuals: Whether to return the residuals among the amplitudes, unchanged.

    Raises:
        ValueError: If a level has no divided band.

    Example:
        >>> import jax
        >>> from plenoptax.process import SteerablePyramidFreq
        >>> image = jax.random.uniform(jax.random.key(0), (1, 16, 16))
        >>> pyramid = SteerablePyramidFreq((16, 16))
        >>> again = local_gain_release_dict(*local_gain_control_dict(pyramid(image)))
        >>> bool(abs(pyramid.recon_pyr(again) - image).max() < 1e-5)
        True
    """
    return _synthesize(local_gain_release, energy, state, residuals)


def _power(x: Array) -> Array:
    return x.real**2 + x.imag**2 if jnp.iscomplexobj(x) else x**2


def _gain(norm: Array, direction: Array, epsilon: int | float) -> Array:
    odd = [size % 2 for size in direction.shape[-2:]]
    return upsample_blur(norm, odd) + epsilon


def _is_residual(key: int | str | tuple[int, int]) -> bool:
    return isinstance(key, str) and key.startswith("residual")


def _analyze(function: Callable, coeff_dict: Coefficients, residuals: bool) -> tuple[Bands, Bands]:
    energy, state = OrderedDict(), OrderedDict()
    for key, band in coeff_dict.items():
        if not _is_residual(key):
            energy[key], state[key] = function(band)
        elif residuals:
            energy[key] = band
    return energy, state


def _synthesize(
    function: Callable, energy: Coefficients, state: Coefficients, residuals: bool
) -> Bands:
    bands = OrderedDict()
    for key, band in energy.items():
        if _is_residual(key):
            if residuals:
                bands[key] = band
        elif key in state:
            bands[key] = function(band, state[key])
        else:
            raise ValueError(
                f"state must have the levels of energy, {list(energy)} without the residuals, got "
                f"{list(state)}."
            )
    return bands
