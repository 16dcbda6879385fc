from collections.abc import Callable, Sequence
from typing import Any, TYPE_CHECKING

import numpy as np

from .._rules import checked, COUNT, INDEX, POSITIVE
from ._imshow import draw_panels, Look, panel_limits
from ._layout import root_figure
from ._panels import as_numbers, PlotComplex, split_into_panels


if TYPE_CHECKING:
    import matplotlib.animation
    import matplotlib.axes
    import matplotlib.colors
    import matplotlib.figure

# Megabytes. Matplotlib's own limit is that of about a hundred frames of noise.
_LARGEST_IN_NOTEBOOK = 100.0


@checked(batch_idx=INDEX, channel_idx=INDEX, col_wrap=COUNT, framerate=POSITIVE)
def animshow(
    video: Any,
    framerate: float | int = 2.0,
    repeat: bool = False,
    vrange: str | Sequence[float | int] = "indep1",
    zoom: float | int | None = None,
    title: str | Sequence[str] | None = "",
    col_wrap: int | None = None,
    ax: "matplotlib.axes.Axes | None" = None,
    cmap: "str | matplotlib.colors.Colormap | None" = None,
    plot_complex: PlotComplex = "rectangular",
    batch_idx: int | None = None,
    channel_idx: int | None = None,
    as_rgb: bool = False,
    **kwargs: Any,
) -> "matplotlib.animation.FuncAnimation":
    """Show videos pixel by pixel, without interpolation.

    A notebook plays the animation where it is the last value of a cell. No other program is needed
    for that, for ``animation.to_jshtml()``, which is a part of a web page, or for
    ``animation.save("video.gif", "pillow")``; ``animation.save("video.mp4")`` needs ffmpeg. Every
    frame is shown in the same way, within limits that are taken from the whole video.

    Args:
        video: A video (time, channel, height, width) or (time, height, width), a batch of them
            (batch, time, channel, height, width), or a list of such with as many frames each.
        framerate: The number of frames in a second.
        repeat: Whether to start again after the last frame.
        vrange: See `imshow`.
        zoom: See `imshow`.
        title: See `imshow`.
        col_wrap: See `imshow`.
        ax: See `imshow`.
        cmap: See `imshow`.
        plot_complex: See `imshow`.
        batch_idx: Show this video of the batch only.
        channel_idx: Show this channel only.
        as_rgb: See `imshow`.
        **kwargs: Further arguments of ``matplotlib.axes.Axes.imshow``.

    Returns:
        The animation. It stops when it is deleted, so keep it in a variable.

    Raises:
        TypeError: If a video does not hold numbers.
        ValueError: If a video has another number of axes or of frames; and see `imshow`.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> import numpy as np
        >>> video = np.eye(16)[:, None, None] * np.ones((16, 1))
        >>> animation = animshow(video, framerate=8, zoom=4)
        >>> "<img" in animation.to_jshtml()
        True
        >>> plt.close(animation._fig)
    """
    videos = [as_numbers(one) for one in (video if isinstance(video, list | tuple) else [video])]
    lengths = {_length(one) for one in videos}
    if len(lengths) != 1:
        raise ValueError(
            f"the videos had {sorted(lengths)} frames; those that are shown together must have as "
            "many as each other, and there must be at least one."
        )
    frames = [
        split_into_panels(
            [one.take(index, _time_axis(one)) for one in videos],
            plot_complex,
            batch_idx,
            channel_idx,
            as_rgb,
        )
        for index in range(*lengths)
    ]
    whole = [
        of_time[0]._replace(pixels=np.stack([panel.pixels for panel in of_time]))
        for of_time in zip(*frames, strict=True)
    ]
    look = Look(vrange, zoom, title, col_wrap, ax, cmap, kwargs)
    pictures = draw_panels(frames[0], panel_limits(whole, vrange), look)

    def show(index: int) -> None:
        for picture, panel in zip(pictures, frames[index], strict=True):
            picture.show(panel)

    figure = root_figure(pictures[0].image.axes)
    return animate(figure, show, len(frames), framerate, repeat)


def animate(
    figure: "matplotlib.figure.Figure",
    show: Callable[[int], None],
    count: int,
    framerate: float | int,
    repeat: bool,
) -> "matplotlib.animation.FuncAnimation":
    """An animation of a figure that is there, which notebooks play.

    Args:
        figure: The figure, which shows the first frame.
        show: Makes the figure show the frame of an index.
        count: The number of frames.
        framerate: The number of frames in a second.
        repeat: Whether to start again after the last one.
    """
    import matplotlib.pyplot as plt
    from matplotlib.animation import FuncAnimation

    if not framerate > 0:
        raise ValueError(f"framerate was {framerate}; it must be a positive number of frames.")

    class Animation(FuncAnimation):
        def save(self, *args: Any, **kwargs: Any) -> None:
            # Writing a frame draws it; without this, it would be drawn once more before.
            vars(figure.canvas)["draw_idle"] = lambda: None
            try:
                super().save(*args, **kwargs)
            finally:
                del vars(figure.canvas)["draw_idle"]

        def _repr_html_(self) -> str:
            # Else the notebook would show the figure as a still image, too.
            plt.close(figure)
            with plt.rc_context({"animation.embed_limit": _LARGEST_IN_NOTEBOOK}):
                return self.to_jshtml()

    def step(index: int) -> list:
        show(index)
        return []

    return Animation(figure, step, frames=count, interval=1000 / framerate, repeat=repeat)


def _time_axis(video: np.ndarray) -> int:
    return video.ndim - 4 if video.ndim > 3 else 0


def _length(video: np.ndarray) -> int:
    if video.ndim not in (3, 4, 5) or video.size == 0:
        raise ValueError(
            f"a video had the shape {video.shape}; it must be (time, height, width), (time, "
            "channel, height, width) or, for a batch, (batch, time, channel, height, width), and "
            "none may be 0."
        )
    return video.shape[_time_axis(video)]
