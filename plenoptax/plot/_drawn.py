from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TYPE_CHECKING

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._compiled import call_compiled
from ._divide import divide
from ._histogram import finite_values, histogram
from ._imshow import draw_panels, Look, panel_limits
from ._panels import one_panel, Panel
from ._representation import plot_representation
from ._stem import clean_up_axes
from ._update import update_plot
from ._view import View


if TYPE_CHECKING:
    import matplotlib.axes


# Width and height in inches of the figure of a signal.
_SIGNAL_SIZE = (8.0, 3.0)


class Drawn(NamedTuple):
    """A plot of one step of a synthesis.

    Attributes:
        axes: The axes, as the public function of the plot returns them.
        show: A function that shows another step; its second argument says whether to fit limits.
    """

    axes: Any
    show: Callable[[int, bool], None]


def draw_losses(
    views: Sequence[View],
    iteration: int | None,
    plot_penalties: bool,
    ax: Any,
    **kwargs: Any,
) -> Drawn:
    """Plot losses; see `synthesis_loss`."""
    import matplotlib.pyplot as plt

    if any(one.trace is None for one in views):
        raise ValueError("result must have losses, got none. Give a result, a trace, or a vector.")
    names = _curves(views[0], plot_penalties)
    if ax is None:
        ax = plt.gca()
    axes = list(ax) if isinstance(ax, Sequence | np.ndarray) else [ax]
    if len(axes) == 1 and len(names) > 1:
        axes = divide(axes[0], 1, len(names), len(names), " ", 0.0)
    if len(axes) != len(names):
        raise ValueError(
            f"ax must hold {len(names)} axes ({', '.join(names)}), got {len(axes)}. Give as many, "
            "or one, which is divided."
        )
    shows = []
    for one, name in zip(axes, names, strict=True):
        shows += _draw_curves(one, name, views, iteration, plot_penalties, kwargs)

    def show(step: int, rescale: bool) -> None:
        for move in shows:
            move(step)

    return Drawn(dict(zip(names, axes, strict=True)), show)


def is_competition(one: View) -> bool:
    """Return whether the trace holds two metrics at every step."""
    terms = getattr(one.trace, "terms", None) or {}
    return {"reference_metric", "optimized_metric"} <= set(terms)


def _curves(one: View, plot_penalties: bool) -> list[str]:
    """Return the names of the axes."""
    if not is_competition(one):
        return ["loss"]
    penalties = ["penalties"] if plot_penalties else []
    return ["reference_metric_loss", "optimized_metric_loss", *penalties]


def _draw_curves(
    ax: "matplotlib.axes.Axes",
    name: str,
    views: Sequence[View],
    iteration: int | None,
    plot_penalties: bool,
    options: dict[str, Any],
) -> list[Callable[[int], None]]:
    from matplotlib.ticker import MaxNLocator

    moves = []
    for index, one in enumerate(views):
        values = _values_of_curve(one, name)
        # A trace does not know which image was returned.
        step = one.last if iteration is None and one.problem is None else one.index(iteration)
        label = "loss" if len(views) == 1 else f"loss [{index}]"
        drawn = line_options({"linewidth": 1.5, "label": label}, options)
        (line,) = ax.plot(values, **drawn)
        color = "tab:red" if len(views) == 1 else line.get_color()
        (dot,) = ax.plot(
            [step], [values[step]], "o", color=color, markersize=6, label="_step", zorder=3
        )
        moves.append(lambda step, dot=dot, values=values: dot.set_data([step], [values[step]]))
        if plot_penalties and name == "loss":
            ax.plot(one.trace.penalties, "--", linewidth=1, color="0.5", label="penalty")
    if name == "loss":
        ax.set_ylabel("Loss")
        every = np.concatenate([_values_of_curve(one, name) for one in views])
        if (every[np.isfinite(every)] > 0).all():
            _make_logarithmic(ax)
    else:
        # The axes may already hold curves. A metric that is constant up to rounding must look flat.
        low, high = ax.dataLim.intervaly
        if low <= high:
            middle, least = (low + high) / 2, max(-low, high) / 20
            ax.update_datalim([(0, middle - least), (0, middle + least)], updatex=False)
        if 0 < 10 * low < high:
            _make_logarithmic(ax)
        else:
            ax.set_yscale("linear")
        ax.set_title(name.removesuffix("_loss").replace("_", " ").capitalize(), fontsize=10)
    ax.set_xlabel("Synthesis step")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    clean_up_axes(ax, ("top", "right"))
    if name == "loss" and (plot_penalties or 1 < len(views) <= 8):
        ax.legend(frameon=False)
    return moves


