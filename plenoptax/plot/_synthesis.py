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
    """Plot the loss over the steps of a synthesis, with a dot at one of them.

    The axis of the loss is logarithmic if all losses are positive. The losses include those of the
    rejected trials of a line search. For a MAD competition, the two metrics are shown instead, each
    in its own axes, which is logarithmic if the metric is positive and changes by more than a
    factor of 10.

    Args:
        result: The result of a synthesis, or its trace, or losses.
        iteration: The step of the dot, counted from the end if negative. The default is the step of
            the returned image.
        plot_penalties: Whether to show also the penalty, before it is weighted.
        ax: The axes to draw in, by default the current ones. For a MAD competition, one axes is
            divided; or give a list of two, or of three with the penalty.
        batch_idx: The element of a batch. The default is all elements.
        **kwargs: Further arguments of ``matplotlib.axes.Axes.plot`` for the lines of the loss.

    Returns:
        The axes, as ``"loss"``; or, for a MAD competition, as ``"reference_metric_loss"``,
        ``"optimized_metric_loss"`` and ``"penalties"``.

    Raises:
        ValueError: If the iteration or the element does not exist, if there is no loss, or if the
            number of axes is wrong.

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
    if no penalty on the range is known (see `plenoptax.regularize.allowed_range_of`). An image of
    three or four channels is shown in colors, a sequence of images as a strip of frames. A signal,
    of shape (time,) or (1, time), is drawn as a line.

    Args:
        result: The result of a synthesis; or its trace, with recorded images; or a state, which
            shows the variable that the optimizer moves; or an image, or images of several steps; or
            eigendistortions, which show the image plus one of them.
        batch_idx: The element of a batch; for eigendistortions, the index of one.
        channel_idx: The only channel to show.
        distortion_scale: The factor of the eigendistortion that is added to the image.
        process_image: A function applied to the image before it is shown, for example to undo a
            preprocessing.
        zoom: The number of pixels for a sample; see `imshow`.
        iteration: The step to show, counted from the end if negative; the nearest step with a
            recorded image is shown. The default is the returned image.
        ax: The axes to draw in. The default makes a figure.
        title: The title; the default names the method and the step.
        **kwargs: ``vrange`` (by default the range above), ``cmap`` and ``as_rgb`` of `imshow`, and
            further arguments of ``matplotlib.axes.Axes.imshow``. For a signal, arguments of
            ``matplotlib.axes.Axes.plot``.

    Returns:
        The axes.

    Raises:
        TypeError: If a state does not hold an image.
        ValueError: If the iteration does not exist, no image was recorded, the image has two
            channels or more than four and none was chosen, or `process_image` returns complex
            numbers, because one axes cannot show both parts.

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
    """Plot histograms of the pixel values of the image of a synthesis and of its target.

    The histograms show which values are outside of the range of an image. Dotted lines mark the
    ends of this range: the range that the penalty of the synthesis allows, or 0 and 1. For
    eigendistortions, the distortions are shown. The bins cover all recorded images, so that
    histograms of several steps are comparable.

    Args:
        result: The result of a synthesis, or anything else that `synthesis_imshow` shows.
        batch_idx: The element of a batch, by default the first; for eigendistortions, the index of
            one, by default all of them.
        channel_idx: The channel; None takes all channels.
        iteration: The step to show, counted from the end if negative; the nearest step with a
            recorded image is shown. The default is the returned image.
        ylim: The limits of the vertical axis; False does not change them.
        xlim: The limits of the horizontal axis; ``"range"`` is from the smallest to the largest
            value, False does not change them.
        ax: The axes to draw in, by default the current ones.
        alpha: The opacity of the bars.
        **kwargs: Further arguments of `histogram`.

    Returns:
        The axes.

    Raises:
        ValueError: If the iteration or the channel does not exist, or no image was recorded.

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
    """Plot the difference between the representations of a metamer and of its target.

    `plot_representation` draws it.

    Args:
        result: The result of `plenoptax.metamer`.
        batch_idx: The element of a batch.
        iteration: The step to show, counted from the end if negative; the nearest step with a
            recorded image is shown. The default is the returned image.
        ylim: The limits of the vertical axes. None is symmetric about zero, False leaves them to
            matplotlib.
        ax: The axes to draw in, which are divided if necessary. The default makes a figure.
        as_rgb: Whether to show three or four channels of pictures as colors.
        **kwargs: Further arguments of the model.

    Returns:
        The axes.

    Raises:
        ValueError: If the result is not of a metamer, the iteration does not exist, or no image was
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
