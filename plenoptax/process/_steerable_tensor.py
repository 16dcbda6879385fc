from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Inexact


def convert_pyr_to_tensor(
    pyr_coeffs: dict[int | str, Inexact[Array, "..."]], split_complex: bool = False
) -> tuple[Inexact[Array, "*batch maps height width"], tuple]:
    """Stack coefficients of one size along the channels of one array.

    All maps of the first channel come first, from fine to coarse, then those of the second channel.

    Args:
        pyr_coeffs: Coefficients of a pyramid with ``downsample=False``, of images that have a
            channel axis.
        split_complex: Whether to return each complex band as two neighboring maps, real and
            imaginary. Otherwise complex bands make the array complex. A residual is always one map.

    Returns:
        The array, and the arguments of ``convert_tensor_to_pyr``, its inverse: ``(num_channels,
        pyr_keys, pack_info, split_complex_pack_info)``, static and hashable.

    Raises:
        ValueError: If levels differ in size, have no channel axis, or have no complex band to
            split.

    Example:
        >>> import jax
        >>> from plenoptax.process import SteerablePyramidFreq
        >>> image = jax.random.uniform(jax.random.key(0), (3, 32, 32))
        >>> pyramid = SteerablePyramidFreq((32, 32), height=2, order=1, downsample=False)
        >>> tensor, info = pyramid.convert_pyr_to_tensor(pyramid(image))
        >>> tensor.shape
        (18, 32, 32)
        >>> list(pyramid.convert_tensor_to_pyr(tensor, *info))
        ['residual_highpass', 0, 1, 'residual_lowpass']
    """
    sizes = {key: level.shape[-2:] for key, level in pyr_coeffs.items()}
    if len(set(sizes.values())) != 1:
        raise ValueError(
            f"Stacked levels must all have the same size, got {sizes}. Build the pyramid with "
            "downsample=False."
        )
    keys = tuple(pyr_coeffs)
    bands = [key for key in keys if not isinstance(key, str)]
    if split_complex and bands and not jnp.iscomplexobj(pyr_coeffs[bands[0]]):
        raise ValueError(
            "Bands must be complex with split_complex=True, got real bands. Use "
            "split_complex=False, or build the pyramid with is_complex=True."
        )
    levels = [
        level[..., None, :, :] if isinstance(key, str) else level
        for key, level in pyr_coeffs.items()
    ]
    if min(level.ndim for level in levels) < 4:
        raise ValueError(
            "The coefficients must have a channel axis, got the shapes "
            f"{[level.shape for level in pyr_coeffs.values()]}. Decompose image[None]."
        )
    pack_info = tuple(level.shape[-3] for level in levels)
    split = bool(split_complex and bands)
    if split:
        levels = [_split_complex(level) for level in levels]
    split_pack_info = tuple(level.shape[-3] for level in levels) if split else False
    dtype = next((level.dtype for level in levels if jnp.iscomplexobj(level)), levels[0].dtype)
    packed = jnp.concatenate([level.astype(dtype) for level in levels], axis=-3)
    *batch, num_channels, _, height, width = packed.shape
    tensor = packed.reshape(*batch, -1, height, width)
    return tensor, (num_channels, keys, pack_info, split_pack_info)


def convert_tensor_to_pyr(
    pyr_tensor: Inexact[Array, "*batch maps height width"],
    num_channels: int,
    pyr_keys: Sequence[int | str],
    pack_info: Sequence[int],
    split_complex_pack_info: Sequence[int] | Literal[False],
) -> OrderedDict[int | str, Inexact[Array, "..."]]:
    """Undo ``convert_pyr_to_tensor``.

    Args:
        pyr_tensor: The array.
        num_channels: Number of channels of the image.
        pyr_keys: Keys of the levels.
        pack_info: Number of maps of each channel at each level.
        split_complex_pack_info: Number of maps after splitting, or False if nothing was split.

    Returns:
        The coefficients, from fine to coarse.
    """
    *batch, _, height, width = pyr_tensor.shape
    packed = pyr_tensor.reshape(*batch, num_channels, -1, height, width)
    ends = np.cumsum(split_complex_pack_info or pack_info)[:-1]
    coefficients = OrderedDict()
    for key, level in zip(pyr_keys, jnp.split(packed, ends, axis=-3), strict=True):
        if isinstance(key, str):
            coefficients[key] = level[..., 0, :, :].real
        elif split_complex_pack_info:
            coefficients[key] = lax.complex(level[..., ::2, :, :], level[..., 1::2, :, :])
        else:
            coefficients[key] = level
    return coefficients


def _split_complex(level: Array) -> Array:
    if not jnp.iscomplexobj(level):
        return level
    *batch, num, height, width = level.shape
    pairs = jnp.stack([level.real, level.imag], axis=-3)
    return pairs.reshape(*batch, 2 * num, height, width)
