"""Windows that average maps over parts of an image, such as those that grow with eccentricity."""

import abc
import math
from collections.abc import Callable
from typing import final, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from .._axes import as_shape
from .._function import AbstractFunction
from .._precision import in_single_precision
from .._rules import checked, NUMBER, POSITIVE, SIZES


# The width at half of the maximum of a Gaussian, in standard deviations.
_WIDTH = 2 * math.sqrt(2 * math.log(2))


@final
class _Profile(NamedTuple):
    """The shape of windows along one coordinate of the fine grid.

    Attributes:
        weigh: The weight at a distance, which is in units of the spacing of windows. The sum over
            all windows is 1.
        width: The full width at half of the maximum.
        points: The points of the fine grid for each spacing.
        reach: The distance beyond which weights do not matter.
        margins: How far inside of the smallest eccentricity the first ring is, and how far outside
            of the largest one the last ring may be.
        pixels: How many pixels a window with a mass of 1 averages.
    """

    weigh: Callable[[Float[np.ndarray, "*shape"]], Float[np.ndarray, "*shape"]]
    width: float
    points: int
    reach: int
    margins: tuple[float, float]
    pixels: float


def _gaussian(distance: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    return np.exp(-0.5 * distance**2) / math.sqrt(2 * math.pi)


def _raised_cosine(distance: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Return 1 over half of the spacing, with a fall over another half on each side."""
    return np.cos(np.pi / 2 * np.clip(2 * np.abs(distance) - 0.5, 0, 1)) ** 2


# With 8 points for each standard deviation, averages differ from those of exact windows by at most
# .5 %, with 4 by 2 %. Beyond 6 standard deviations is 1e-8 of the mass of a Gaussian.
_PROFILES = {
    "gaussian": _Profile(_gaussian, _WIDTH, 8, 6, (3.0, 3.0), 4 * math.pi),
    "raised_cosine": _Profile(_raised_cosine, 1.0, 24, 1, (0.0, 0.75), 1 / 0.875**2),
}

# Windows that average fewer pixels are those pixels.
_FEWEST_PIXELS = 4.0

# The weights of so many pixels are computed at once.
_BLOCK = 2**22


class AbstractPoolingWindows(AbstractFunction):
    """Averages of maps over windows.

    Calling it averages maps of the shape of the image. `resize` gives the same windows for smaller
    maps whose samples lie on the same grid, such as the scales of a pyramid.
    """

    @property
    @abc.abstractmethod
    def image_shape(self) -> tuple[int, int]:
        """The height and width of the maps."""

    @property
    @abc.abstractmethod
    def num_windows(self) -> int:
        """The number of windows."""

    @property
    @abc.abstractmethod
    def effective_pixels(self) -> Float[np.ndarray, " window"]:
        """How many pixels each window averages: 1 over the sum of its squared weights."""

    @abc.abstractmethod
    def __call__(self, maps: Float[Array, "*batch height width"]) -> Float[Array, "*batch window"]:
        """Return the weighted mean of each map in each window."""

    @abc.abstractmethod
    @checked(map_shape=SIZES)
    def resize(self, map_shape: tuple[int, int]) -> "AbstractPoolingWindows":
        """Return the windows for maps of another size that show the same image.

        Args:
            map_shape: The height and width of the maps. Their first sample is at the first pixel of
                the image, and the others are equally far apart.
        """

    def count_effective(self) -> int:
        """Return how many windows are not almost sums of the others.

        These are the singular values above 1e-2 of the largest, of the matrix of weights whose rows
        have norm 1. Overlapping windows count less than their number.
        """
        gram = np.empty((self.num_windows, self.num_windows))
        count = max(1, _BLOCK // math.prod(self.image_shape))
        for start in range(0, self.num_windows, count):
            indices = np.arange(start, min(start + count, self.num_windows))
            gram[indices] = self(self.weigh_pixels(indices))
        norms = np.sqrt(np.diagonal(gram))
        values = np.linalg.eigvalsh(gram / norms / norms[:, None])
        return int((values > 1e-4 * values.max()).sum())

    def weigh_pixels(
        self, indices: Int[ArrayLike, " chosen"]
    ) -> Float[Array, "chosen height width"]:
        """Return the weight of each pixel in some of the windows.

        Args:
            indices: The indices of these windows.
        """
        blank = jnp.zeros(self.image_shape, jnp.result_type(float))
        _, pull_back = jax.vjp(self, blank)
        rows = jnp.asarray(indices)[:, None] == jnp.arange(self.num_windows)[None]
        return jax.vmap(lambda row: pull_back(row)[0])(rows.astype(blank.dtype))


@final
class DenseWindows(AbstractPoolingWindows):
    """Windows as an array with the weight of each pixel.

    Attributes:
        weights: The weights, whose sum is 1 in each window.

    Example:
        >>> import jax.numpy as jnp
        >>> windows = DenseWindows(jnp.ones((1, 4, 4)))
        >>> print(windows(jnp.arange(16.0).reshape(1, 4, 4)))
        [[7.5]]
    """

    weights: Float[Array, "window height width"]

    def __init__(self, weights: ArrayLike):
        """Normalize the weights.

        Args:
            weights: The windows, in any unit.

        Raises:
            ValueError: If the array has other axes than (window, height, width), or a weight is
                negative or not finite, or a window has no weight.
        """
        weights = np.asarray(weights, np.float64)
        if weights.ndim != 3 or not weights.size:
            raise ValueError(
                "The windows must be an array (window, height, width), got shape "
                f"{weights.shape}. Add an axis for a single window."
            )
        if not np.isfinite(weights).all() or weights.min() < 0:
            raise ValueError(
                f"The windows must be finite and not negative, got {weights.min():.3g} to "
                f"{weights.max():.3g}. Clip them."
            )
        mass = weights.sum((1, 2), keepdims=True)
        if (mass == 0).any():
            raise ValueError(
                f"Each window must have a weight somewhere, got none in window "
                f"{int(np.argmin(mass))}. Leave it out."
            )
        self.weights = jnp.asarray(weights / mass, jnp.result_type(float))

    @property
    def image_shape(self) -> tuple[int, int]:
        """The height and width of the maps."""
        return as_shape(self.weights.shape[-2:])

    @property
    def num_windows(self) -> int:
        """The number of windows."""
        return self.weights.shape[0]

    @property
    def effective_pixels(self) -> Float[np.ndarray, " window"]:
        """How many pixels each window averages: 1 over the sum of its squared weights."""
        return 1 / (np.asarray(self.weights, np.float64) ** 2).sum((1, 2))

    @in_single_precision("maps")
    def __call__(self, maps: Float[Array, "*batch height width"]) -> Float[Array, "*batch window"]:
        """Return the weighted mean of each map in each window."""
        _check_maps(maps, self.image_shape)
        weights = self.weights.astype(maps.dtype).reshape(self.num_windows, -1)
        return maps.reshape(*maps.shape[:-2], -1) @ weights.T

    @checked(map_shape=SIZES)
    def resize(self, map_shape: tuple[int, int]) -> "DenseWindows":
        """Return the windows for maps of another size, averaged around their samples."""
        rows, columns = (
            triangles(size, count, size / count)
            for size, count in zip(self.image_shape, as_shape(map_shape, "map_shape"), strict=True)
        )
        rows, columns = (one / one.sum(1, keepdims=True) for one in (rows, columns))
        return DenseWindows(rows @ np.asarray(self.weights, np.float64) @ columns.T)


@final
class Layout(NamedTuple):
    """The geometry of log-polar windows, in pixels of the image.

    Attributes:
        image_shape: The height and width of the image.
        center: The row and column of the point of fixation.
        first: The logarithm of the eccentricity of the first ring.
        num_rings: The number of rings.
        spacing: The distance of rings in the logarithm of the eccentricity; for Gaussians it is the
            standard deviation.
        num_directions: The number of directions.
        profile: The shape of windows along the radius and along the angle.
    """

    image_shape: tuple[int, int]
    center: tuple[float, float]
    first: float
    num_rings: int
    spacing: float
    num_directions: int
    profile: str


@final
class LogPolarWindows(AbstractPoolingWindows):
    """Windows that are products of a function of the eccentricity and one of the angle.

    Each pixel is divided between the four nearest points of a fine grid in these two coordinates,
    and two small matrices average the grid. So thousands of windows take little memory. Made by
    `log_polar_windows`.

    Attributes:
        radial: The rings by points of the grid.
        angular: The directions by points of the grid.
        points: For each pixel, the indices of its four points of the grid.
        shares: For each pixel, its share at each of them.
        kept: The indices of the windows, among all combinations of a ring and a direction.
        mass: The sum of the weights in each window.
        layout: What the windows are made from.
    """

    radial: Float[Array, "ring row"]
    angular: Float[Array, "direction column"]
    points: Int[Array, "4 height width"]
    shares: Float[Array, "4 height width"]
    kept: Int[Array, " window"]
    mass: Float[Array, " window"]
    layout: Layout = eqx.field(static=True)

    @property
    def image_shape(self) -> tuple[int, int]:
        """The height and width of the maps."""
        return as_shape(self.shares.shape[-2:])

    @property
    def num_windows(self) -> int:
        """The number of windows."""
        return self.kept.shape[0]

    @property
    def effective_pixels(self) -> Float[np.ndarray, " window"]:
        """How many pixels each window averages: 1 over the sum of its squared weights."""
        return _effective_pixels(self.layout)[np.asarray(self.kept)]

    @property
    def num_dropped(self) -> int:
        """How many windows were left out because they average fewer than 4 pixels."""
        return self.layout.num_rings * self.layout.num_directions - self.num_windows

    @in_single_precision("maps")
    def __call__(self, maps: Float[Array, "*batch height width"]) -> Float[Array, "*batch window"]:
        """Return the weighted mean of each map in each window."""
        _check_maps(maps, self.image_shape)
        num_rows, num_columns = self.radial.shape[1], self.angular.shape[1]
        flat = maps.reshape(-1, 1, maps.shape[-2] * maps.shape[-1])
        parts = flat * self.shares.astype(maps.dtype).reshape(1, 4, -1)
        grid = jnp.zeros((len(flat), num_rows * num_columns), maps.dtype)
        grid = grid.at[:, self.points.ravel()].add(parts.reshape(len(flat), -1))
        grid = grid.reshape(-1, num_rows, num_columns)
        summed = self.radial.astype(maps.dtype) @ grid @ self.angular.astype(maps.dtype).T
        summed = summed.reshape(len(flat), -1)[:, self.kept] / self.mass.astype(maps.dtype)[None]
        return summed.reshape(*maps.shape[:-2], self.num_windows)

    @checked(map_shape=SIZES)
    def resize(self, map_shape: tuple[int, int]) -> "LogPolarWindows":
        """Return the same windows, measured at the samples of the maps."""
        shape = as_shape(map_shape, "map_shape")
        return _measure_windows(self.layout, shape, np.asarray(self.kept))


@checked(
    image_shape=SIZES,
    scaling=POSITIVE,
    min_eccentricity=POSITIVE,
    max_eccentricity=POSITIVE,
    aspect=POSITIVE,
    center=NUMBER,
    pixels_per_degree=POSITIVE,
)
def log_polar_windows(
    image_shape: tuple[int, int],
    scaling: float,
    min_eccentricity: float,
    max_eccentricity: float,
    *,
    aspect: float = 2.0,
    center: tuple[float, float] | None = None,
    pixels_per_degree: float | None = None,
    profile: Literal["gaussian", "raised_cosine"] = "gaussian",
) -> LogPolarWindows:
    """Make windows whose size grows in proportion to the eccentricity of their center.

    By default, windows are Gaussians in the logarithm of the eccentricity and in the angle, one
    standard deviation apart. From `min_eccentricity` to `max_eccentricity` the windows of equal
    mass sum to 1. The centers of the rings begin three standard deviations inside and end three
    outside.

    Args:
        image_shape: The height and width of the image.
        scaling: The full width of a window at half of its maximum, along the radius, over the
            eccentricity of its center.
        min_eccentricity: The smallest eccentricity that is covered.
        max_eccentricity: The largest one.
        aspect: The width along the radius over that across it. By default 2, as in Freeman and
            Simoncelli (2011).
        center: The row and column of the point of fixation in pixels, by default the middle.
        pixels_per_degree: If given, both eccentricities are in degrees; otherwise in pixels.
        profile: ``"gaussian"``, or ``"raised_cosine"``, as in Freeman and Simoncelli: flat over
            half of their width, neighbors meet at half of the maximum. There are 5.5 times fewer of
            these at the same scaling, but they cut sharply, so metamers may ring.

    Returns:
        The windows. Those that average fewer than 4 pixels are left out; ``num_dropped`` counts
        them.

    Raises:
        ValueError: If an argument is out of range, the center is outside of the image, or no window
            is left.

    References:
        Freeman and Simoncelli (2011), Metamers of the ventral stream, Nature Neuroscience 14,
        1195-1201; Broderick et al. (2025), for Gaussian windows.

    Example:
        >>> windows = log_polar_windows((64, 64), 0.5, 4, 32)
        >>> windows(jnp.ones((1, 64, 64))).shape == (1, windows.num_windows)
        True
    """
    unit = 1.0 if pixels_per_degree is None else pixels_per_degree
    if min_eccentricity >= max_eccentricity:
        raise ValueError(
            "min_eccentricity must be below max_eccentricity, got "
            f"{min_eccentricity:g} and {max_eccentricity:g}. Exchange or change them."
        )
    height, width = as_shape(image_shape)
    middle = ((height - 1) / 2, (width - 1) / 2) if center is None else center
    limits = height - 1, width - 1
    if np.shape(middle) != (2,) or not all(
        0 <= m <= n for m, n in zip(middle, limits, strict=True)
    ):
        raise ValueError(
            f"center must be a row and a column within {height} x {width} pixels, got {middle}. "
            "Count from 0."
        )
    if profile not in _PROFILES:
        raise ValueError(f"profile must be one of {', '.join(_PROFILES)}, got {profile!r}.")
    shape = _PROFILES[profile]
    extent = 2 * math.asinh(scaling / 2)
    spacing = extent / shape.width
    first = math.log(min_eccentricity * unit) - shape.margins[0] * spacing
    last = math.log(max_eccentricity * unit) + shape.margins[1] * spacing
    layout = Layout(
        image_shape=(height, width),
        center=(float(middle[0]), float(middle[1])),
        first=first,
        num_rings=math.floor((last - first) / spacing) + 1,
        spacing=spacing,
        num_directions=max(1, round(2 * math.pi * aspect / spacing)),
        profile=profile,
    )
    kept = np.flatnonzero(_effective_pixels(layout) >= _FEWEST_PIXELS)
    if not kept.size:
        raise ValueError(
            f"At least one window must average {_FEWEST_PIXELS:g} pixels, got none. Increase "
            "scaling or min_eccentricity."
        )
    return _measure_windows(layout, (height, width), kept)


@checked(image_shape=SIZES, size=SIZES)
def grid_windows(image_shape: tuple[int, int], size: tuple[int, int]) -> DenseWindows:
    """Make Gaussian windows of one size on a square grid that covers an image.

    Args:
        image_shape: The height and width of the image.
        size: The full height and width of a window, in pixels, at half of its maximum.

    Returns:
        The windows, one standard deviation apart, row by row.

    Raises:
        ValueError: If a size is not positive.

    Example:
        >>> grid_windows((32, 32), (16, 16)).num_windows
        25
    """
    rows, columns = (
        _gaussians(extent, one / _WIDTH)
        for extent, one in zip(as_shape(image_shape), as_shape(size, "size"), strict=True)
    )
    weights = rows[:, None, :, None] * columns[None, :, None, :]
    return DenseWindows(weights.reshape(-1, *image_shape))


@checked(image_shape=SIZES)
def uniform_window(image_shape: tuple[int, int]) -> DenseWindows:
    """Make one window with the same weight everywhere.

    Args:
        image_shape: The height and width of the image.

    Raises:
        ValueError: If a size is not positive.

    Example:
        >>> uniform_window((8, 8)).num_windows
        1
    """
    return DenseWindows(np.ones((1, *as_shape(image_shape))))


def _gaussians(extent: int, sigma: float) -> Float[np.ndarray, "window pixel"]:
    """Return Gaussians one standard deviation apart, symmetric about the middle of a line."""
    reach = math.floor((extent - 1) / 2 / sigma)
    centers = (extent - 1) / 2 + sigma * np.arange(-reach, reach + 1)
    return np.exp(-0.5 * ((np.arange(extent) - centers[:, None]) / sigma) ** 2)


def triangles(
    size: int, count: int, step: float, *, wraps: bool = False
) -> Float[np.ndarray, "sample pixel"]:
    """Return triangles with height 1 and twice the distance of samples around each of them.

    Args:
        size: The number of pixels.
        count: The number of samples, the first of which is at the first pixel.
        step: The distance of samples in pixels.
        wraps: Whether the triangle around the first sample continues at the last pixels.
    """
    distance = np.abs(np.arange(size) - step * np.arange(count)[:, None])
    if wraps:
        distance = np.minimum(distance, size - distance)
    return np.maximum(1 - distance / step, 0)


def _measure_windows(
    layout: Layout, map_shape: tuple[int, int], kept: Int[np.ndarray, " window"]
) -> LogPolarWindows:
    """Return windows for maps of some size."""
    radial, angular = _fine_windows(layout)
    points, shares = _place(layout, map_shape, (radial.shape[1], angular.shape[1]))
    mass = _pool(radial, angular, points, shares).ravel()[kept]
    dtype = jnp.result_type(float)
    return LogPolarWindows(
        radial=jnp.asarray(radial, dtype),
        angular=jnp.asarray(angular, dtype),
        points=jnp.asarray(points, jnp.int32),
        shares=jnp.asarray(shares, dtype),
        kept=jnp.asarray(kept, jnp.int32),
        mass=jnp.asarray(mass, dtype),
        layout=layout,
    )


def _fine_windows(
    layout: Layout,
) -> tuple[Float[np.ndarray, "ring row"], Float[np.ndarray, "direction column"]]:
    """Return both factors of the windows at the points of the fine grid."""
    shape = _PROFILES[layout.profile]
    num_rows = (layout.num_rings - 1 + 2 * shape.reach) * shape.points + 1
    rows = np.arange(num_rows) / shape.points - shape.reach
    radial = shape.weigh(rows - np.arange(layout.num_rings)[:, None])
    columns = np.arange(layout.num_directions * shape.points) / shape.points
    distance = columns - np.arange(layout.num_directions)[:, None]
    # Around the circle, a window meets itself.
    turns = layout.num_directions * np.arange(-shape.reach, shape.reach + 1)
    return radial, shape.weigh(distance[..., None] + turns).sum(-1)


def _place(
    layout: Layout, map_shape: tuple[int, int], grid_shape: tuple[int, int]
) -> tuple[Int[np.ndarray, "4 height width"], Float[np.ndarray, "4 height width"]]:
    """Return the four points of the grid around each sample, and the share of each."""
    y, x = (
        np.arange(count) * (size / count) - middle
        for count, size, middle in zip(map_shape, layout.image_shape, layout.center, strict=True)
    )
    radius = np.hypot(y[:, None], x[None])
    # The point of fixation has no logarithm; all rings are far from it.
    depth = np.log(np.maximum(radius, np.finfo(float).tiny)) - layout.first
    shape = _PROFILES[layout.profile]
    row = np.clip((depth / layout.spacing + shape.reach) * shape.points, 0, grid_shape[0] - 1)
    turn = np.arctan2(y[:, None], x[None]) / (2 * math.pi) % 1
    column = turn * grid_shape[1]
    above = np.minimum(np.floor(row).astype(np.int64), grid_shape[0] - 2)
    left = np.floor(column).astype(np.int64)
    down, along = row - above, column - left
    points = [
        (above + i) * grid_shape[1] + (left + j) % grid_shape[1] for i in (0, 1) for j in (0, 1)
    ]
    shares = [abs(1 - i - down) * abs(1 - j - along) for i in (0, 1) for j in (0, 1)]
    return np.stack(points), np.stack(shares)


def _pool(
    radial: Float[np.ndarray, "ring row"],
    angular: Float[np.ndarray, "direction column"],
    points: Int[np.ndarray, "4 height width"],
    shares: Float[np.ndarray, "4 height width"],
) -> Float[np.ndarray, "ring direction"]:
    """Return the sum of the weights of all samples in each window."""
    grid = np.zeros((radial.shape[1], angular.shape[1]))
    np.add.at(grid.reshape(-1), points, shares)
    return radial @ grid @ angular.T


def _effective_pixels(layout: Layout) -> Float[np.ndarray, " window"]:
    """Return how many pixels each window averages.

    This is the squared sum of the weights over the sum of their squares, and at most what it is for
    a whole window with this sum. The limit holds for windows between pixels and for windows outside
    of the image, whose tails alone are measured.
    """
    radial, angular = _fine_windows(layout)
    placed = _place(layout, layout.image_shape, (radial.shape[1], angular.shape[1]))
    mass = _pool(radial, angular, *placed)
    squares = _pool(radial**2, angular**2, *placed)
    measured = mass**2 / np.maximum(squares, np.finfo(float).tiny)
    return np.minimum(measured, _PROFILES[layout.profile].pixels * mass).ravel()


def _check_maps(maps: Array, image_shape: tuple[int, int]) -> None:
    if maps.shape[-2:] != image_shape:
        raise ValueError(
            f"The maps must have {image_shape[0]} x {image_shape[1]} pixels as the windows, got "
            f"{maps.shape[-2]} x {maps.shape[-1]}. Use windows.resize(maps.shape[-2:]) for maps of "
            "the same image."
        )
