import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._precision import in_single_precision
from .._rules import checked, COUNT, NOT_NEGATIVE
from .._safe import safe_sqrt
from .._scale import power_of_two
from .._types import Key


@checked(n_steps=COUNT)
@in_single_precision("start", "stop")
def make_straight_line(
    start: Float[Array, "*shape"], stop: Float[Array, "*shape"], n_steps: int
) -> Float[Array, "time *shape"]:
    """Make the straight path from one image to another, a cross-fade in equal steps.

    Args:
        start: First image of the path, of any shape.
        stop: Last image of the path.
        n_steps: Number of steps.

    Returns:
        The path of ``n_steps + 1`` images, with both ends exact.

    Raises:
        ValueError: If the two shapes differ or ``n_steps`` is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> make_straight_line(jnp.zeros((1, 1, 2)), jnp.ones((1, 1, 2)), 4)[:, 0, 0, 0]
        Array([0.  , 0.25, 0.5 , 0.75, 1.  ], dtype=float32)
    """
    time = _times(start, stop, n_steps)
    return (1 - time) * start[None] + time * stop[None]


@checked(n_steps=COUNT, max_norm=NOT_NEGATIVE)
@in_single_precision("start", "stop")
def sample_brownian_bridge(
    start: Float[Array, "*shape"],
    stop: Float[Array, "*shape"],
    n_steps: int,
    max_norm: int | float = 1,
    *,
    key: Key,
) -> Float[Array, "time *shape"]:
    """Draw a random path from one image to another: a Brownian bridge.

    At the fraction ``t`` of the path, the deviation of every pixel from the straight line has a
    standard deviation of ``2 * max_norm * sqrt(t * (1 - t) / size)``, with ``size`` pixels in an
    image. So ``max_norm`` is about the Euclidean distance from the line at the middle, where this
    distance is largest.

    Args:
        start: First image of the path, of any shape.
        stop: Last image of the path.
        n_steps: Number of steps.
        max_norm: Root mean square distance from the line at the middle of the path.
        key: Random key.

    Returns:
        The path of ``n_steps + 1`` images, with both ends exact.

    Raises:
        ValueError: If the two shapes differ, ``n_steps`` is not positive or ``max_norm`` is
            negative.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> start, stop = jnp.zeros((1, 8, 8)), jnp.ones((1, 8, 8))
        >>> path = sample_brownian_bridge(start, stop, 10, key=jax.random.key(0))
        >>> path.shape
        (11, 1, 8, 8)
        >>> bool((path[-1] == stop).all())
        True
    """
    line = make_straight_line(start, stop, n_steps)
    std = 2 * max_norm / np.sqrt(max(start.size, 1) * n_steps)
    steps = jax.random.normal(key, (n_steps, *start.shape), start.dtype)
    motion = jnp.concatenate([jnp.zeros_like(line[:1]), jnp.cumsum(steps, axis=0)])
    bridge = motion - _times(start, stop, n_steps) * motion[-1:]
    return line + float(std) * bridge


@in_single_precision("sequence")
def deviation_from_line(
    sequence: Float[Array, "time *shape"], normalize: bool = True
) -> tuple[Float[Array, " time"], Float[Array, " time"]]:
    """Measure the distances of the images of a path along and from the line between its ends.

    A straight path has no deviation. A natural video deviates strongly from a line: the mean of two
    images that are far apart in time is not an image of the scene (Henaff and Simoncelli,
    "Geodesics of learned representations", ICLR 2016).

    Args:
        sequence: Path of images along the first axis.
        normalize: Whether to divide both distances by the distance between the ends.

    Returns:
        ``(dist_along_line, dist_from_line)``. If the ends are the same image there is no line: the
        first is then 0, and the second is the distance from the ends, undivided. Gradients are
        finite in that case, and on the line.

    Raises:
        ValueError: If there are fewer than two images.

    Example:
        >>> import jax.numpy as jnp
        >>> path = jnp.asarray([[0.0, 0.0], [1.0, 2.0], [4.0, 0.0]])
        >>> deviation_from_line(path)
        (Array([0.  , 0.25, 1.  ], dtype=float32), Array([0. , 0.5, 0. ], dtype=float32))
    """
    if len(sequence) < 2:
        raise ValueError(
            "sequence must have two or more images along its first axis, got shape "
            f"{sequence.shape}."
        )
    offset = sequence.reshape(len(sequence), -1) - sequence[:1].reshape(1, -1)
    scale = power_of_two(jnp.max(jnp.abs(offset)))
    offset = offset / scale
    length = safe_sqrt(jnp.sum(offset[-1] ** 2))
    is_line = length > 0
    unit = jnp.where(is_line, length, 1)
    direction = offset[-1] / unit
    along = jnp.sum(offset * direction[None], axis=1)
    away = safe_sqrt(jnp.sum((offset - along[:, None] * direction[None]) ** 2, axis=1))
    divisor = jnp.where(is_line, unit, 1 / scale) if normalize else 1 / scale
    return along / divisor, away / divisor


@checked(n_steps=COUNT)
def translation_sequence(
    image: Float[Array, "*batch height width"], n_steps: int = 10
) -> Float[Array, "time *batch height width"]:
    """Move an image to the right with circular borders, one pixel for each step.

    Args:
        image: Image; leading axes are kept.
        n_steps: Number of steps.

    Returns:
        The path of ``n_steps + 1`` images, the first of them ``image``.

    Raises:
        ValueError: If ``n_steps`` is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> translation_sequence(jnp.arange(3.0)[None], 2)[:, 0]
        Array([[0., 1., 2.],
               [2., 0., 1.],
               [1., 2., 0.]], dtype=float32)
    """
    return jnp.stack([jnp.roll(image, shift, axis=-1) for shift in range(n_steps + 1)])


def _times(start: Array, stop: Array, n_steps: int) -> Array:
    if start.shape != stop.shape:
        raise ValueError(
            f"start and stop must have the same shape, got {start.shape} and {stop.shape}."
        )
    times = jnp.asarray(np.linspace(0, 1, n_steps + 1), start.dtype)
    return times.reshape(-1, *(1,) * start.ndim)
