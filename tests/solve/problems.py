import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from plenoptax.solve import AbstractProblem, Stage


class Quadratic(AbstractProblem):
    """Half of the squared distance to a target, stretched along each axis."""

    target: Float[Array, "..."]
    curvature: Float[Array, "..."]

    def initial_image(self, key):
        return jax.random.uniform(key, self.target.shape, self.target.dtype)

    def encode(self, image):
        return image

    def decode(self, z):
        return z

    def project(self, z):
        return z

    def objective(self, z, memory):
        value = 0.5 * jnp.sum(self.curvature * (z - self.target) ** 2)
        return value, {"penalty": jnp.sum(jnp.abs(z))}

    def start(self):
        return None

    def advance(self, memory, z, terms):
        return None


class Counted(AbstractProblem):
    """A quadratic whose weight grows with each accepted step, and which reports it."""

    target: Float[Array, "..."]

    def initial_image(self, key):
        return jax.random.uniform(key, self.target.shape, self.target.dtype)

    def encode(self, image):
        return {"half": image / 2}

    def decode(self, z):
        return 2 * z["half"]

    def project(self, z):
        return {"half": jnp.clip(z["half"], 0, 0.5)}

    def objective(self, z, memory):
        weight = 1 + memory.astype(self.target.dtype) / 100
        value = weight * jnp.sum((self.decode(z) - self.target) ** 2)
        return value, {"penalty": jnp.zeros(()), "weight": weight}

    def start(self):
        return jnp.zeros((), jnp.int32)

    def advance(self, memory, z, terms):
        return memory + 1


class Staged(AbstractProblem):
    """A squared distance, larger in each of three stages; they end at a loss or at their limit."""

    target: Float[Array, "..."]
    enough: Float[Array, ""]
    limit: Int[Array, ""]

    def initial_image(self, key):
        return jax.random.uniform(key, self.target.shape, self.target.dtype)

    def encode(self, image):
        return image

    def decode(self, z):
        return z

    def project(self, z):
        return z

    def objective(self, z, memory):
        weight = 1 + memory.index.astype(z.dtype)
        return weight * jnp.sum((z - self.target) ** 2), {"penalty": jnp.zeros(())}

    def start(self):
        return Stage(jnp.zeros((), jnp.int32), ("a", "b", "c"), max_steps=self.limit)

    def advance(self, memory, z, terms):
        ends = (memory.at_limit | (terms["loss"] < self.enough)) & ~memory.is_last
        index = memory.index + ends.astype(jnp.int32)
        return Stage(index, memory.names, max_steps=self.limit)


class Cliff(AbstractProblem):
    """A quadratic that is not a number where the first pixel is above a limit."""

    target: Float[Array, "..."]
    limit: Float[Array, ""]

    def initial_image(self, key):
        return jax.random.uniform(key, self.target.shape, self.target.dtype)

    def encode(self, image):
        return image

    def decode(self, z):
        return z

    def project(self, z):
        return z

    def objective(self, z, memory):
        value = jnp.sum((z - self.target) ** 2)
        value = jnp.where(jnp.ravel(z)[0] > self.limit, jnp.nan, 1.0) * value
        return value, {"penalty": jnp.zeros(())}

    def start(self):
        return None

    def advance(self, memory, z, terms):
        return None


class SmallNetwork(eqx.Module):
    """Two convolutions; what XLA runs slowly inside compiled loops on CPU."""

    first: eqx.nn.Conv2d
    second: eqx.nn.Conv2d

    def __init__(self, *, channels: int = 8, key):
        keys = jax.random.split(key)
        self.first = eqx.nn.Conv2d(1, channels, 5, padding=2, key=keys[0])
        self.second = eqx.nn.Conv2d(channels, channels, 3, stride=2, key=keys[1])

    def __call__(self, image):
        return self.second(jax.nn.softplus(self.first(image)))
