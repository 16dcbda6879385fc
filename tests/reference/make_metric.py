"""Write metric.npz, metrics of plenoptic 2.1.1 and their gradients: ``python make_metric.py``."""

from pathlib import Path

import numpy as np
import plenoptic as po
import torch
from plenoptic.process.filters import circular_gaussian2d


CASES = {
    "ssim": (po.metric.ssim, {}),
    "ssim_weighted": (po.metric.ssim, {"weighted": True}),
    "ssim_constant": (po.metric.ssim, {"pad": "constant"}),
    "ssim_reflect": (po.metric.ssim, {"weighted": True, "pad": "reflect"}),
    "ssim_replicate": (po.metric.ssim, {"pad": "replicate"}),
    "ssim_circular": (po.metric.ssim, {"pad": "circular"}),
    "ms_ssim": (po.metric.ms_ssim, {}),
    "ms_ssim_two": (po.metric.ms_ssim, {"power_factors": [0.3, 0.6]}),
    "nlpd": (po.metric.nlpd, {}),
    "nlpd_epsilon": (po.metric.nlpd, {"epsilon": 1e-2}),
}


def images():
    rng = np.random.default_rng(11)
    first = rng.random((2, 44, 51))
    return first, 0.6 * first + 0.4 * rng.random((2, 44, 51))


def value_and_gradient(function, first, second, **arguments):
    """Of the average over channels, by the first image."""
    first = torch.as_tensor(first)[None].requires_grad_()
    value = function(first, torch.as_tensor(second)[None], **arguments).mean()
    value.backward()
    return value.item(), first.grad[0].numpy()


def exact_window(kernel_size, std):
    """plenoptic's window, which it rounds to float32 in images of float64."""
    return circular_gaussian2d(kernel_size, std.double())


def main():
    po.process.metric.circular_gaussian2d = exact_window
    first, second = images()
    arrays = {"first": first, "second": second}
    for name, (function, arguments) in CASES.items():
        value, gradient = value_and_gradient(function, first, second, **arguments)
        # One row of the gradient, of each channel, sees every kind of mistake.
        arrays |= {f"{name}_value": value, f"{name}_gradient": gradient[:, 20]}
    pyramid = po.process.normalized_laplacian_pyramid(torch.as_tensor(first)[None])
    arrays |= {f"pyramid_{i}": scale[0].numpy() for i, scale in enumerate(pyramid)}
    arrays["map"] = po.process.ssim_map(*(torch.as_tensor(x)[None] for x in (first, second)))[0]
    np.savez_compressed(Path(__file__).with_name("metric.npz"), **arrays)


if __name__ == "__main__":
    main()
