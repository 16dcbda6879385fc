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
    TITLE_HEIGHT,
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

    Every sample of an image is a square of ``zoom`` x ``zoom`` pixels of the screen, so that the
    screen shows exactly the computed values. This holds at every resolution of the figure: a figure
    saved at twice the resolution has squares twice as large. At a zoom of 1 / n, a pixel is the
    mean over n x n samples.

    The lines above each image state the values shown as black and white, its height and width, and
    the zoom.

    Args:
        image: An image (channel, height, width) or (height, width), a batch of them (batch,
            channel, height, width), or a list of such. Each channel is a picture of its own. The
            images of a list may differ in size: an image is enlarged to the size of the largest if
            that is a multiple of its own size; otherwise it has the zoom of the largest.
        vrange: The values shown as the two ends of the color map. A pair ``(minimum, maximum)``,
            or a mode: ``"auto0"`` to ``"auto3"`` use the same limits for all images, ``"indep0"``
            to ``"indep3"`` separate limits for each. With 0, the limits are minus and plus the
            largest absolute value, and the default color map has two hues; with 1, the smallest and
            the largest value; with 2, the mean minus and plus two standard deviations; with 3, the
            10th percentile lies at 10% of the range and the 90th at 90%. ``"auto"`` is ``"auto1"``.
        zoom: The number of pixels for a sample, an integer or 1 over an integer. The default is the
            largest with which the figure fits a screen or, with ``ax``, the image fits the axes.
        title: One title for all images, or a list with one for each. None also leaves out the lines
            about range and size.
        col_wrap: The number of images in a row. The default is all of them, or, if that needs a
            zoom below 1, the number that allows the largest zoom.
        ax: The axes to draw in, for one image. The default makes a figure.
        cmap: The color map. The default is gray; blue and red around white for the modes that end
            with 0; a cyclic one for angles.
        plot_complex: How to show a complex image as two pictures: ``"rectangular"`` shows real and
            imaginary part, ``"polar"`` amplitude and phase, ``"logpolar"`` log(1 + amplitude) and
            phase. The phase is always shown from -pi to pi.
        batch_idx: The only image of the batch to show.
        channel_idx: The only channel to show.
        as_rgb: Whether to show three channels as red, green and blue, or four, with opacity as the
            last. Colors are clipped to [0, 1]; a pair ``vrange`` is first mapped to [0, 1]. The
            modes have no meaning for colors. 8-bit integers are divided by 255.
        **kwargs: Further arguments of ``matplotlib.axes.Axes.imshow``.

    Returns:
        The figure.

    Raises:
        TypeError: If an image does not hold numbers.
        ValueError: If an image is not image-like, if an option does not have such a value, or if
            ``ax`` is too small or is given for more than one image.

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
    """The look of images; the fields are the arguments of `imshow`."""

    vrange: str | Sequence[float | int]
    zoom: float | int | None
    title: str | Sequence[str] | None
    col_wrap: int | None
    ax: "matplotlib.axes.Axes | None"
    cmap: "str | matplotlib.colors.Colormap | None"
    options: dict[str, Any]


class Choices(NamedTuple):
    """The arguments of `imshow` that a figure of several images uses.

    Attributes:
        of_panels: How to split each image into panels.
        vrange: The values shown as the ends of the color map, None for the default.
        look: The other arguments.
    """

    of_panels: dict[str, Any]
    vrange: str | Sequence[float | int] | None
    look: Look


def choose(kwargs: dict[str, Any]) -> Choices:
    """Sort the arguments of `imshow` that were given to a figure with its own layout.

    Raises:
        TypeError: If one of them would change the layout.
    """
    for name in ("ax", "col_wrap"):
        if kwargs.get(name) is not None:
            raise TypeError(
                f"{name} must be None, because this figure has its own layout, got "
                f"{kwargs[name]!r}. Use imshow for another layout."
            )
    rest = {name: value for name, value in kwargs.items() if name not in ("ax", "col_wrap")}
    names = ("channel_idx", "as_rgb", "batch_idx", "plot_complex")
    of_panels = {name: rest.pop(name) for name in names if name in rest}
    vrange, zoom = rest.pop("vrange", None), rest.pop("zoom", None)
    title, cmap = rest.pop("title", ""), rest.pop("cmap", None)
    return Choices(of_panels, vrange, Look(vrange or (0, 1), zoom, title, None, None, cmap, rest))


class Picture(NamedTuple):
    """A drawn image.

    Attributes:
        image: The artist.
        limits: The values shown as the ends of the color map.
        zoom: The number of pixels of the screen for a sample.
    """

    image: "matplotlib.image.AxesImage"
    limits: tuple[float, float]
    zoom: Fraction

    def show(self, panel: Panel) -> None:
        """Show new values of the same shape in the same way."""
        self.image.set_data(_colored(panel, self.limits, self.zoom))


