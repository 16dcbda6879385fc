import functools
import operator
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from .._rules import checked, INDEX, NUMBER, Whole
from ._imshow import choose, draw_panels, panel_limits
from ._layout import font_size, place_size, root_figure
from ._panels import Panel, panels_of_image
from ._view import place_of_distortion
from ._vrange import color_limits


if TYPE_CHECKING:
    import matplotlib.axes
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
    """Show eigendistortions, and below each of them the image plus the eigendistortion.

    The image alone stands at the left. Images of three or four channels are shown in colors;
    the three colors of their distortions are shown around a medium gray. A sequence of images is
    shown as a strip of frames.

    Args:
        eigendistortion: The result of `plenoptax.eigendistortions`.
        eigenindex: The indices of the eigendistortions to show. The most visible one of all has
            index 0; negative indices count from the last computed one.
        channel_idx: The only channel to show.
        distortion_scale: The factor of a distortion that is added to the image; or a list with one
            factor for each.
        process_image: A function of the images of the second row, for example to undo a
            preprocessing. If it returns complex numbers, both parts are shown, side by side.
        process_distortion: A function of the distortions of the first row. If it returns three or
            four channels, these are shown as colors from 0 to 1; complex numbers as above.
        suptitle: The title of the figure, above the image.
        suptitle_kwargs: Further arguments of ``matplotlib.figure.Figure.suptitle``.
        **kwargs: Further arguments of `imshow`, except ``ax`` and ``col_wrap``. Unless ``vrange``
            is given, it is (0, 1) for images and ``"indep0"`` for distortions. A list of titles has
            one title for each picture, the first row first.

    Returns:
        The figure.

    Raises:
        ValueError: If an eigendistortion was not computed, if the numbers of scales and indices
            differ, or if the image has two channels or more than four and none was chosen.
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
    indices = np.atleast_1d(np.asarray(eigenindex))
    places = [place_of_distortion(eigendistortion, int(one)) for one in indices]
    scales = np.asarray(distortion_scale).tolist()
    scales = scales if isinstance(scales, list) else [scales] * len(places)
    if len(scales) != len(places):
        raise ValueError(
            "distortion_scale must be one number, or one for each of the "
            f"{len(places)} eigendistortions, got {len(scales)} numbers."
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
        # The modes of vrange are meaningful for distortions in colors, but not for other colors.
        limits = color_limits([one.pixels for one in chain(*alone)], vrange)
    else:
        processed = _processed(process_distortion, distortions)
        alone = [panels_of_image(one, **options) for one in processed]
        limits = panel_limits(list(chain(*alone)), vrange)
    limits += panel_limits(list(chain(*below)), chosen.vrange or (0, 1))
    titles = _titles(eigendistortion, places, scales)
    cells, columns, titles = _arrange(alone, below, titles)
    title = chosen.look.title
    # Everything is gray except angles, which have their own color map.
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
    """Return the cell of each panel, the number of columns, and the title of each panel.

    A distortion stands above the image that it was added to; the parts of a complex picture stand
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
    """Write the title of the figure at the top of the first cell of the grid, which is empty."""
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
