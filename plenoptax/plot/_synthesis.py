from collections.abc import Callable, Sequence
from typing import Any, Literal, TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from ..solve import Batched
from ._imshow import imshow
from ._representation import plot_representation
from ._result import element, loss_index, name_of, shown


if TYPE_CHECKING:
    import matplotlib.axes


def synthesis_loss(
    result: Any,
    iteration: int | None = None,
    plot_penalties: bool = False,
    ax: "matplotlib.axes.Axes | None" = None,
    *,
    batch_idx: int | None = None,
    **kwargs: Any,
) -> "dict[str, matplotlib.axes.Axes]":
    """Show the loss over the steps of a synthesis, with a dot at one of them.

    The axis of the loss is logarithmic if all the losses are positive. Where a line search makes
    trials, those that were rejected are among the losses.

    Args:
        result: What a synthesis returned.
        iteration: The step of the dot, from the end if negative. The default is that of the image
            that was returned.
        plot_penalties: Whether to show the penalty, before its weight, as well.
        ax: The axes to draw in, by default the current ones.
        batch_idx: The element of a batch. The default is all of them.
        **kwargs: Further arguments of ``matplotlib.axes.Axes.plot`` for the lines of the loss.

    Returns:
        The axes, as ``"loss"``.

    Raises:
        ValueError: If there was no such iteration, or no such element.

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
    import matplotlib.pyplot as plt
    from matplotlib.ticker import MaxNLocator

    ax = plt.gca() if ax is None else ax
    if batch_idx is None and isinstance(result.problem, Batched):
        results = [result[index] for index in range(len(result))]
    else:
        results = [element(result, batch_idx or 0)]
    for index, one in enumerate(results):
        losses = one.trace.losses
        step = loss_index(one, iteration)
        label = "loss" if len(results) == 1 else f"loss [{index}]"
        (line,) = ax.plot(losses, **({"linewidth": 1.5, "label": label} | kwargs))
        color = "tab:red" if len(results) == 1 else line.get_color()
        ax.plot([step], [losses[step]], "o", color=color, markersize=6, label="_step", zorder=3)
        if plot_penalties:
            ax.plot(one.trace.penalties, "--", linewidth=1, color="0.5", label="penalty")
    all_losses = np.concatenate([one.trace.losses for one in results])
    if (all_losses[np.isfinite(all_losses)] > 0).all():
        ax.set_yscale("log")
    ax.set_xlabel("Synthesis step")
    ax.set_ylabel("Loss")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    if plot_penalties or 1 < len(results) <= 8:
        ax.legend(frameon=False)
    return {"loss": ax}


def synthesis_imshow(
    result: Any,
    batch_idx: int = 0,
    channel_idx: int | None = None,
    process_image: Callable | None = None,
    zoom: float | int | None = None,
    iteration: int | None = None,
    ax: "matplotlib.axes.Axes | None" = None,
    title: str | None = None,
    **kwargs: Any,
) -> "matplotlib.axes.Axes":
    """Show the image of a synthesis, pixel by pixel, with black at 0 and white at 1.

    An image of three or four channels is shown in colors.

    Args:
        result: What a synthesis returned.
        batch_idx: The element of a batch.
        channel_idx: The only channel to show.
        process_image: A function of the image to be shown, to undo a preprocessing, say.
        zoom: See ``imshow``.
        iteration: The step whose image is shown, from the end if negative: the nearest one of
            which the image was recorded. The default is the image that was returned.
        ax: The axes to draw in. The default makes a figure.
        title: The title; the default tells the method and the step.
        **kwargs: Further arguments of ``imshow``; ``vrange`` is (0, 1) unless given.

    Returns:
        The axes.

    Raises:
        ValueError: If there was no such iteration, no image was recorded, or the image has two
            channels or more than four and none was chosen.

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
    one = element(result, batch_idx)
    step, image = shown(one, iteration)
    if process_image is not None:
        image = np.asarray(process_image(jnp.asarray(image)))
    head = f"{name_of(one)}, step {step}" if title is None else title
    as_colors = channel_idx is None and image.ndim == 3 and image.shape[0] in (3, 4)
    options = {"vrange": (0, 1), "as_rgb": as_colors} | kwargs
    if channel_idx is None and not options["as_rgb"] and image.ndim == 3 and image.shape[0] > 1:
        raise ValueError(f"the image has {image.shape[0]} channels; choose one with channel_idx.")
    figure = imshow(image, zoom=zoom, title=head, ax=ax, channel_idx=channel_idx, **options)
    return figure.axes[0] if ax is None else ax


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

    See ``plot_representation`` for how it looks.

    Args:
        result: What ``metamer`` or ``metamer_ctf`` returned.
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
    one = element(result, batch_idx)
    if not has_representation(one):
        raise ValueError(
            f"a representation error needs a model and a target, which {name_of(one)} has not; "
            "show the result of metamer or metamer_ctf."
        )
    step, image = shown(one, iteration)
    representation = one.problem.model(jnp.asarray(image), **kwargs)
    error = jax.tree.map(jnp.subtract, representation, one.problem.target)
    return plot_representation(
        one.problem.model, error, ax, None, ylim, 0, f"Representation error, step {step}", as_rgb
    )


def has_representation(result: Any) -> bool:
    """Whether the problem is one of a model and the representation of a target."""
    return all(hasattr(result.problem, name) for name in ("model", "target"))
