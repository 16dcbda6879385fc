import re
import textwrap
from collections.abc import Callable
from typing import Any, TYPE_CHECKING

from .._rules import checked, INDEX, POSITIVE
from ..solve import Status
from ._animation import animate
from ._arrange import assign_axes, check_names, new_figure
from ._drawn import (
    draw_deviation,
    draw_error,
    draw_histogram,
    draw_image,
    draw_losses,
    Drawn,
    geodesic_of,
    has_representation,
)
from ._layout import TITLE_HEIGHT
from ._view import View, view


if TYPE_CHECKING:
    import matplotlib.animation
    import matplotlib.axes
    import matplotlib.figure


@checked(batch_idx=INDEX, channel_idx=INDEX, iteration=INDEX)
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
    """Show the image and the loss of a synthesis, and a plot that its method adds.

    The method adds the representation error of a metamer, or the straightness of a geodesic. All
    plots show the same step. The text below the figure says why the synthesis stopped.

    Args:
        result: The result of a synthesis, or anything else that `synthesis_imshow` shows.
        batch_idx: The element of a batch.
        channel_idx: The only channel of the image to show.
        iteration: The step to show, counted from the end if negative; the nearest step with a
            recorded image is shown. The default is the returned image.
        included_plots: The names of the plots, from left to right: ``"synthesis_imshow"``,
            ``"synthesis_loss"``, ``"metamer_representation_error"``,
            ``"geodesic_deviation_from_line"``, ``"synthesis_histogram"``. The default is all that
            the result allows except the histogram, which is included for eigendistortions.
        fig: A figure that has axes for all plots. The default makes one.
        axes_idx: The index of the axes of a plot in the figure, by the name of the plot; other
            plots take the first free axes. The axes under ``"misc"`` are not used.
        figsize: The width and height of the new figure in inches.
        width_ratios: The relative widths of the plots, by name.
        **kwargs: A dictionary of further arguments for a plot, named after the plot, such as
            ``synthesis_imshow_kwargs``.

    Returns:
        The figure.

    Raises:
        ValueError: If a name of a plot is unknown or the problem does not allow the plot, the
            figure has too few axes, the iteration does not exist, or no image was recorded.

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
    one = view(result, batch_idx)
    figure, _ = _draw_status(
        one, channel_idx, iteration, included_plots, fig, axes_idx, figsize, width_ratios, kwargs
    )
    if fig is None and isinstance(one.status, type(Status.running)):
        letters = int(17 * figure.get_figwidth())
        sentence = textwrap.fill(Status[one.status], letters)
        figure.text(0.01, 0.012, sentence, fontsize=8, color="0.4")
    return figure


@checked(framerate=POSITIVE, batch_idx=INDEX, channel_idx=INDEX)
def synthesis_animate(
    result: Any,
    framerate: float | int = 10,
    batch_idx: int = 0,
    channel_idx: int | None = None,
    included_plots: list[str] | tuple[str, ...] | None = None,
    process_image: Callable | None = None,
    fig: "matplotlib.figure.Figure | None" = None,
    axes_idx: dict[str, int | list[int]] | None = None,
    figsize: tuple[float | int, float | int] | None = None,
    width_ratios: dict[str, float | int] | None = None,
    rescale_ylim: str | bool = "rescale",
    **kwargs: dict[str, Any],
) -> "matplotlib.animation.FuncAnimation":
    """Animate `synthesis_status` over all steps with a recorded image.

    A notebook plays the animation if it is the last value of a cell; `animshow` explains how to
    save it in a file.

    Args:
        result: The result of a synthesis, with recorded images; or its trace; or the images of
            several steps.
        framerate: The number of frames per second.
        batch_idx: The element of a batch.
        channel_idx: The only channel of the image to show.
        included_plots: The names of the plots; see `synthesis_status`.
        process_image: A function applied to the image before it is shown, for example to undo a
            preprocessing.
        fig: A figure that has axes for all plots. The default makes one.
        axes_idx: The indices of the axes of plots in the figure; see `synthesis_status`.
        figsize: The width and height of the new figure in inches.
        width_ratios: The relative widths of the plots, by name.
        rescale_ylim: When to fit the limits, and the range of the colors, of the representation
            error: ``"rescale"`` ten times in total, ``"rescale5"``, for example, every fifth frame,
            False never.
        **kwargs: Dictionaries of further arguments for the plots; see `synthesis_status`.

    Returns:
        The animation. It stops when it is deleted, so keep it in a variable.

    Raises:
        ValueError: If fewer than two images were recorded, if ``rescale_ylim`` is not one of these,
            or for the reasons that `synthesis_status` has.

    Example:
        >>> import jax, matplotlib.pyplot as plt, plenoptax as plx
        >>> result = plx.metamer(
        ...     plx.data.brick(), plx.models.Gaussian(7), key=jax.random.key(0), max_steps=4,
        ...     record=2, progress=False
        ... )
        >>> animation = plx.plot.synthesis_animate(result)
        >>> "<img" in animation.to_jshtml()
        True
        >>> plt.close(animation._fig)
    """
    one = view(result, batch_idx)
    returned = [] if one.image is None else [one.step]
    steps: list[int] = sorted({*[int(step) for step in one.image_steps], *returned})
    if len(steps) < 2:
        raise ValueError(
            f"result must have at least two images for an animation, got {len(steps)}. Run with "
            "record=10, for example, to record every 10th image."
        )
    every = _rescale_interval(rescale_ylim, len(steps))
    if process_image is not None:
        options = kwargs.get("synthesis_imshow_kwargs", {})
        kwargs["synthesis_imshow_kwargs"] = {"process_image": process_image} | options
    figure, drawn = _draw_status(
        one, channel_idx, steps[0], included_plots, fig, axes_idx, figsize, width_ratios, kwargs
    )

    def show(index: int) -> None:
        for plot in drawn:
            plot.show(steps[index], bool(every) and index % every == 0)

    return animate(figure, show, len(steps), framerate, False)


def _rescale_interval(rescale_ylim: str | bool, count: int) -> int:
    """Return the number of frames from one fit of the limits to the next, 0 for never."""
    if rescale_ylim is False:
        return 0
    if isinstance(rescale_ylim, str) and re.fullmatch("rescale([1-9][0-9]*)?", rescale_ylim):
        return int(rescale_ylim.removeprefix("rescale") or max(count // 10, 1))
    raise ValueError(
        "rescale_ylim must be 'rescale' (ten times in total), 'rescaleN' with a number N of "
        f"frames, such as 'rescale5', or False, got {rescale_ylim!r}."
    )


def _draw_status(
    one: View,
    channel_idx: int | None,
    iteration: int | None,
    included_plots: list[str] | tuple[str, ...] | None,
    fig: "matplotlib.figure.Figure | None",
    axes_idx: dict[str, int | list[int]] | None,
    figsize: tuple[float | int, float | int] | None,
    width_ratios: dict[str, float | int] | None,
    kwargs: dict[str, dict[str, Any]],
) -> "tuple[matplotlib.figure.Figure, list[Drawn]]":
    """Draw all plots of one step; the arguments are those of `synthesis_status`."""
    allowed = _allowed(one)
    plots = tuple(included_plots or _default(one, allowed))
    check_names(allowed, plots, axes_idx or {}, width_ratios or {})
    options: dict[str, dict[str, Any]] = {
        name: dict(kwargs.get(f"{name}_kwargs", {})) for name in plots
    }
    unknown = kwargs.keys() - {f"{name}_kwargs" for name in plots}
    if unknown:
        raise ValueError(
            "Further arguments must be dictionaries named after an included plot, such as "
            f"synthesis_loss_kwargs, got {', '.join(sorted(unknown))}."
        )
    step = one.index(iteration) if plots == ("synthesis_loss",) else one.shown(iteration).step
    figure = new_figure(plots, one, figsize, width_ratios or {}) if fig is None else fig
    axes = assign_axes(figure, plots, axes_idx or {})
    for name in ("synthesis_imshow", "synthesis_histogram"):
        if name in options:
            options[name] = {"channel_idx": channel_idx} | options[name]
    return figure, [_DRAW[name](one, step, axes[name], **options[name]) for name in plots]


def _draw_loss(one: View, step: int, ax: "matplotlib.axes.Axes", **options: Any) -> Drawn:
    drawn = draw_losses([one], step, options.pop("plot_penalties", False), ax, **options)

    def show(step: int, rescale: bool) -> None:
        drawn.show(step, rescale)
        ax.set_title(
            f"Loss {one.trace.losses[step]:.3g} at step {step}", fontsize=11, y=TITLE_HEIGHT
        )

    show(step, False)
    return Drawn(drawn.axes, show)


_DRAW = {
    "synthesis_imshow": draw_image,
    "synthesis_loss": _draw_loss,
    "metamer_representation_error": draw_error,
    "geodesic_deviation_from_line": draw_deviation,
    "synthesis_histogram": draw_histogram,
}


def _allowed(one: View) -> list[str]:
    is_image = one.image is not None and one.image.ndim > 0
    allowed = {
        "synthesis_imshow": is_image,
        "synthesis_loss": one.trace is not None,
        "metamer_representation_error": has_representation(one),
        "geodesic_deviation_from_line": geodesic_of(one) is not None,
        "synthesis_histogram": one.image is not None,
    }
    return [name for name, is_allowed in allowed.items() if is_allowed]


def _default(one: View, allowed: list[str]) -> list[str]:
    if one.distortions:
        return allowed
    return [name for name in allowed if name != "synthesis_histogram"]
