from collections.abc import Callable, Sequence
from typing import Any, Literal, TYPE_CHECKING

from .._rules import checked, INDEX, NUMBER
from ._drawn import draw_error, draw_histogram, draw_image, draw_losses
from ._view import place_of_distortion, view


if TYPE_CHECKING:
    import matplotlib.axes


@checked(iteration=INDEX, batch_idx=INDEX)
def synthesis_loss(
    result: Any,
    iteration: int | None = None,
    plot_penalties: bool = False,
    ax: "matplotlib.axes.Axes | Sequence[matplotlib.axes.Axes] | None" = None,
    *,
    batch_idx: int | None = None,
    **kwargs: Any,
) -> "dict[str, matplotlib.axes.Axes]":
    """Show the loss over the steps of a synthesis, with a dot at one of them.

    The axis of the loss is logarithmic if all the losses are positive. Where a line search makes
    trials, those that were rejected are among the losses. Of a MAD competition, the two metrics are
    shown instead, each in an axes of its own, which is logarithmic if the metric is positive and
    changes by more than a factor of 10.

    Args:
        result: What a synthesis returned; or its trace; or losses.
        iteration: The step of the dot, from the end if negative. The default is that of the image
            that was returned.
        plot_penalties: Whether to show the penalty, before its weight, as well.
        ax: The axes to draw in, by default the current ones. Those for a MAD competition are
            divided, or are a list of two, or of three with the penalty.
        batch_idx: The element of a batch. The default is all of them.
        **kwargs: Further arguments of ``matplotlib.axes.Axes.plot`` for the lines of the loss.

    Returns:
        The axes, as ``"loss"``; or, of a MAD competition, as ``"reference_metric_loss"``,
        ``"optimized_metric_loss"`` and ``"penalties"``.

    Raises:
        ValueError: If there was no such iteration, no such element, or no loss at all, or if
            there are not as many axes as needed.

    Example:
        >>> import jax, matplotlib.pyplot as plt, plenoptax as plx
        >>> result = plx.metamer(
        ...     plx.data.brick(), plx.models.Gaussian(7), key=jax.random.key(0), max_steps=5,
        ...     progress=False
        ... )
        >>> axes = plx.plot.synthesis_loss(result)["loss"]
        >>> axes.get_yscale()
        'log'
        >>> plt.close(axes.figure)
    """
    if batch_idx is None and getattr(result, "is_batch", False):
        views = [view(result, index) for index in range(len(result))]
    else:
        views = [view(result, batch_idx or 0)]
    return draw_losses(views, iteration, plot_penalties, ax, **kwargs).axes


@checked(batch_idx=INDEX, channel_idx=INDEX, distortion_scale=NUMBER, iteration=INDEX)
def synthesis_imshow(
    result: Any,
    batch_idx: int = 0,
    channel_idx: int | None = None,
    distortion_scale: float | int = 5.0,
    process_image: Callable | None = None,
    zoom: float | int | None = None,
    iteration: int | None = None,
    ax: "matplotlib.axes.Axes | None" = None,
    title: str | None = None,
    **kwargs: Any,
) -> "matplotlib.axes.Axes":
    """Show the image of a synthesis, pixel by pixel.

    Black and white are the ends of the range that the penalty of the synthesis allows, or 0 and 1
    where no penalty on the range is known (see `plenoptax.regularize.allowed_range_of`).
    An image of three or four channels is shown in colors, a sequence of images as a strip of
    frames.

    Args:
        result: What a synthesis returned; or its trace, with recorded images; or a state, of
            which what the optimizer moves is shown; or an image, or images of several steps; or
            eigendistortions, of which one is added to the image.
        batch_idx: The element of a batch; of eigendistortions, which one.
        channel_idx: The only channel to show.
        distortion_scale: How many times an eigendistortion is added to the image.
        process_image: A function of the image to be shown, to undo a preprocessing, say.
        zoom: See `imshow`.
        iteration: The step whose image is shown, from the end if negative: the nearest one of
            which the image was recorded. The default is the image that was returned.
        ax: The axes to draw in. The default makes a figure.
        title: The title; the default tells the method and the step.
        **kwargs: ``vrange``, the range above unless given, ``cmap`` and ``as_rgb`` of `imshow`, and
            further arguments of ``matplotlib.axes.Axes.imshow``.

    Returns:
        The axes.

    Raises:
        TypeError: If a state is not of an image.
        ValueError: If there was no such iteration, no image was recorded, the image has two
            channels or more than four and none was chosen, or `process_image` returns complex
            numbers, of which one axes cannot show both parts.

    Example:
        >>> import jax, matplotlib.pyplot as plt, plenoptax as plx
        >>> result = plx.metamer(
        ...     plx.data.brick(), plx.models.Gaussian(7), key=jax.random.key(0), max_steps=5,
        ...     progress=False
        ... )
        >>> axes = plx.plot.synthesis_imshow(result)
        >>> print(axes.get_title())
        Metamer, step 5
        range: [0.0e+00, 1.0e+00]
        dims: [256, 256] * 2
        >>> plt.close(axes.figure)
    """
    one = view(result, batch_idx, distortion_scale)
    options = {"channel_idx": channel_idx, "process_image": process_image, "zoom": zoom}
    return draw_image(one, one.shown(iteration).step, ax, title=title, **options, **kwargs).axes


