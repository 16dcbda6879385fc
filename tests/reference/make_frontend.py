"""Write frontend.npz, responses and gradients of plenoptic 2.1.1's front ends in float64.

``python make_frontend.py``
"""

import warnings
from pathlib import Path

import numpy as np
import plenoptic as po
import torch


CASES = {
    "ln": ("LinearNonlinear", {"kernel_size": 31, "pretrained": True}),
    "lg": ("LuminanceGainControl", {"kernel_size": 31, "pretrained": True}),
    "lgg": ("LuminanceContrastGainControl", {"kernel_size": 31, "pretrained": True}),
    "on_off": ("OnOff", {"kernel_size": 31, "pretrained": True, "apply_mask": True}),
    "off": ("LuminanceContrastGainControl", {"kernel_size": (8, 5), "on_center": False}),
    "even": ("OnOff", {"kernel_size": 6, "amplitude_ratio": 2.0, "pad_mode": "circular"}),
    "center_surround": (
        "CenterSurround",
        {
            "kernel_size": (7, 10),
            "on_center": [True, False, False],
            "center_std": [0.5, 1.0, 2.0],
            "surround_std": [4.0, 1.5, 30.0],
            "pad_mode": "replicate",
        },
    ),
}

# For the models that are not pretrained, whose scalars are random.
SCALARS = {"luminance_scalar": [3.0, 8.0], "contrast_scalar": [7.0, 20.0]}


def main():
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(74)
    rows, columns = np.mgrid[:22, :27]
    image = 0.5 + 0.3 * np.sin(rows / 3) * (columns > 12) + 0.2 * (rng.random((1, 22, 27)) - 0.5)
    arrays = {"image": image, "direction": rng.standard_normal((3, 22, 27))}
    for name, (kind, arguments) in CASES.items():
        model = getattr(po.models, kind)(**arguments).double()
        if not arguments.get("pretrained"):
            for scalar, values in SCALARS.items():
                if hasattr(model, scalar):
                    parameter = getattr(model, scalar).data
                    parameter.copy_(torch.tensor(values[: len(parameter)]))
        x = torch.tensor(image[None], requires_grad=True)
        response = model(x)[0]
        (response * torch.tensor(arrays["direction"][: len(response)])).sum().backward()
        arrays[name] = response.detach().numpy()
        arrays[f"{name}_gradient"] = x.grad[0].numpy()
    np.savez_compressed(Path(__file__).with_name("frontend.npz"), **arrays)


if __name__ == "__main__":
    main()
