from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from .._axes import advise_on_axes, warn_of_axes


PlotComplex = Literal["rectangular", "polar", "logpolar"]

_FRAMES_IN_A_ROW = 6


class Panel(NamedTuple):
    """One picture of a figure.

    Attributes:
        pixels: The values, of shape (height, width), or (height, width, 3 or 4) for a color.
        kind: Whether the values are plain numbers, angles in radians, or colors.
        label: The part of a complex number that the values are, ``""`` for real numbers.
        size: The height and width of each frame if the picture is a strip of frames; None if it is
            one image.
    """

    pixels: np.ndarray
    kind: Literal["plain", "phase", "color"]
    label: str
    size: tuple[int, int] | None = None


def split_into_panels(
    image: Any,
    plot_complex: PlotComplex,
    batch_idx: int | None,
    channel_idx: int | None,
    as_rgb: bool,
) -> list[Panel]:
    """Split images into panels, one for each axes.

    Args:
        image: An image (height, width) or (channel, height, width), a batch (batch, channel,
            height, width), or a list of such, of any sizes.
        plot_complex: The kind of the two real pictures that show a complex one.
        batch_idx: The image of the batch, None for all of them.
        channel_idx: The channel, None for all of them.
        as_rgb: Whether the channels are those of one color picture.

    Returns:
        The panels: for every image, for every channel, for every part of a complex number.

    Raises:
        TypeError: If an image does not hold numbers.
        ValueError: If an image does not have 2 to 4 axes, or if the other arguments do not fit it.
    """
    if plot_complex not in ("rectangular", "polar", "logpolar"):
        raise ValueError(
            "plot_complex must be 'rectangular' (real and imaginary part), 'polar' (amplitude and "
            "phase) or 'logpolar' (logarithm of the amplitude, and phase), got "
            f"{plot_complex!r}."
        )
    images = list(image) if isinstance(image, list | tuple) else [image]
    if not images:
        raise ValueError("The list of images must hold at least one image, got an empty list.")
    panels = []
    for one in images:
        if not as_rgb:
            warn_of_axes(np.shape(one))
        batch = _select(_as_batch(one), batch_idx, channel_idx, as_rgb)
        pictures = (
            [np.moveaxis(colors, 0, -1) for colors in batch]
            if as_rgb
            else batch.reshape(-1, *batch.shape[-2:])
        )
        for picture in pictures:
            panels += _parts(picture, plot_complex, as_rgb)
    return panels


def panels_of_image(
    image: Any,
    channel_idx: int | None = None,
    as_rgb: bool | None = None,
    batch_idx: int | None = None,
    plot_complex: PlotComplex = "rectangular",
) -> list[Panel]:
    """Return the panel of an image, or two panels of a complex one, without leaving anything out.

    A sequence of images is one panel, with the frames side by side.

    Args:
        image: An image (height, width) or (channel, height, width), or a sequence (time, channel,
            height, width) of such.
        channel_idx: The channel.
        as_rgb: Whether to show the channels as colors; None does so for 3 or 4 real channels.
        batch_idx: The only frame of a sequence to show.
        plot_complex: The kind of the two real pictures that show a complex one.

    Raises:
        ValueError: If there are several channels, which are not colors, and none was chosen.
    """
    array = as_numbers(image)
    channels = array.shape[-3] if array.ndim > 2 else 1
    if as_rgb is None:
        as_rgb = channels in (3, 4) and channel_idx is None and not np.iscomplexobj(array)
    if channels > 1 and not as_rgb and channel_idx is None:
        raise ValueError(
            "The image must have one channel, or channels that are shown as colors, got "
            f"{channels} channels. Choose one with channel_idx."
        )
    panels = split_into_panels(array, plot_complex, batch_idx, channel_idx, as_rgb)
    if array.ndim < 4 or batch_idx is not None:
        return panels
    parts = len(panels) // len(array)
    return [_strip(panels[part::parts]) for part in range(parts)]


def one_panel(image: Any, channel_idx: int | None, as_rgb: bool | None) -> Panel:
    """Return the panel of an image of real numbers; see `panels_of_image`.

    Raises:
        ValueError: If the image is complex, or for the reasons of `panels_of_image`.
    """
    panels = panels_of_image(image, channel_idx, as_rgb)
    if len(panels) > 1:
        raise ValueError(
            "The image must be real to be shown in one axes, got a complex image. Give "
            "process_image= a function that returns real numbers, such as jax.numpy.abs, or show "
            "both parts with imshow."
        )
    return panels[0]