def line_options(*options: Mapping[str, Any]) -> dict[str, Any]:
    """Merge arguments of ``matplotlib.axes.Axes.plot``, also under aliases; later ones win."""
    from matplotlib.cbook import normalize_kwargs
    from matplotlib.lines import Line2D

    named: list[dict[str, Any]] = [normalize_kwargs(dict(one), Line2D) for one in options]
    return {name: value for one in named for name, value in one.items()}


def _make_logarithmic(ax: "matplotlib.axes.Axes") -> None:
    """Make the vertical axis logarithmic, with plain numbers if it spans less than a decade."""
    from matplotlib.ticker import LogFormatterSciNotation

    class PlainWithinADecade(LogFormatterSciNotation):
        def __call__(self, x: float, pos: int | None = None) -> str:
            label = super().__call__(x, pos)
            low, high = sorted(ax.get_ylim())
            return f"{x:g}" if label and high < 10 * low else label

    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(PlainWithinADecade())
    ax.yaxis.set_minor_formatter(PlainWithinADecade())


def _values_of_curve(one: View, name: str) -> np.ndarray:
    if name == "loss":
        return one.trace.losses
    return (
        one.trace.penalties if name == "penalties" else one.trace.terms[name.removesuffix("_loss")]
    )


def draw_image(
    one: View,
    step: int,
    ax: "matplotlib.axes.Axes | None" = None,
    *,
    channel_idx: int | None = None,
    process_image: Callable | None = None,
    zoom: float | int | None = None,
    title: str | None = None,
    vrange: str | Sequence[float | int] | None = None,
    as_rgb: bool | None = None,
    cmap: Any = None,
    **kwargs: Any,
) -> Drawn:
    """Show the image of a step; see `synthesis_imshow`."""
    vrange = one.allowed_range if vrange is None else vrange

    def image_at(step: int) -> np.ndarray:
        image = one.shown(step).image
        return image if process_image is None else np.asarray(process_image(jnp.asarray(image)))

    def panel_at(step: int) -> Panel:
        return one_panel(image_at(step), channel_idx, as_rgb)

    head = one.title(step) if title is None else title
    if is_signal(image_at(step)):
        axes, show_step = _draw_signal(lambda step: image_at(step).ravel(), step, ax, head, kwargs)
    else:
        first = panel_at(step)
        look = Look(vrange, zoom, head, None, ax, cmap, kwargs)
        (picture,) = draw_panels([first], panel_limits([first], vrange), look)
        axes, show_step = picture.image.axes, lambda step: picture.show(panel_at(step))

    def show(step: int, rescale: bool) -> None:
        show_step(step)
        if title is None:
            set_first_line(axes, one.title(step))

    return Drawn(axes, show)


def is_signal(image: np.ndarray) -> bool:
    """Return whether an image is a signal such as a sound, which is shown as a line."""
    return image.ndim == 1 or (image.ndim == 2 and len(image) == 1)


def _draw_signal(
    signal_at: Callable[[int], np.ndarray],
    step: int,
    ax: "matplotlib.axes.Axes | None",
    title: str,
    kwargs: dict[str, Any],
) -> "tuple[matplotlib.axes.Axes, Callable[[int], None]]":
    """Plot the samples of a signal as a line.

    Returns:
        The axes, and a function that shows the signal of another step.
    """
    import matplotlib.pyplot as plt

    axes = plt.figure(figsize=_SIGNAL_SIZE).add_subplot() if ax is None else ax
    (line,) = axes.plot(signal_at(step), **line_options({"linewidth": 0.8}, kwargs))
    axes.set_xlabel("Sample")
    axes.set_title(title, fontsize=11)
    clean_up_axes(axes, ("top", "right"))

    def show(step: int) -> None:
        line.set_ydata(signal_at(step))
        axes.relim()
        axes.autoscale_view(scalex=False)

    return axes, show


def draw_histogram(
    one: View,
    step: int,
    ax: "matplotlib.axes.Axes | None" = None,
    *,
    channel_idx: int | None = None,
    ylim: Sequence[float | int] | Literal[False] = False,
    **kwargs: Any,
) -> Drawn:
    """Plot histograms of a step; see `synthesis_histogram`."""

    def values_at(step: int) -> np.ndarray:
        return _channel(one.shown(step).image, channel_idx)

    if one.distortions:
        named = {key: _channel(value, channel_idx) for key, value in one.distortions.items()}
    else:
        named = {one.name: values_at(step)}
        target = getattr(one.problem, "image", None)
        if target is not None:
            named["target"] = _channel(np.asarray(target), channel_idx)
    every = [finite_values(value) for value in [*named.values(), *map(np.asarray, one.images)]]
    ends = np.array([bound(value) for value in every for bound in (np.min, np.max)])
    bins = kwargs.pop("bins", 50)
    edges = np.histogram_bin_edges(ends, bins) if np.ndim(bins) == 0 else np.asarray(bins)
    defaults = {"bins": edges, "xlabel": "Pixel value", "title": "Histogram", "labels": list(named)}
    options = defaults | kwargs
    axes = histogram(list(named.values()), batch_idx=None, ylim=ylim, ax=ax, **options)
    outlines: list[Any] = list(axes.patches[-len(named) :])
    if not one.distortions:
        for end in one.allowed_range:
            axes.axvline(end, color="0.4", linewidth=0.8, linestyle=":", label="_range")

    def show(step: int, rescale: bool) -> None:
        density = bool(kwargs.get("density", False))
        values = finite_values(values_at(step))
        outlines[0].set_data(np.histogram(values, edges, density=density)[0])
        if ylim is False:
            axes.set_ylim(0, 1.05 * max(one.get_data().values.max() for one in outlines))

    return Drawn(axes, show)


