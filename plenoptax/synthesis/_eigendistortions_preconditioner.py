from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._safe import safe_divisor
from .._types import Key
from ..linalg import LinearMap
from ..process import gaussian_blur


@final
class LocalSpectrum(eqx.Module):
    """Approximate inverse Fisher information of a filter-then-divide model.

    The information is modeled as ``D C^T H C D``: a local gain D, a cosine transform C, and a gain
    H for each frequency. D and H are estimated by products with noise and smoothed. The smallest
    eigenvalues of front ends are densely clustered; they belong to high frequencies where the local
    gain is low. This preconditioner reduces the products needed from thousands to about a hundred.

    Attributes:
        local: D, in the shape of the image.
        spectrum: H, in the same shape.
        band: 1 at the frequencies with the lowest gain, without the local gain, else 0: one
            frequency in 500, and at least 16.
        lift: The map from the coordinates of the search to changes of the image.
    """

    local: Float[Array, "*channel height width"]
    spectrum: Float[Array, "*channel height width"]
    band: Float[Array, "*channel height width"]
    lift: LinearMap

    @eqx.filter_jit
    def __call__(self, residuals: Float[Array, "b n"]) -> Float[Array, "b n"]:
        """Map residuals to directions."""
        images = self.lift(residuals).reshape(-1, *self.local.shape) / self.local[None]
        return self.lower(_inverse_cosine(_cosine(images) / self.spectrum[None]) / self.local[None])

    @eqx.filter_jit
    def blind(self, noise: Float[Array, "b n"]) -> Float[Array, "b n"]:
        """Return the part of noise in the band that the model sees least."""
        images = self.lift(noise).reshape(-1, *self.local.shape)
        return self.lower(_inverse_cosine(_cosine(images) * self.band[None]))

    def lower(self, images: Float[Array, "b *shape"]) -> Float[Array, "b n"]:
        """Map images to coordinates."""
        return self.lift.T(images.reshape(len(images), -1))


def local_spectrum(
    operator: LinearMap, shape: tuple[int, ...], lift: LinearMap, *, key: Key
) -> LocalSpectrum:
    """Estimate the local gain and the spectrum of an information with 48 products.

    Args:
        operator: The linearized model, as a map of all changes of the image.
        shape: The shape of the image.
        lift: The map from the coordinates of the search to changes of the image.
        key: Draws the noise.
    """
    probes = jax.random.rademacher(key, (16, *shape), operator.dtype)
    return LocalSpectrum(*_estimate(operator, probes), lift)


@eqx.filter_jit
def _estimate(operator: LinearMap, probes: Float[Array, "p *shape"]) -> tuple[Array, Array, Array]:
    def multiply(images: Array) -> Array:
        return operator.fisher(images.reshape(len(images), -1)).reshape(images.shape)

    power = _smooth(jnp.mean(probes * multiply(probes), axis=0), 2.0)
    local = jnp.sqrt(jnp.maximum(power, 1e-3 * jnp.mean(power)))
    waves = _inverse_cosine(probes)
    filtered = _cosine(multiply(waves / local[None]) / local[None])
    spectrum = _smooth(jnp.mean(probes * filtered, axis=0), 3.0)
    # A gain applied after a filter does not change what the filter removes; dividing by it would.
    plain = _smooth(jnp.abs(jnp.mean(probes * _cosine(multiply(waves)), axis=0)), 3.0)
    lowest = jnp.sort(plain.ravel())[min(max(plain.size // 500, 16), plain.size) - 1]
    floor = jnp.maximum(1e-6 * jnp.max(spectrum), jnp.finfo(probes.dtype).tiny)
    band = (plain <= lowest).astype(probes.dtype)
    return safe_divisor(local), jnp.maximum(spectrum, floor), band


def _smooth(images: Array, std: float) -> Array:
    width = 6 * int(std) + 1
    return gaussian_blur(images, width, jnp.asarray(std, images.dtype))


def _cosine(images: Array) -> Array:
    return jax.scipy.fft.dctn(images, axes=(-2, -1), norm="ortho")


def _inverse_cosine(images: Array) -> Array:
    return jax.scipy.fft.idctn(images, axes=(-2, -1), norm="ortho")
