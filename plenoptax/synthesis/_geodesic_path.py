from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._tree import flatten_real


# The first axis indexes the frames; the other axes are those of an image.
Path = Float[Array, "..."]


def represent_frames(model: Callable, path: Path) -> Float[Array, "frames size"]:
    """Return the representations of the frames, each as one vector of real numbers."""
    return jax.vmap(lambda frame: flatten_real(model(frame), path.dtype))(path)


represent_path = eqx.filter_jit(represent_frames)


def energy_of_steps(vectors: Float[Array, "frames size"]) -> Float[Array, " steps"]:
    """Return the squared lengths of the steps."""
    return jnp.sum(jnp.diff(vectors, axis=0) ** 2, axis=1)


@eqx.filter_jit
def jerkiness(model: Callable, path: Path) -> Float[Array, " inner"]:
    """See `Geodesic.calculate_jerkiness`."""
    vectors, pull_back = jax.vjp(lambda path: represent_frames(model, path), path)
    acceleration = jnp.diff(vectors, n=2, axis=0)
    norm = jnp.linalg.norm(acceleration, axis=1, keepdims=True)
    rounding = 100 * jnp.finfo(vectors.dtype).eps * jnp.max(jnp.linalg.norm(vectors, axis=1))
    vanishes = norm <= rounding
    direction = jnp.where(vanishes, 0, acceleration / jnp.where(vanishes, 1, norm))
    (pulled_back,) = pull_back(jnp.pad(direction, ((1, 1), (0, 0))))
    return jnp.sum(pulled_back[1:-1].reshape(len(path) - 2, -1) ** 2, axis=1)


def respace(path: Path, step_energy: Float[Array, " steps"], n_steps: int) -> Path:
    """See `Geodesic.respace`."""
    index = jnp.arange(len(path), dtype=step_energy.dtype)
    arc = jnp.pad(jnp.cumsum(jnp.sqrt(step_energy)), (1, 0))
    arc = jnp.where(arc[-1] > 0, arc, index)
    wanted = jnp.linspace(0, arc[-1], n_steps + 1, dtype=arc.dtype)
    position = jnp.interp(wanted, arc, index).astype(path.dtype)
    before = jnp.clip(jnp.floor(position).astype(jnp.int32), 0, len(path) - 2)
    fraction = position - before.astype(position.dtype)
    fraction = fraction.reshape(-1, *[1] * (path.ndim - 1))
    return (1 - fraction) * path[before] + fraction * path[before + 1]
