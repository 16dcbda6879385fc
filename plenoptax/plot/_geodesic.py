from typing import Any, TYPE_CHECKING

from .._rules import checked, INDEX
from ._drawn import draw_deviation
from ._view import view


if TYPE_CHECKING:
    import matplotlib.axes


@checked(batch_idx=INDEX, iteration=INDEX)
def geodesic_deviation_from_line(
    result: Any,
    natural_video: Any = None,
    ax: "matplotlib.axes.Axes | None" = None,
    *,
    batch_idx: int = 0,
    iteration: int | None = None,
    **kwargs: Any,
) -> "matplotlib.axes.Axes":
    """Show how far a geodesic is from the straight line between its ends, as its model sees it.

    The further right, the further along the line; the higher, the further from it; both in units of
    the distance between the ends. A path that is straight for the model lies on the horizontal
    axis. For comparison, there is the path that fades from one image to the other, which is
    straight in pixels.

    Args:
        result: What `plenoptax.geodesic` or `plenoptax.conditional_geodesic` returned.
        natural_video: A sequence (time, channel, height, width) to compare it with.
        ax: The axes to draw in, by default the current ones.
        batch_idx: The element of a batch.
        iteration: The step, from the end if negative: the nearest one of which the path was
            recorded. The default is the path that was returned.
        **kwargs: Further arguments of ``matplotlib.axes.Axes.plot`` for the line of the geodesic.

    Returns:
        The axes.

    Raises:
        ValueError: If the result is not of a geodesic, there was no such iteration, or no path was
            recorded.

    Example:
        >>> import matplotlib.pyplot as plt, plenoptax as plx
        >>> first, last = plx.data.brick()[:, :32, :32], plx.data.grass()[:, :32, :32]
        >>> result = plx.geodesic(
        ...     first, last, plx.models.Gaussian(7), n_steps=4, max_steps=3, progress=False
        ... )
        >>> axes = plx.plot.geodesic_deviation_from_line(result)
        >>> [line.get_label() for line in axes.lines]
        ['pixel fade', 'Geodesic']
        >>> plt.close(axes.figure)
    """
    one = view(result, batch_idx)
    step = one.shown(iteration).step
    return draw_deviation(one, step, ax, natural_video=natural_video, **kwargs).axes
