from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple, TYPE_CHECKING

import numpy as np

from .._rules import checked, COUNT, INDEX
from ._layout import (
    check_zoom,
    create_axes,
    font_size,
    pin_to_pixels,
    place_size,
    relative_zooms,
    root_figure,
    shrink,
    whole_zoom,
    zoom_in_axes,
)
from ._panels import Panel, PlotComplex, split_into_panels
from ._vrange import color_limits, is_symmetric


if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.colors
    import matplotlib.figure
    import matplotlib.image


@checked(batch_idx=INDEX, channel_idx=INDEX, col_wrap=COUNT)
def imshow(
    image: Any,
    vrange: str | Sequence[float | int] = "indep1",
    zoom: float | int | None = None,
    title: str | Sequence[str] | None = "",
    col_wrap: int | None = None,
    ax: "matplotlib.axes.Axes | None" = None,
    cmap: "str | matplotlib.colors.Colormap | None" = None,
    plot_complex: PlotComplex = "rectangular",
    batch_idx: int | None = None,
    channel_idx: int | None = None,
    as_rgb: bool = False,
    **kwargs: Any,
) -> "matplotlib.figure.Figure":
    """Show images pixel by pixel, without interpolation.

    Every sample of an image is a square of ``zoom`` x ``zoom`` pixels of the screen, so that what
    is seen is what was computed. That holds at every resolution of the figure: one that is saved
    at twice the resolution has squares twice as large. At a zoom of 1 / n, a pixel is the mean
    over n x n samples.

    Above each image stand the values which are shown as black and white, its height and width,
    and the zoom.

    Args:
        image: An image (channel, height, width) or (height, width), a batch of them (batch,
            channel, height, width), or a list of such. Each channel is shown by itself. The
            images of a list may differ in size: those that the size of the largest is a multiple
            of are enlarged to it, the others have its zoom.
        vrange: The values shown as the two ends of the color map. A pair ``(minimum, maximum)``,
            or a mode: ``"auto0"`` to ``"auto3"`` give all the images the same limits, ``"indep0"``
            to ``"indep3"`` each its own. With 0, the limits are minus and plus the largest absolute
            value, and the default color map has two hues; with 1, the smallest and the largest
            value; with 2, the mean minus and plus two standard deviations; with 3, the 10th
            percentile lies at 10% of the range and the 90th at 90%.
        zoom: The number of pixels for a sample, an integer or 1 over an integer. The default is the
            largest that gives a figure of a size that fits a screen or, with ``ax``, the largest
            that there is room for.
        title: The title of all images, or a list with one for each. None leaves out the line
            about range and size, too.
        col_wrap: The number of images in a row. The default is all of them, or, where that would
            need a zoom below 1, the number that allows the largest zoom.
        ax: The axes to draw in, for one image. The default makes a figure.
        cmap: The color map. The default is gray; blue and red around white for the modes that end
            with 0; a cyclic one for angles.
        plot_complex: How a complex image is shown, as two: ``"rectangular"`` shows real and
            imaginary part, ``"polar"`` amplitude and phase, ``"logpolar"`` log(1 + amplitude) and
            phase. The phase is always shown from -pi to pi.
        batch_idx: Show this image of the batch only.
        channel_idx: Show this channel only.
        as_rgb: Show three channels as red, green and blue, or four with the opacity as the last.
            Colors are clipped to [0, 1], where ``vrange`` is a pair after it was mapped to [0, 1];
            the modes have no meaning for colors. 8-bit integers are divided by 255.
        **kwargs: Further arguments of ``matplotlib.axes.Axes.imshow``.

    Returns:
        The figure.

    Raises:
        TypeError: If an image does not hold numbers.
        ValueError: If an image is not image-like, if an option has no such value, or if ``ax`` is
            too small or more than one image is to be drawn in it.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> import numpy as np
        >>> checks = np.indices((32, 32)).sum(0) % 2
        >>> figure = imshow([checks, 1 - checks], zoom=2, title=["checks", "their negative"])
        >>> print(figure.axes[1].get_title())
        their negative
        range: [0.0e+00, 1.0e+00]
        dims: [32, 32] * 2
        >>> plt.close(figure)
    """
    panels = split_into_panels(image, plot_complex, batch_idx, channel_idx, as_rgb)
    look = Look(vrange, zoom, title, col_wrap, ax, cmap, kwargs)
    return root_figure(draw_panels(panels, panel_limits(panels, vrange), look)[0].image.axes)


class Look(NamedTuple):
    """How images are shown; the fields are the arguments of `imshow`."""

    vrange: str | Sequence[float | int]
    zoom: float | int | None
    title: str | Sequence[str] | None
    col_wrap: int | None
    ax: "matplotlib.axes.Axes | None"
    cmap: "str | matplotlib.colors.Colormap | None"
    options: dict[str, Any]


class Picture(NamedTuple):
    """An image that was drawn.

    Attributes:
        image: The artist.
        limits: The values shown as the ends of the color map.
        zoom: The number of pixels of the screen for a sample.
    """

    image: "matplotlib.image.AxesImage"
    limits: tuple[float, float]
    zoom: Fraction

    def show(self, panel: Panel) -> None:
        """Show other values of the same shape in the same way."""
        self.image.set_data(_colored(panel, self.limits, self.zoom))