def _channel(image: np.ndarray, channel_idx: int | None) -> np.ndarray:
    return image if channel_idx is None else image[..., channel_idx, :, :]


def draw_error(
    one: View,
    step: int,
    ax: "matplotlib.axes.Axes | None" = None,
    *,
    ylim: Sequence[float | int] | Literal[False] | None = None,
    as_rgb: bool = False,
    **kwargs: Any,
) -> Drawn:
    """Plot the representation error of a step; see `metamer_representation_error`."""
    if not has_representation(one):
        raise ValueError(
            "result must have a model and a target to show a representation error, got "
            f"{one.name}. Give the result of metamer."
        )
    model = one.problem.model

    def error_at(step: int) -> Any:
        image = jnp.asarray(one.shown(step).image)
        return _subtract(call_compiled(model, image, **kwargs), one.problem.target)

    def title(step: int) -> str:
        return f"Representation error, step {step}"

    axes = plot_representation(model, error_at(step), ax, None, ylim, 0, title(step), as_rgb)
    titled = axes[0].figure.axes[0] if ax is None else ax

    def show(step: int, rescale: bool) -> None:
        update_plot(axes, error_at(step), model, rescale_ylim=rescale)
        set_first_line(titled, title(step))

    return Drawn(axes, show)


def _subtract(first: Any, second: Any) -> Any:
    return jax.tree.map(lambda a, b: np.asarray(a) - np.asarray(b), first, second)


def has_representation(one: View) -> bool:
    """Return whether the problem has a model and the representation of a target image."""
    has_both = all(hasattr(one.problem, name) for name in ("model", "target"))
    return has_both and geodesic_of(one) is None


def geodesic_of(one: View) -> Any:
    """Return the problem of a geodesic, also from a conditional one; None for other problems."""
    problem = getattr(one.problem, "geodesic", one.problem)
    return problem if hasattr(problem, "deviation_from_line") else None


def draw_deviation(
    one: View,
    step: int,
    ax: "matplotlib.axes.Axes | None" = None,
    *,
    natural_video: Any = None,
    **kwargs: Any,
) -> Drawn:
    """Plot the deviation of a path from a line; see `geodesic_deviation_from_line`."""
    import matplotlib.pyplot as plt

    problem = geodesic_of(one)
    if problem is None:
        raise ValueError(
            "result must have a path between two images to show its deviation from a line, got "
            f"{one.name}. Give the result of geodesic."
        )

    def points(path: Any) -> np.ndarray:
        return np.asarray(_deviation(problem, jnp.asarray(path))).T

    ax = plt.gca() if ax is None else ax
    dots: dict[str, Any] = {"marker": "o", "markersize": 4, "linewidth": 1.2}
    if natural_video is not None:
        ax.plot(*points(natural_video), color="tab:green", label="natural video", **dots)
    ax.plot(*points(problem.pixelfade), color="0.6", label="pixel fade", **dots)
    options = line_options({"color": "tab:red", "label": one.name}, dots, kwargs)
    (line,) = ax.plot(*points(one.shown(step).image), **options)
    ax.set_xlabel("Distance along the line")
    ax.set_ylabel("Distance from the line")
    ax.set_title("Deviation from a straight line", fontsize=11)
    ax.legend(frameon=False)
    clean_up_axes(ax, ("top", "right"))

    def show(step: int, rescale: bool) -> None:
        line.set_data(*points(one.shown(step).image))

    return Drawn(ax, show)


@eqx.filter_jit
def _deviation(problem: Any, path: jax.Array) -> jax.Array:
    return problem.deviation_from_line(path)


def set_first_line(ax: "matplotlib.axes.Axes", text: str) -> None:
    """Change the first line of a title."""
    rest = ax.get_title().split("\n")[1:]
    ax.title.set_text("\n".join([text, *rest]))
