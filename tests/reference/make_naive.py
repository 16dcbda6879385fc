"""Write naive.npz, plenoptic 2.1.1's Gaussian model in float64: ``python make_naive.py``."""

from pathlib import Path

import numpy as np
import plenoptic as po
import torch


CASES = {
    "odd": {"kernel_size": 7, "std": 1.5},
    "even": {"kernel_size": 8, "std": 2.0, "pad_mode": "circular"},
    "rectangular": {"kernel_size": (3, 10), "std": 4.0, "pad_mode": "replicate"},
    "channels": {"kernel_size": (6, 5), "std": [0.7, 2.5], "pad_mode": "constant"},
    "repeated": {"kernel_size": 5, "out_channels": 2},
}


def main():
    image = np.random.default_rng(5).random((1, 1, 13, 18))
    responses = {}
    for name, arguments in CASES.items():
        std = torch.as_tensor(arguments.get("std", 3.0), dtype=torch.float64)
        model = po.models.Gaussian(**{**arguments, "std": std})
        responses[name] = model(torch.as_tensor(image)).detach().numpy()[0]
    path = Path(__file__).with_name("naive.npz")
    np.savez_compressed(path, image=image[0], **responses)


if __name__ == "__main__":
    main()
