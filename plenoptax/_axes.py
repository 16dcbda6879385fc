"""Messages about images whose axes are not in the order (channel, height, width)."""

import contextlib
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ._warnings import warn_caller


# Typical sizes of the last axis of an image read by another library: gray, RGB, RGB with opacity.
_CHANNELS = (1, 3, 4)


def has_channels_last(shape: Sequence[int]) -> bool:
    """Return whether a shape looks like (height, width, channel), after any leading axes.

    An image of 3 columns has such a shape too, so this alone is not a reason to reject it.
    """
    return len(shape) > 2 and shape[-1] in _CHANNELS and min(shape[-3:-1]) > max(_CHANNELS)


def advise_on_axes(shape: Sequence[int]) -> str:
    """Return a final sentence for a message that says how to move the channels, or nothing."""
    if not has_channels_last(shape):
        return ""
    before = {3: "", 4: "image, "}.get(len(shape), "..., ")
    name, to = ("image", 0) if len(shape) == 3 else ("images", len(shape) - 3)
    return (
        f" The shape {tuple(shape)} looks like ({before}height, width, channel). plenoptax needs "
        f"({before}channel, height, width): use jnp.moveaxis({name}, -1, {to})."
    )


def as_shape(value: Any, name: str = "image_shape") -> tuple[int, int]:
    """Return a height and a width as a tuple.

    Raises:
        ValueError: If they are not two numbers.
    """
    if np.shape(value) != (2,):
        advice = advise_on_axes(value) if np.ndim(value) == 1 else ""
        raise ValueError(
            f"{name} must be the height and the width, got {value}."
            f"{advice or ' For an image, give image.shape[-2:].'}"
        )
    height, width = value
    return height, width


def advise_on_size(size: Sequence[int]) -> str:
    """Return such a sentence for two numbers that should be a height and a width."""
    first, second = size
    if second in _CHANNELS and first > max(_CHANNELS):
        return (
            f" If {tuple(size)} is the end of an image shape (height, width, channel): plenoptax "
            "needs (channel, height, width), so use jnp.moveaxis(image, -1, 0)."
        )
    if first in _CHANNELS and second > max(_CHANNELS):
        return (
            f" If {tuple(size)} is the start of an image shape (channel, height, width), give "
            "image.shape[-2:]."
        )
    return ""


@contextlib.contextmanager
def advised_on_axes(shape: Sequence[int]) -> Iterator[None]:
    """Add advice on the order of axes to any error that a user's function raises for an image."""
    try:
        yield
    except Exception as error:
        advice = advise_on_axes(shape)
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        # plenoptax says itself what to do.
        is_ours = frame.f_globals.get("__name__", "").startswith(f"{__package__}.")
        if not advice and len(shape) == 3 and not is_ours:
            advice = (
                f" It was called with one image of shape {tuple(shape)}: channel, height, width, "
                "without a batch axis. For a network that needs another order, move the axes "
                "first, as the transform of plenoptax.models.features.FeatureExtractor does."
            )
        if advice and advice not in str(error):
            error.add_note(advice.strip())
        raise


def warn_of_axes(shape: Sequence[int]) -> None:
    """Warn about a usable image whose last axis looks like channels."""
    if has_channels_last(shape):
        warn_caller(f"The image has {shape[-1]} columns.{advise_on_axes(shape)}")
