from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TYPE_CHECKING

import numpy as np

from .._answers import name_of
from ._drawn import draw_losses, line_options
from ._imshow import choose, draw_panels, panel_limits
from ._layout import root_figure
from ._panels import panels_of_image
from ._view import View, view


if TYPE_CHECKING:
    import matplotlib.figure

_FIRST, _SECOND = MappingProxyType({"c": "C0"}), MappingProxyType({"c": "C1"})
_MIN, _MAX = MappingProxyType({"linestyle": "--"}), MappingProxyType({"linestyle": "-"})


def mad_imshow_all(
    mad_metric1_min: Any,
    mad_metric2_min: Any,
    mad_metric1_max: Any,
    mad_metric2_max: Any,
    metric1_name: str | None = None,
    metric2_name: str | None = None,
    zoom: float | int | None = None,
    **kwargs: Any,
) -> "matplotlib.figure.Figure":
    """Show the four images of a full MAD competition beside the reference image.

    Below the reference image stands the initial image of the first competition, which
    `plenoptax.mad_competition` and `plenoptax.mad_competition_set` record.

    Args:
        mad_metric1_min: The result of `plenoptax.mad_competition` that minimized the first metric.
        mad_metric2_min: The result that minimized the second metric.
        mad_metric1_max: The result that maximized the first metric.
        mad_metric2_max: The result that maximized the second metric.
        metric1_name: The name of the first metric, by default the name of its function or of its
            model.
        metric2_name: The name of the second metric. Equal names are numbered.
        zoom: The number of pixels for a sample; see `imshow`.
        **kwargs: Further arguments of `imshow`, except ``ax`` and ``col_wrap``. Unless given,
            ``vrange`` is the range that the penalty of the first competition allows, or (0, 1). A
            list of titles has one title for each picture, row by row.

    Returns:
        The figure.

    Raises:
        ValueError: If the competitions do not have the same reference image.
        TypeError: If ``ax`` or ``col_wrap`` is given.
    """
    views = _competitions(mad_metric1_min, mad_metric2_min, mad_metric1_max, mad_metric2_max)
    first, second = _names(views, metric1_name, metric2_name)
    images = {
        0: ("Reference", views[0].problem.image),
        1: (f"Best {first}", views[0].image),
        2: (f"Best {second}", views[1].image),
        4: (f"Worst {first}", views[2].image),
        5: (f"Worst {second}", views[3].image),
    }
    if len(views[0].image_steps) and views[0].image_steps[0] == 0:
        images[3] = ("Initial image", views[0].images[0])
    chosen = choose({"vrange": views[0].allowed_range} | kwargs)
    groups = {cell: panels_of_image(images[cell][1], **chosen.of_panels) for cell in sorted(images)}
    width = max(map(len, groups.values()))
    places = [(cell, part) for cell, panels in groups.items() for part in range(len(panels))]
    panels = [groups[cell][part] for cell, part in places]
    title = chosen.look.title
    titles = [images[cell][0] for cell, _ in places] if title == "" else title
    look = chosen.look._replace(zoom=zoom, title=titles, col_wrap=3 * width)
    limits = panel_limits(panels, look.vrange)
    cells = [cell * width + part for cell, part in places]
    return root_figure(draw_panels(panels, limits, look, cells)[0].image.axes)


def mad_loss_all(
    mad_metric1_min: Any,
    mad_metric2_min: Any,
    mad_metric1_max: Any,
    mad_metric2_max: Any,
    metric1_name: str | None = None,
    metric2_name: str | None = None,
    metric1_kwargs: Mapping[str, Any] = _FIRST,
    metric2_kwargs: Mapping[str, Any] = _SECOND,
    min_kwargs: Mapping[str, Any] = _MIN,
    max_kwargs: Mapping[str, Any] = _MAX,
    figsize: tuple[float | int, float | int] = (10, 5),
) -> "matplotlib.figure.Figure":
    """Plot both metrics over the steps of a full MAD competition, each in its own axes.

    A metric that was held fixed should be flat. An axis is logarithmic if its metric is positive
    and changes by more than a factor of 10.

    Args:
        mad_metric1_min: The result of `plenoptax.mad_competition` that minimized the first metric.
        mad_metric2_min: The result that minimized the second metric.
        mad_metric1_max: The result that maximized the first metric.
        mad_metric2_max: The result that maximized the second metric.
        metric1_name: The name of the first metric, by default the name of its function or of its
            model.
        metric2_name: The name of the second metric. Equal names are numbered.
        metric1_kwargs: Further arguments of ``matplotlib.axes.Axes.plot`` for the competitions that
            optimized the first metric.
        metric2_kwargs: The same for the competitions that optimized the second metric.
        min_kwargs: The same for the competitions that minimized a metric.
        max_kwargs: The same for the competitions that maximized a metric.
        figsize: The width and height of the figure in inches.

    Returns:
        The figure.

    Raises:
        ValueError: If the competitions do not have the same reference image.
    """
    import matplotlib.pyplot as plt

    views = _competitions(mad_metric1_min, mad_metric2_min, mad_metric1_max, mad_metric2_max)
    names = _names(views, metric1_name, metric2_name)
    figure, axes = plt.subplots(1, 2, figsize=figsize, layout="constrained")
    runs = [(0, "min", min_kwargs), (1, "min", min_kwargs), (0, "max", max_kwargs)]
    runs.append((1, "max", max_kwargs))
    for one, (index, verb, of_verb) in zip(views, runs, strict=True):
        of_metric = (metric1_kwargs, metric2_kwargs)[index]
        label = f"{verb} {names[index]}"
        # draw_losses draws the metric that is held fixed first; here, the axes go by metric.
        options = line_options({"label": label}, of_metric, of_verb)
        draw_losses([one], None, False, axes[[1 - index, index]], **options)
    for ax, name in zip(axes, names, strict=True):
        ax.set_title(name)
        ax.set_ylabel(f"{name} to the reference image")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


def _competitions(*results: Any) -> list[View]:
    views = [view(one) for one in results]
    images = [np.asarray(one.problem.image) for one in views]
    if not all(np.array_equal(images[0], image) for image in images):
        raise ValueError(
            "The four competitions must have the same reference image, got different ones. Give "
            "the results for one image, one for each metric that is minimized or maximized."
        )
    return views


def _names(views: list[View], *given: str | None) -> list[str]:
    metrics = [one.problem.optimized_metric for one in views[:2]]
    # A distance between representations has the name of the model.
    first, second = (
        name or name_of(getattr(metric, "model", metric))
        for name, metric in zip(given, metrics, strict=True)
    )
    return [first, second] if first != second else [f"{first} 1", f"{second} 2"]