@checked(batch_idx=INDEX, channel_idx=INDEX, iteration=INDEX)
def synthesis_histogram(
    result: Any,
    batch_idx: int | None = None,
    channel_idx: int | None = None,
    iteration: int | None = None,
    ylim: Sequence[float | int] | Literal[False] = False,
    xlim: Sequence[float | int] | Literal[False, "range"] = "range",
    ax: "matplotlib.axes.Axes | None" = None,
    alpha: float = 0.4,
    **kwargs: Any,
) -> "matplotlib.axes.Axes":
    """Show how often which pixel values occur in the image of a synthesis, and in its target.

    It tells what left the range of an image, whose ends are dotted lines: the range that the
    penalty of the synthesis allows, or 0 and 1. Of eigendistortions, the distortions are shown. The
    bins cover all the recorded images, so that the histograms of several steps can be compared.

    Args:
        result: See `synthesis_imshow`.
        batch_idx: The element of a batch, by default the first; of eigendistortions, which one, by
            default all of them.
        channel_idx: The channel; None takes all of them.
        iteration: The step, from the end if negative: the nearest one of which the image was
            recorded. The default is the image that was returned.
        ylim: The limits of the vertical axis; False leaves them alone.
        xlim: The limits of the horizontal axis; ``"range"`` is from the smallest to the largest
            value, False leaves them alone.
        ax: The axes to draw in, by default the current ones.
        alpha: The opacity of the bars.
        **kwargs: Further arguments of `histogram`.

    Returns:
        The axes.

    Raises:
        ValueError: If there was no such iteration or channel, or no image was recorded.

    Example:
        >>> import jax, matplotlib.pyplot as plt, plenoptax as plx
        >>> result = plx.metamer(
        ...     plx.data.brick(), plx.models.Gaussian(7), key=jax.random.key(0), max_steps=5,
        ...     progress=False
        ... )
        >>> axes = plx.plot.synthesis_histogram(result)
        >>> [text.get_text() for text in axes.get_legend().get_texts()]
        ['Metamer', 'target']
        >>> plt.close(axes.figure)
    """
    one = view(result, batch_idx or 0)
    if one.distortions and batch_idx is not None:
        label = list(one.distortions)[place_of_distortion(result, batch_idx)]
        one = one._replace(distortions={label: one.distortions[label]})
    options = {"channel_idx": channel_idx, "ylim": ylim, "xlim": xlim, "alpha": alpha}
    return draw_histogram(one, one.shown(iteration).step, ax, **options, **kwargs).axes


@checked(batch_idx=INDEX, iteration=INDEX)
def metamer_representation_error(
    result: Any,
    batch_idx: int = 0,
    iteration: int | None = None,
    ylim: Sequence[float | int] | Literal[False] | None = None,
    ax: "matplotlib.axes.Axes | None" = None,
    as_rgb: bool = False,
    **kwargs: Any,
) -> "list[matplotlib.axes.Axes]":
    """Show by how much the representation of a metamer differs from that of its target.

    See `plot_representation` for how it looks.

    Args:
        result: What `plenoptax.metamer` returned.
        batch_idx: The element of a batch.
        iteration: The step, from the end if negative: the nearest one of which the image was
            recorded. The default is the image that was returned.
        ylim: The limits of the vertical axes. None is symmetric about zero, False leaves them to
            matplotlib.
        ax: The axes to draw in, which are divided if need be. The default makes a figure.
        as_rgb: Show three or four channels of pictures as colors.
        **kwargs: Further arguments of the model.

    Returns:
        The axes.

    Raises:
        ValueError: If the result is not of a metamer, there was no such iteration, or no image was
            recorded.

    Example:
        >>> import jax, matplotlib.pyplot as plt, plenoptax as plx
        >>> result = plx.metamer(
        ...     plx.data.brick(), plx.models.Gaussian(7), key=jax.random.key(0), max_steps=5,
        ...     progress=False
        ... )
        >>> axes = plx.plot.metamer_representation_error(result)
        >>> len(axes)
        1
        >>> plt.close(axes[0].figure)
    """
    one = view(result, batch_idx)
    step = one.shown(iteration).step
    return draw_error(one, step, ax, ylim=ylim, as_rgb=as_rgb, **kwargs).axes
