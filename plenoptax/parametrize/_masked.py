from typing import final

import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float

from ._pixels import AbstractParametrization, Pixels


@final
class Masked(AbstractParametrization):
    """An image of which only the part inside of a mask moves.

    Where the mask is 0 the image is a given one, exactly, and no gradient flows. Where it is
    between 0 and 1 the two are blended. If both are in [0, 1], so is the blend.

    Attributes:
        mask: What part of each pixel moves, from 0 to 1.
        image: The image outside of the mask.
        inner: Makes the image inside of the mask.

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
            mask: Truth values or numbers from 0 to 1 that broadcast to the image, such as those of
                `plenoptax.process.disk`.
            image: The image outside of the mask.
            inner: By default the pixels themselves.

        Raises:
            ValueError: If the mask does not broadcast to the image, or has values out of [0, 1].
        """
        mask = jnp.asarray(mask, jnp.result_type(float))
        try:
            self.mask = jnp.broadcast_to(mask, image.shape)
        except ValueError as error:
            raise ValueError(
                f"The mask has shape {mask.shape}, which does not broadcast to the shape "
                f"{image.shape} of the image."
            ) from error
        if not isinstance(mask, Tracer) and not bool(jnp.all((mask >= 0) & (mask <= 1))):
            raise ValueError("The values of a mask must be from 0 to 1.")
        self.image = jnp.asarray(image)
        self.inner = inner or Pixels()

    def encode(self, image: Float[Array, "..."]) -> Float[Array, "..."]:
        """Take the image as that which moves; where the mask is soft it is blended anew."""
        if image.shape[-self.image.ndim :] != self.image.shape:
            raise ValueError(
                f"The mask is for images of shape {self.image.shape}, got {image.shape}."
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
        """Leave the constraints to the inner parametrization."""
        return self.inner.project(z)