def draw_panels(
    panels: Sequence[Panel],
    limits: Sequence[tuple[float, float]],
    look: Look,
    cells: Sequence[int] | None = None,
    enlarged: Sequence[int] | None = None,
) -> list[Picture]:
    """Draw pictures side by side, or the only one in the axes given.

    Args:
        panels: The pictures.
        limits: For each, the values shown as the ends of the color map.
        look: How they are shown.
        cells: See `create_axes`.
        enlarged: By what each picture is enlarged. The default makes those that fit as large as
            the largest.
    """
    zoom, col_wrap, ax = look.zoom, look.col_wrap, look.ax
    if col_wrap is not None and col_wrap < 1:
        raise ValueError(f"col_wrap was {col_wrap}; it must be at least 1.")
    shapes = [panel.pixels.shape[:2] for panel in panels]
    heads = _heads(panels, look.title)
    exact = None if zoom is None else check_zoom(zoom)
    if ax is None:
        enlarged = enlarged or relative_zooms(shapes)
        sizes = [
            (rows * by, columns * by) for (rows, columns), by in zip(shapes, enlarged, strict=True)
        ]
        expected = _titles(panels, heads, limits, [Fraction(1)] * len(panels))
        axes, common = create_axes(sizes, expected, col_wrap, exact, cells)
        zooms = [whole_zoom(float(common * by)) for by in enlarged]
    elif len(panels) == 1:
        axes, zooms = [ax], [zoom_in_axes(ax, shapes[0], exact)]
    else:
        raise ValueError(
            f"{len(panels)} images were to be shown, but the axes given have room for one; choose "
            "with batch_idx and channel_idx, give as_rgb=True, or leave out ax."
        )
    titles = _titles(panels, heads, limits, zooms)
    points = font_size(titles, max(place_size(one)[0] for one in axes), axes[0].figure.dpi)
    pictures = []
    for one, panel, limit, scale, text in zip(axes, panels, limits, zooms, titles, strict=True):
        cmap = _color_map(look.cmap, panel, look.vrange)
        pictures.append(draw_panel(one, panel, limit, scale, cmap, look.options))
        one.set_title(text, fontsize=points, pad=4)
    return pictures


def panel_limits(
    panels: Sequence[Panel], vrange: str | Sequence[float | int]
) -> list[tuple[float, float]]:
    """What each panel shows as the ends of its color map; the modes do not look at angles."""
    of_plain = iter(color_limits([one.pixels for one in panels if one.kind == "plain"], vrange))
    of_colors = (0.0, 1.0) if isinstance(vrange, str) else tuple(vrange)
    of_kind = {"phase": (-np.pi, np.pi), "color": of_colors}
    return [of_kind[one.kind] if one.kind in of_kind else next(of_plain) for one in panels]


def _heads(panels: Sequence[Panel], title: str | Sequence[str] | None) -> list[str] | None:
    """The first lines of the titles, None where there are to be no titles."""
    if title is None:
        return None
    titles = [title] * len(panels) if isinstance(title, str) else list(title)
    if len(titles) != len(panels):
        raise ValueError(
            f"there were {len(titles)} titles for {len(panels)} images; give one for each, or one "
            "string for all. A channel, and a part of a complex number, counts as an image."
        )
    return [f"{head} {panel.label}".strip() for head, panel in zip(titles, panels, strict=True)]


def _titles(
    panels: Sequence[Panel],
    heads: list[str] | None,
    limits: Sequence[tuple[float, float]],
    zooms: Sequence[Fraction],
) -> list[str]:
    if heads is None:
        return [""] * len(panels)
    titles = []
    for panel, head, limit, zoom in zip(panels, heads, limits, zooms, strict=True):
        height, width = panel.size or panel.pixels.shape[:2]
        facts = f"{range_line(limit)}\ndims: [{height}, {width}] * {zoom}"
        titles.append(f"{head}\n{facts}" if head else facts)
    return titles


def _color_map(
    cmap: "str | matplotlib.colors.Colormap | None",
    panel: Panel,
    vrange: str | Sequence[float | int],
) -> "str | matplotlib.colors.Colormap":
    if cmap is not None:
        return cmap
    if panel.kind == "phase":
        return "twilight"
    return "RdBu_r" if is_symmetric(vrange) else "gray"


def draw_panel(
    axes: "matplotlib.axes.Axes",
    panel: Panel,
    limits: tuple[float, float],
    zoom: Fraction,
    cmap: "str | matplotlib.colors.Colormap",
    options: dict[str, Any],
) -> Picture:
    """Draw one picture in axes, which get its size and lose their frame.

    Args:
        axes: The axes.
        panel: The picture.
        limits: The values shown as the ends of the color map.
        zoom: The number of pixels of the screen for a sample.
        cmap: The color map.
        options: Further arguments of ``matplotlib.axes.Axes.imshow``.
    """
    low, high = limits
    shown = {"cmap": cmap, "vmin": low, "vmax": high, "interpolation": "none"} | options
    image = axes.imshow(_colored(panel, limits, zoom), aspect="auto", **shown)
    pin_to_pixels(image, max(int(zoom), 1))
    axes.set_axis_off()
    return Picture(image, limits, zoom)


def range_line(limits: tuple[float, float]) -> str:
    """The line of a title that tells which values are shown as the ends of the color map."""
    return f"range: [{limits[0]:.1e}, {limits[1]:.1e}]"


def _colored(panel: Panel, limits: tuple[float, float], zoom: Fraction) -> np.ndarray:
    """What matplotlib gets: shrunk at a zoom below 1, and colors within their limits."""
    pixels = panel.pixels
    if panel.kind == "color":
        low, high = limits
        colors = np.clip((pixels[..., :3] - low) / (high - low), 0, 1)
        pixels = np.concatenate([colors, np.clip(pixels[..., 3:], 0, 1)], -1)
    return shrink(pixels, zoom)