def _strip(frames: Sequence[Panel]) -> Panel:
    """Arrange the frames of a sequence side by side in rows, with gaps of NaN."""
    pixels = np.stack([frame.pixels for frame in frames])
    count, height, width, *colors = pixels.shape
    rows, columns, gap = _grid_of_strip((count, height, width))
    sheet = np.full((rows * columns, height + gap, width + gap, *colors), np.nan)
    sheet[:count, :height, :width] = pixels
    sheet = np.moveaxis(sheet.reshape(rows, columns, *sheet.shape[1:]), 1, 2)
    sheet = sheet.reshape(rows * (height + gap), columns * (width + gap), *colors)
    return frames[0]._replace(pixels=sheet[:-gap, :-gap], size=(height, width))


def size_of_strip(shape: Sequence[int]) -> tuple[int, int]:
    """Return the height and width of a sequence that is shown as a strip of frames."""
    rows, columns, gap = _grid_of_strip(shape)
    return rows * (shape[-2] + gap) - gap, columns * (shape[-1] + gap) - gap


def _grid_of_strip(shape: Sequence[int]) -> tuple[int, int, int]:
    """Return the rows, the columns, and the gap between frames."""
    rows = -(-shape[0] // _FRAMES_IN_A_ROW)
    return rows, -(-shape[0] // rows), max(1, round(max(shape[-2:]) / 40))


def as_numbers(data: Any) -> np.ndarray:
    """Convert data to a NumPy array of a type that matplotlib can draw.

    Raises:
        TypeError: If the data are not numbers.
    """
    array = np.asarray(data)
    if array.dtype.kind in "biufc":
        return array
    try:
        return array.astype(np.float32)
    except (TypeError, ValueError):
        raise TypeError(
            f"The data must be an array of numbers, got {type(data).__name__}. Give a JAX or NumPy "
            "array."
        ) from None


def _as_batch(image: Any) -> np.ndarray:
    array = as_numbers(image)
    if array.ndim not in (2, 3, 4) or array.size == 0:
        raise ValueError(
            "An image must have the shape (height, width), (channel, height, width) or, for a "
            f"batch, (batch, channel, height, width), with no size of 0, got {array.shape}. Show "
            "a signal of a synthesis with synthesis_imshow, other representations with "
            "plot_representation."
        )
    return array.reshape((1,) * (4 - array.ndim) + array.shape)


def _select(
    batch: np.ndarray, batch_idx: int | None, channel_idx: int | None, as_rgb: bool
) -> np.ndarray:
    if as_rgb and channel_idx is not None:
        raise ValueError(
            "channel_idx must be None with as_rgb=True, which shows all channels at once, got "
            f"{channel_idx}. Give only one of the two."
        )
    if as_rgb and (batch.shape[1] not in (3, 4) or np.iscomplexobj(batch)):
        raise ValueError(
            "With as_rgb=True, an image must have 3 channels (red, green, blue), or 4 with "
            f"opacity, of real numbers, got {batch.shape[1]} channels of type {batch.dtype}."
            f"{advise_on_axes(batch.shape[1:] if len(batch) == 1 else batch.shape)}"
        )
    for axis, name, index in ((0, "batch_idx", batch_idx), (1, "channel_idx", channel_idx)):
        if index is None:
            continue
        size = batch.shape[axis]
        if not -size <= index < size:
            raise ValueError(f"{name} must be between {-size} and {size - 1}, got {index}.")
        batch = batch.take([index], axis)
    if min(batch.shape[:2]) > 1 and not as_rgb:
        raise ValueError(
            "A batch must have one image, one channel, or as_rgb=True, got "
            f"{batch.shape[0]} images of {batch.shape[1]} channels each. Choose with batch_idx or "
            "channel_idx, or give as_rgb=True."
        )
    return batch


def _parts(picture: np.ndarray, plot_complex: PlotComplex, as_rgb: bool) -> Sequence[Panel]:
    if as_rgb:
        return [Panel(_colors(picture), "color", "")]
    if not np.iscomplexobj(picture):
        return [Panel(picture.astype(np.float64), "plain", "")]
    if plot_complex == "rectangular":
        return [
            Panel(np.real(picture), "plain", "real"),
            Panel(np.imag(picture), "plain", "imaginary"),
        ]
    phase = Panel(np.angle(picture), "phase", "phase")
    amplitude = np.abs(picture)
    if plot_complex == "polar":
        return [Panel(amplitude, "plain", "amplitude"), phase]
    return [Panel(np.log1p(amplitude), "plain", "log(1+amplitude)"), phase]


def _colors(picture: np.ndarray) -> np.ndarray:
    if picture.dtype == np.uint8:
        return picture / 255.0
    return np.nan_to_num(picture.astype(np.float64))
