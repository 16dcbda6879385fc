import textwrap
from collections.abc import Iterable
from typing import Any, TYPE_CHECKING

import numpy as np

from ..solve import Status
from ._layout import whole_zoom
from ._representation import needs_one_axes
from ._result import element, loss_index, shown
from ._synthesis import (
    has_representation,
    metamer_representation_error,
    synthesis_imshow,
    synthesis_loss,
)


if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

# Inches.
_LARGEST_IMAGE, _SMALLEST_IMAGE = 5.2, 2.4
_LOSS_WIDTH, _ERROR_WIDTH = 3.6, 7.0
_LEAST_HEIGHT = 4.2
_RIGHT, _BOTTOM, _TOP, _GAP = 0.2, 0.8, 0.75, 1.1


def synthesis_status(
    result: Any,
    batch_idx: int = 0,
    channel_idx: int | None = None,
    iteration: int | None = None,
    included_plots: list[str] | tuple[str, ...] | None = None,
    fig: "matplotlib.figure.Figure | None" = None,
    axes_idx: dict[str, int | list[int]] | None = None,
    figsize: tuple[float | int, float | int] | None = None,
    width_ratios: dict[str, float | int] | None = None,
    **kwargs: dict[str, Any],
) -> "matplotlib.figure.Figure":
    """Show how a synthesis stands: its image, its loss and its representation error.

    All are of the same step. Under the figure stands why the synthesis stopped.

    Args:
        result: What a synthesis returned.
        batch_idx: The element of a batch.
        channel_idx: The only channel of the image to show.
        iteration: The step, from the end if negative: the nearest one of which the image was
            recorded. The default is the image that was returned.
        included_plots: The names of the plots, from left to right: ``"synthesis_imshow"``,
            ``"synthesis_loss"``, ``"metamer_representation_error"``. The default is all that the
            problem allows.
        fig: A figure that has axes for all the plots. The default makes one.
        axes_idx: For a plot, by name, the index of its axes in the figure; others take the first
            free ones. The axes under ``"misc"`` are left alone.
        figsize: The width and height of the new figure in inches.
        width_ratios: The relative widths of the plots, by name.
        **kwargs: For a plot, a dictionary of further arguments, named after it, such as
            ``synthesis_imshow_kwargs``.

    Returns:
        The figure.

    Raises:
        ValueError: If a plot has no such name, or the problem does not allow it, the figure has too
            few axes, there was no such iteration, or no image was recorded.

    Example:
        >>> import jax, matplotlib.pyplot as plt, plenoptax as plx
        >>> result = plx.metamer(
        ...     plx.data.brick(), plx.models.Gaussian(7), key=jax.random.key(0), max_steps=5,
        ...     progress=False
        ... )
        >>> figure = plx.plot.synthesis_status(result)
        >>> [axes.get_title().splitlines()[0] for axes in figure.axes]
        ['Metamer, step 5', 'Loss ... at step 5', 'Representation error, step 5']
        >>> plt.close(figure)
    """
    one = element(result, batch_idx)
    allowed = _allowed(one)
    plots = tuple(included_plots or allowed)
    _check_names(allowed, plots, axes_idx or {}, width_ratios or {})
    options: dict[str, dict[str, Any]] = {name: kwargs.pop(f"{name}_kwargs", {}) for name in plots}
    if kwargs:
        raise ValueError(
            f"there were arguments {', '.join(kwargs)}; further arguments are dictionaries named "
            "after a plot that is included, such as synthesis_loss_kwargs."
        )
    if plots == ("synthesis_loss",):
        step = loss_index(one, iteration)
    else:
        step = shown(one, iteration).step
    figure = _new_figure(plots, one, figsize, width_ratios or {}) if fig is None else fig
    axes = _assign(figure, plots, axes_idx or {})
    if "synthesis_imshow" in plots:
        more: dict[str, Any] = {"channel_idx": channel_idx} | options["synthesis_imshow"]
        synthesis_imshow(one, iteration=step, ax=axes["synthesis_imshow"], **more)
    if "synthesis_loss" in plots:
        ax = axes["synthesis_loss"]
        synthesis_loss(one, step, ax=ax, **options["synthesis_loss"])
        ax.set_title(f"Loss {one.trace.losses[step]:.3g} at step {step}", fontsize=11)
    if "metamer_representation_error" in plots:
        ax = axes["metamer_representation_error"]
        more = options["metamer_representation_error"]
        metamer_representation_error(one, iteration=step, ax=ax, **more)
    if fig is None and isinstance(one.status, type(Status.running)):
        letters = int(17 * figure.get_figwidth())
        sentence = textwrap.fill(Status[one.status], letters)
        figure.text(0.01, 0.012, sentence, fontsize=8, color="0.4")
    return figure


