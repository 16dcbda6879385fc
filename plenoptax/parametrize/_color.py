from typing import final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .._precision import refuse_half
from ._pixels import AbstractParametrization, Pixels


@final
class DecorrelatedColor(AbstractParametrization):
    """Color in uncorrelated channels of equal variance.

    Red, green and blue vary together in most images, so their gradients mostly change the
    brightness. Here the optimizer moves the coordinates along the principal axes of color, each in
    units of its own standard deviation.

    Attributes:
        matrix: The matrix from the uncorrelated channels to those of the image.
        inner: The parametrization that makes the uncorrelated channels.

    References:
        Olah, Mordvintsev and Schubert (2017), Feature Visualization, Distill.

    Example:
        >>> import jax.numpy as jnp
        >>> from plenoptax.parametrize import DecorrelatedColor, Fourier
        >>> parametrization = DecorrelatedColor(inner=Fourier())
        >>> image = jnp.ones((3, 4, 4)).at[0, 1:3].set(0.25)
        >>> z = parametrization.encode(image)
        >>> bool(jnp.allclose(parametrization.decode(z), image, atol=1e-5))
        True
        >>> DecorrelatedColor.from_image(image).matrix.shape
        (3, 3)
    """

    matrix: Float[Array, "channel channel"]
    inner: AbstractParametrization

    def __init__(
        self, matrix: ArrayLike | None = None, *, inner: AbstractParametrization | None = None
    ):
        """Choose the colors.

        Args:
            matrix: A square, invertible matrix with a row for each channel of the image. By default
                that of Olah et al. for natural images, scaled so that equal steps of all variables
                move the pixels by the same root mean square.
            inner: The inner parametrization; by default the pixels themselves.

        Raises:
            ValueError: If the matrix is not square and invertible.
        """
        if matrix is None:
            matrix = _equal_steps(
                np.array([[0.26, 0.09, 0.02], [0.27, 0.0, -0.05], [0.27, -0.09, 0.03]])
            )
        matrix = np.asarray(matrix)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"The matrix must be square, got shape {matrix.shape}.")
        if np.linalg.matrix_rank(matrix) < len(matrix):
            raise ValueError(f"The matrix must be invertible, got\n{matrix}.")
        self.matrix = jnp.asarray(matrix, jnp.result_type(float))
        self.inner = inner or Pixels()

    @classmethod
    def from_image(
        cls,
        image: Float[Array, "channel height width"],
        *,
        inner: AbstractParametrization | None = None,
    ) -> "DecorrelatedColor":
        """Measure the matrix on the pixels of an image with any number of channels.

        Args:
            image: The image. Standard deviations along a color axis are at least a hundredth of the
                largest, so gray images work too.
            inner: The inner parametrization; by default the pixels themselves.

        Raises:
            ValueError: If the image is constant.
        """
        values = np.asarray(image, np.float64).reshape(image.shape[0], -1)
        if np.ptp(values, axis=1).max() == 0:
            raise ValueError("The image must vary to measure its color axes, got a constant image.")
        variances, axes = np.linalg.eigh(np.atleast_2d(np.cov(values)))
        matrix = axes * np.sqrt(np.maximum(variances, 1e-4 * variances[-1]))
        return cls(_equal_steps(matrix[:, ::-1]), inner=inner)

    def encode(self, image: Float[Array, "*batch channel height width"]) -> Float[Array, "..."]:
        """Decorrelate the channels."""
        refuse_half("The image of a parametrization", image.dtype)
        if image.shape[-3] != len(self.matrix):
            raise ValueError(
                f"The image must have {len(self.matrix)} channels to fit the matrix, got "
                f"{image.shape[-3]}. Use DecorrelatedColor.from_image to measure one that fits."
            )
        inverse = jnp.linalg.inv(jnp.asarray(self.matrix, image.dtype))
        return self.inner.encode(_mix(inverse, image))

    def decode(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        """Mix the colors."""
        image = self.inner.decode(z)
        return _mix(jnp.asarray(self.matrix, image.dtype), image)

    def project(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        """Apply the constraints of the inner parametrization."""
        return self.inner.project(z)


def _equal_steps(matrix: np.ndarray) -> np.ndarray:
    return matrix * np.sqrt(len(matrix) / np.sum(matrix**2))


def _mix(matrix: Array, image: Array) -> Array:
    return jnp.einsum("ij,...jhw->...ihw", matrix, image, precision="highest")
