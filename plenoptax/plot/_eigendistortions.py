from collections.abc import Callable, Sequence
from typing import Any, TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from .._rules import checked, INDEX, NUMBER, Whole
from ._imshow import draw_panels, Look, panel_limits, Picture
from ._layout import font_size, place_size, root_figure
from ._panels import one_panel, Panel
from ._view import place_of_distortion
from ._vrange import color_limits


if TYPE_CHECKING:
    import matplotlib.figure


@checked(eigenindex=Whole(several=True), channel_idx=INDEX, distortion_scale=NUMBER)
def eigendistortion_imshow_all(
    eigendistortion: Any,
    eigenindex: int | np.integer | Sequence[int | np.integer] | np.ndarray = (0, -1),
    channel_idx: int | None = None,
    distortion_scale: float | int | Sequence[float | int] = 5.0,
    process_image: Callable | None = None,
    process_distortion: Callable | None = None,
    suptitle: str | None = "Eigendistortions",
    suptitle_kwargs: dict[str, Any] | None = None,
    **kwargs: Any,
) -> "matplotlib.figure.Figure":
    """Show eigendistortions, and below them the image to which they were added.

    The image by itself stands at the left. Images of three or four channels are shown in colors,
    and the three colors of their distortions about a medium gray.

    Args:
        eigendistortion: What `plenoptax.eigendistortions` returned.
        eigenindex: Which eigendistortions to show, by their indices among all, from the most
            visible one, 0; negative ones count from the last that was computed.
        channel_idx: The only channel to show.
        distortion_scale: How many times a distortion is added to the image; or a list with one
            number for each.
        process_image: A function of the images of the second row, to undo a preprocessing, say.
        process_distortion: A function of the distortions of the first row. Where it returns three
            or four channels, these are shown as colors from 0 to 1.
        suptitle: The title of all, above the image.
        suptitle_kwargs: Further arguments of ``matplotlib.figure.Figure.suptitle``.
        **kwargs: Further arguments of `imshow`. Unless ``vrange`` is given, it is (0, 1) for images
            and ``"indep0"`` for distortions.

    Returns:
        The figure.

    Raises:
        ValueError: If an eigendistortion was not computed, there are not as many scales as indices,
            or the image has two channels or more than four and none was chosen.

    Example:
        >>> import jax, matplotlib.pyplot as plt, plenoptax as plx
        >>> image = plx.data.brick()[:, :16, :16]
        >>> found = plx.eigendistortions(
        ...     image, plx.models.Gaussian(7), method="exact", progress=False
        ... )
        >>> figure = plx.plot.eigendistortion_imshow_all(found)
        >>> [axes.get_title().splitlines()[0] for axes in figure.axes][:3]
        ['eigendistortion 0', 'eigendistortion 255', 'image']
        >>> plt.close(figure)
    """
    places = [
        place_of_distortion(eigendistortion, int(one)) for one in np.ravel(np.asarray(eigenindex))
    ]
    scales = (
        [distortion_scale] * len(places)
        if isinstance(distortion_scale, int | float)
        else list(distortion_scale)
    )
    if len(scales) != len(places):
        raise ValueError(
            f"there were {len(scales)} values of distortion_scale for {len(places)} "
            "eigendistortions; give one number for all, or as many."
        )
    image = np.asarray(eigendistortion.image)
    as_rgb = image.shape[0] in (3, 4) and channel_idx is None
    distortions = [np.asarray(eigendistortion.eigendistortions[place]) for place in places]
    added = [image, *(image + scale * d for scale, d in zip(scales, distortions, strict=True))]
    vrange = kwargs.pop("vrange", None)
    if process_distortion is None:
        colors = [one[:3] if as_rgb else one for one in distortions]
        alone = _panels(None, colors, channel_idx)
        # The modes have a meaning for distortions in colors, which they have not for other colors.
        limits = color_limits([one.pixels for one in alone], vrange or "indep0")
    else:
        alone = _panels(process_distortion, distortions, channel_idx)
        limits = panel_limits(alone, vrange or "indep0")
    below = _panels(process_image, added, channel_idx)
    limits += panel_limits(below, vrange or (0, 1))
    zoom, cmap = kwargs.pop("zoom", None), kwargs.pop("cmap", "gray")
    titles = _titles(eigendistortion, places, scales)
    columns = len(below)
    look = Look(vrange or (0, 1), zoom, titles, columns, None, cmap, kwargs)
    pictures = draw_panels([*alone, *below], limits, look, range(1, 2 * columns))
    if suptitle is not None:
        _write_in_empty_cell(pictures, suptitle, suptitle_kwargs or {})
    return root_figure(pictures[0].image.axes)


def _panels(
    process: Callable | None, images: Sequence[np.ndarray], channel_idx: int | None
) -> list[Panel]:
    processed = images if process is None else [process(jnp.asarray(one)) for one in images]
    return [one_panel(one, channel_idx, None) for one in processed]


def _titles(
    eigendistortion: Any, places: Sequence[int], scales: Sequence[float | int]
) -> list[str]:
    labels = [f"eigendistortion {int(eigendistortion.eigenindex[place])}" for place in places]
    values = [float(eigendistortion.eigenvalues[place]) for place in places]
    above = [
        f"{label}\neigenvalue {value:.3g}" for label, value in zip(labels, values, strict=True)
    ]
    added = [f"image + {scale:g} * {label}" for scale, label in zip(scales, labels, strict=True)]
    return [*above, "image", *added]


def _write_in_empty_cell(
    pictures: Sequence[Picture], suptitle: str, options: dict[str, Any]
) -> None:
    """Write the title of all at the top of the first cell of the grid, which is empty."""
    below = pictures[len(pictures) // 2].image.axes
    figure = root_figure(below)
    column = below.get_position(original=True)
    place = {
        "x": column.x0,
        "y": 1 - 0.15 / figure.get_figheight(),
        "horizontalalignment": "left",
        "fontsize": font_size([suptitle], place_size(below)[0], figure.dpi),
    }
    figure.suptitle(suptitle, **(place | options))
