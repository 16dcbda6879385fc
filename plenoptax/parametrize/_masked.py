from typing import final

import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float

from ._pixels import AbstractParametrization, Pixels


@final
class Masked(AbstractParametrization):
    """An image that can change only inside a mask.

    Where the mask is 0, the image is exactly the given image, and no gradient flows. Where the mask
    is between 0 and 1, the two images are blended. If both are in [0, 1], the blend is too.

    Attributes:
        mask: The fraction of each pixel that can change, from 0 to 1.
        image: The image outside the mask.
        inner: The parametrization of the image inside the mask.

    Example:
        >>> import jax.numpy as jnp
        >>> parametrization = Masked(jnp.array([[0.0, 0.5, 1.0]]), jnp.ones((1, 1, 3)))
        >>> print(parametrization.decode(jnp.zeros((1, 1, 3))))
        [[[1.  0.5 0. ]]]
    """

    mask: Float[Array, "..."]
    image: Float[Array, "..."]
    inner: AbstractParametrization

    def __init__(
        self,
        mask: ArrayLike,
        image: Float[Array, "..."],
        *,
        inner: AbstractParametrization | None = None,
    ):
        """Choose the region.

        Args:
            mask: Booleans or numbers from 0 to 1 that broadcast to the image, such as those of
                `plenoptax.process.disk`.
            image: The image outside the mask.
            inner: The inner parametrization; by default the pixels themselves.

        Raises:
            ValueError: If the mask does not broadcast to the image, or has values outside [0, 1].
        """
        mask = jnp.asarray(mask, jnp.result_type(float))
        try:
            self.mask = jnp.broadcast_to(mask, image.shape)
        except ValueError as error:
            raise ValueError(
                f"mask must broadcast to the shape {image.shape} of the image, got the shape "
                f"{mask.shape}."
            ) from error
        if not isinstance(mask, Tracer) and not bool(jnp.all((mask >= 0) & (mask <= 1))):
            raise ValueError(
                f"mask must have values from 0 to 1, got values from {mask.min()} to {mask.max()}."
            )
        self.image = jnp.asarray(image)
        self.inner = inner or Pixels()

    def encode(self, image: Float[Array, "..."]) -> Float[Array, "..."]:
        """Encode the image inside the mask. Where the mask is soft, decoding blends it again."""
        if image.shape[-self.image.ndim :] != self.image.shape:
            raise ValueError(
                f"The image must have the shape of the mask, {self.image.shape}, got {image.shape}."
            )
        return self.inner.encode(image)

    def decode(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        """Blend the inner image with the given one."""
        image = self.inner.decode(z)
        mask, outside = (
            jnp.broadcast_to(jnp.asarray(array, image.dtype), image.shape)
            for array in (self.mask, self.image)
        )
        return mask * image + (1 - mask) * outside

    def project(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        """Apply the constraints of the inner parametrization."""
        return self.inner.project(z)
