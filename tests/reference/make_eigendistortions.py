"""Write eigendistortions.npz: spectra by plenoptic, exact and in float64, of what it can decompose.

    python tests/reference/make_eigendistortions.py

The images are seeded noise about a gradient. Of the vectors the first and the last few are kept.
"""

import pathlib

import numpy as np


NAMES = (
    "Gaussian",
    "CenterSurround",
    "LinearNonlinear",
    "LuminanceGainControl",
    "LuminanceContrastGainControl",
    "OnOff",
)
NUM_KEPT = 3


def make_image(size):
    rng = np.random.default_rng(71)
    ramp = np.linspace(0.2, 0.7, size)
    return (ramp[:, None] + 0.2 * rng.uniform(size=(size, size)))[None]


def decompose(name, size):
    """The spectrum, descending, and the first and the last vectors."""
    import plenoptic as po
    import torch

    torch.set_default_dtype(torch.float64)
    image = torch.from_numpy(make_image(size))[None]
    if name == "PortillaSimoncelli":
        model = po.models.PortillaSimoncelli((size, size), n_scales=2)
    elif name in ("Gaussian", "CenterSurround"):
        model = getattr(po.models, name)((31, 31))
    else:
        model = getattr(po.models, name)((31, 31), pretrained=True)
    po.remove_grad(model.double())
    model.eval()
    found = po.Eigendistortion(image, model)
    found.synthesize(method="exact")
    torch.set_default_dtype(torch.float32)
    vectors = found.eigendistortions.numpy()
    chosen = np.r_[:NUM_KEPT, len(vectors) - NUM_KEPT : len(vectors)]
    return found.eigenvalues.numpy(), vectors[chosen]


def main():
    arrays = {}
    for name in (*NAMES, "PortillaSimoncelli"):
        size = 32 if name == "PortillaSimoncelli" else 20
        arrays[f"{name}_values"], arrays[f"{name}_vectors"] = decompose(name, size)
    np.savez_compressed(pathlib.Path(__file__).parent / "eigendistortions.npz", **arrays)


if __name__ == "__main__":
    main()