def draw_panels(
    panels: Sequence[Panel],
    limits: Sequence[tuple[float, float]],
    look: Look,
    cells: Sequence[int] | None = None,
    enlarged: Sequence[int] | None = None,
) -> list[Picture]:
    """Draw pictures side by side, or a single one in the given axes.

    Args:
        panels: The pictures.
        limits: For each picture, the values shown as the ends of the color map.
        look: How to show them.
        cells: The place of each image in the grid; see `create_axes`.
        enlarged: The factor by which each picture is enlarged. By default, pictures are enlarged to
            the size of the largest if that is a multiple of their own.
    """
    zoom, col_wrap, ax = look.zoom, look.col_wrap, look.ax
    if col_wrap is not None and col_wrap < 1:
        raise ValueError(f"col_wrap must be at least 1, got {col_wrap}.")
    ends = [look.options.get(name) for name in ("vmin", "vmax")]
    limits = [
        (low if ends[0] is None else ends[0], high if ends[1] is None else ends[1])
        for low, high in limits
    ]
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
            f"ax must be None for several images, got one axes for {len(panels)} images. Choose "
            "one with batch_idx and channel_idx, give as_rgb=True, or leave out ax."
        )
    titles = _titles(panels, heads, limits, zooms)
    points = font_size(titles, max(place_size(one)[0] for one in axes), axes[0].figure.dpi)
    pictures = []
    for one, panel, limit, scale, text in zip(axes, panels, limits, zooms, titles, strict=True):
        cmap = _color_map(look.cmap, panel, look.vrange)
        pictures.append(draw_panel(one, panel, limit, scale, cmap, look.options))
        one.set_title(text, fontsize=points, pad=4, y=TITLE_HEIGHT)
    return pictures


def panel_limits(
    panels: Sequence[Panel], vrange: str | Sequence[float | int]
) -> list[tuple[float, float]]:
    """Return the ends of the color map of each panel; the modes ignore angles."""
    of_plain = iter(color_limits([one.pixels for one in panels if one.kind == "plain"], vrange))
    of_colors = (0.0, 1.0) if isinstance(vrange, str) else tuple(vrange)
    of_kind = {"phase": (-np.pi, np.pi), "color": of_colors}
    return [of_kind[one.kind] if one.kind in of_kind else next(of_plain) for one in panels]


def _heads(panels: Sequence[Panel], title: str | Sequence[str] | None) -> list[str] | None:
    """Return the first lines of the titles; None for no titles."""
    if title is None:
        return None
    titles = [title] * len(panels) if isinstance(title, str) else list(title)
    if len(titles) != len(panels):
        raise ValueError(
            f"title must be one string, or one for each of the {len(panels)} images, got "
            f"{len(titles)} titles. Count each channel, and each complex part, as an image."
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
    """Draw one picture in axes, which take its size and lose their frame.

    Args:
        axes: The axes.
        panel: The picture.
        limits: The values shown as the ends of the color map.
        zoom: The number of pixels of the screen for a sample.
        cmap: The color map.
        options: Further arguments of ``matplotlib.axes.Axes.imshow``.
    """
    low, high = limits
    shown: dict[str, Any] = {"cmap": cmap, "interpolation": "none", "aspect": "auto"}
    # A norm has its own limits; matplotlib accepts no others with it.
    shown |= {"vmin": low, "vmax": high} if options.get("norm") is None else {}
    image = axes.imshow(_colored(panel, limits, zoom), **(shown | options))
    pin_to_pixels(image, max(int(zoom), 1))
    axes.set_axis_off()
    return Picture(image, limits, zoom)


def range_line(limits: tuple[float, float]) -> str:
    """Return the line of a title that states the values at the ends of the color map."""
    return f"range: [{limits[0]:.1e}, {limits[1]:.1e}]"


def _colored(panel: Panel, limits: tuple[float, float], zoom: Fraction) -> np.ndarray:
    """Return the values for matplotlib: shrunk at a zoom below 1, colors scaled to [0, 1]."""
    pixels = panel.pixels
    if panel.kind == "color":
        low, high = limits
        # Pixels without a value, such as the gaps between frames, are white.
        colors = np.nan_to_num(np.clip((pixels[..., :3] - low) / (high - low), 0, 1), nan=1.0)
        pixels = np.concatenate([colors, np.clip(pixels[..., 3:], 0, 1)], -1)
    return shrink(pixels, zoom)