def _allowed(result: Any) -> tuple[str, ...]:
    is_image = np.ndim(result.image) in (2, 3)
    return (
        *(("synthesis_imshow",) if is_image else ()),
        "synthesis_loss",
        *(("metamer_representation_error",) if has_representation(result) else ()),
    )


def _check_names(allowed: tuple[str, ...], plots: Iterable[str], *others: Iterable[str]) -> None:
    for names in (plots, *others):
        for name in names:
            if name not in allowed and (name != "misc" or names is plots):
                raise ValueError(
                    f"a plot was named {name!r}; those of this result are {', '.join(allowed)}."
                )


def _new_figure(
    plots: tuple[str, ...],
    result: Any,
    figsize: tuple[float | int, float | int] | None,
    width_ratios: dict[str, float | int],
) -> "matplotlib.figure.Figure":
    import matplotlib.pyplot as plt

    widths, image_height = {"synthesis_loss": _LOSS_WIDTH}, 0.0
    if "synthesis_imshow" in plots:
        image_height, widths["synthesis_imshow"] = _size_of_picture(np.shape(result.image))
    if has_representation(result):
        is_simple = needs_one_axes(result.problem.model, result.problem.target)
        widths["metamer_representation_error"] = _LARGEST_IMAGE if is_simple else _ERROR_WIDTH
    ratios = [width_ratios.get(name, 1) * widths[name] for name in plots]
    left = 0.2 if plots[0] == "synthesis_imshow" else 0.8
    width = sum(ratios) + _GAP * (len(plots) - 1) + left + _RIGHT
    size = figsize or (width, max(image_height, _LEAST_HEIGHT) + _BOTTOM + _TOP)
    figure = plt.figure(figsize=size, layout="none")
    grid = figure.add_gridspec(
        1,
        len(plots),
        width_ratios=ratios,
        left=left / size[0],
        right=1 - _RIGHT / size[0],
        bottom=_BOTTOM / size[1],
        top=1 - _TOP / size[1],
        wspace=_GAP * len(plots) / (size[0] - left - _RIGHT - _GAP * (len(plots) - 1)),
    )
    for index in range(len(plots)):
        figure.add_subplot(grid[index])
    return figure


def _size_of_picture(shape: tuple[int, ...]) -> tuple[float, float]:
    """The height and width in inches which allow the largest good zoom."""
    import matplotlib.pyplot as plt

    dpi = plt.rcParams["figure.dpi"]
    samples = np.array(shape[-2:])
    zoom = float(whole_zoom(_LARGEST_IMAGE * dpi / samples.max()))
    # A hundredth more, so that rounding does not leave too little.
    height, width = samples * zoom / dpi + 0.01
    return height, max(width, _SMALLEST_IMAGE)


def _assign(
    figure: "matplotlib.figure.Figure", plots: tuple[str, ...], axes_idx: dict[str, Any]
) -> "dict[str, matplotlib.axes.Axes]":
    """The axes of each plot: those that were asked for, else the first free ones."""
    taken = set()
    for index in axes_idx.values():
        taken |= {index} if isinstance(index, int) else set(index)
    free = (index for index in range(len(figure.axes)) if index not in taken)
    assigned = {name: axes_idx[name] if name in axes_idx else next(free, -1) for name in plots}
    for name, index in assigned.items():
        if not isinstance(index, int) or not 0 <= index < len(figure.axes):
            raise ValueError(
                f"the figure has {len(figure.axes)} axes, of which none is left for {name}, or "
                f"its index in axes_idx ({axes_idx.get(name)}) is none of them; the plots are "
                f"{', '.join(plots)}."
            )
    return {name: figure.axes[index] for name, index in assigned.items()}
