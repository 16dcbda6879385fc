import functools
import operator
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from ._imshow import choose, draw_panels, panel_limits
from ._layout import font_size, place_size, root_figure
from ._panels import Panel, panels_of_image
from ._view import place_of_distortion
from ._vrange import color_limits


if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure


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
    and the three colors of their distortions about a medium gray. A sequence of images is a strip
    of frames.

    Args:
        eigendistortion: What `plenoptax.eigendistortions` returned.
        eigenindex: Which eigendistortions to show, by their indices among all, from the most
            visible one, 0; negative ones count from the last that was computed.
        channel_idx: The only channel to show.
        distortion_scale: How many times a distortion is added to the image; or a list with one
            number for each.
        process_image: A function of the images of the second row, to undo a preprocessing, say.
            Where it returns complex numbers, both parts are shown, side by side.
        process_distortion: A function of the distortions of the first row. Where it returns three
            or four channels, these are shown as colors from 0 to 1; complex numbers as above.
        suptitle: The title of all, above the image.
        suptitle_kwargs: Further arguments of ``matplotlib.figure.Figure.suptitle``.
        **kwargs: Further arguments of `imshow`, except ``ax`` and ``col_wrap``. Unless ``vrange``
            is given, it is (0, 1) for images and ``"indep0"`` for distortions. A list of titles has
            one for each picture, those of the first row first.

    Returns:
        The figure.

    Raises:
        ValueError: If an eigendistortion was not computed, there are not as many scales as indices,
            or the image has two channels or more than four and none was chosen.
        TypeError: If ``ax`` or ``col_wrap`` is given.

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
    indices = map(operator.index, np.atleast_1d(np.asarray(eigenindex)))
    places = [place_of_distortion(eigendistortion, index) for index in indices]
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
    distortions = [np.asarray(eigendistortion.eigendistortions[place]) for place in places]
    added = [image, *(image + scale * d for scale, d in zip(scales, distortions, strict=True))]
    chosen = choose(kwargs)
    options: dict[str, Any] = {**chosen.of_panels, "channel_idx": channel_idx}
    below = [panels_of_image(one, **options) for one in _processed(process_image, added)]
    vrange = chosen.vrange or "indep0"
    if process_distortion is None:
        is_color = options.get("as_rgb", _is_color(image)) and channel_idx is None
        colors = [one[..., :3, :, :] if is_color else one for one in distortions]
        alone = [panels_of_image(one, **options) for one in colors]
        # The modes have a meaning for distortions in colors, which they have not for other colors.
        limits = color_limits([one.pixels for one in chain(*alone)], vrange)
    else:
        processed = _processed(process_distortion, distortions)
        alone = [panels_of_image(one, **options) for one in processed]
        limits = panel_limits(list(chain(*alone)), vrange)
    limits += panel_limits(list(chain(*below)), chosen.vrange or (0, 1))
    titles = _titles(eigendistortion, places, scales)
    cells, columns, titles = _arrange(alone, below, titles)
    title = chosen.look.title
    # Gray for all but angles, which have a map of their own.
    look = chosen.look._replace(
        vrange=(0, 1), col_wrap=columns, title=titles if title == "" else title
    )
    pictures = draw_panels(list(chain(*alone, *below)), limits, look, cells)
    if suptitle is not None:
        below_it = pictures[sum(map(len, alone))].image.axes
        _write_in_empty_cell(below_it, suptitle, suptitle_kwargs or {})
    return root_figure(pictures[0].image.axes)


def _processed(process: Callable | None, images: Sequence[np.ndarray]) -> Sequence[Any]:
    return images if process is None else [process(jnp.asarray(one)) for one in images]


def _is_color(image: np.ndarray) -> bool:
    return image.ndim > 2 and image.shape[-3] in (3, 4)


def _arrange(
    alone: Sequence[Sequence[Panel]], below: Sequence[Sequence[Panel]], titles: Sequence[str]
) -> tuple[list[int], int, list[str]]:
    """The cell of each panel, the number of columns, and the title of each panel.

    Distortions stand above the images that they were added to; the parts of a complex one stand
    side by side.
    """
    width = max(map(len, [*alone, *below]))
    columns = width * len(below)
    rows = [[], *alone], below
    cells = [
        row * columns + width * group + part
        for row, groups in enumerate(rows)
        for group, panels in enumerate(groups)
        for part in range(len(panels))
    ]
    groups = zip([*alone, *below], titles, strict=True)
    return cells, columns, [title for panels, title in groups for _ in panels]


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
    below: "matplotlib.axes.Axes", suptitle: str, options: dict[str, Any]
) -> None:
    """Write the title of all at the top of the first cell of the grid, which is empty."""
    from matplotlib.cbook import normalize_kwargs
    from matplotlib.text import Text

    figure = root_figure(below)
    column = below.get_position(original=True)
    place = {
        "x": column.x0,
        "y": 1 - 0.15 / figure.get_figheight(),
        "horizontalalignment": "left",
        "fontsize": font_size([suptitle], place_size(below)[0], figure.dpi),
    }
    named = (normalize_kwargs(one, Text) for one in (place, options))
    figure.suptitle(suptitle, **functools.reduce(operator.or_, named))
