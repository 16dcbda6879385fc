import jax.numpy as jnp
from jaxtyping import Array, Float

from .._rules import checked, SIZES


_NUMPY_PAD_MODES = {
    "constant": "constant",
    "reflect": "reflect",
    "replicate": "edge",
    "circular": "wrap",
}


@checked(kernel_size=SIZES, stride=SIZES, dilation=SIZES)
def same_padding(
    image: Float[Array, "*batch height width"],
    kernel_size: int | tuple[int, int],
    stride: int | tuple[int, int] = (1, 1),
    dilation: int | tuple[int, int] = (1, 1),
    pad_mode: str = "circular",
) -> Float[Array, "*batch padded_height padded_width"]:
    """Pad an image so that a correlation with stride 1 gives an image of the same size.

    With a stride ``s`` the correlation gives ``ceil(n / s)`` of ``n`` pixels. Half of the padding,
    rounded down, comes before the image and the rest after it.

    Args:
        image: Image; leading axes are kept.
        kernel_size: Height and width of the kernel, or one number for both.
        stride: Stride of the correlation, vertical and horizontal.
        dilation: Distance between the pixels that the kernel weighs, vertical and horizontal.
        pad_mode: ``"constant"`` (zeros), ``"reflect"`` (mirrored without repeating the edge),
            ``"replicate"`` (the edge) or ``"circular"`` (periodic). Padding wider than the image
            continues to mirror or repeat it.

    Raises:
        ValueError: If ``pad_mode`` is not one of these.

    Example:
        >>> import jax.numpy as jnp
        >>> same_padding(jnp.arange(3.0)[None], (1, 4)).tolist()
        [[2.0, 0.0, 1.0, 2.0, 0.0, 1.0]]
    """
    pads = []
    arguments = (as_pair(kernel_size), as_pair(stride), as_pair(dilation))
    for size, taps, step, spacing in zip(image.shape[-2:], *arguments, strict=True):
        last = (-(-size // step) - 1) * step + (taps - 1) * spacing + 1
        total = max(last - size, 0)
        pads.append((total // 2, total - total // 2))
    return pad(image, pads, pad_mode)


def pad(array: Array, pads: list[tuple[int, int]], pad_mode: str) -> Array:
    """Pad the last axes of an array, one pair of numbers for each."""
    if pad_mode not in _NUMPY_PAD_MODES:
        raise ValueError(f"pad_mode must be one of {list(_NUMPY_PAD_MODES)}, got {pad_mode!r}.")
    pads = [(0, 0)] * (array.ndim - len(pads)) + pads
    return jnp.pad(array, pads, mode=_NUMPY_PAD_MODES[pad_mode])


def as_pair(value: int | tuple[int, int]) -> tuple[int, int]:
    """Return height and width, given a pair or one number for both."""
    return (value, value) if isinstance(value, int) else value
