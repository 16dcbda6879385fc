"""Write eigendistortions.npz: spectra by plenoptic, exact and in float64, of what it can decompose.

    python tests/reference/make_eigendistortions.py

The images are seeded noise about a gradient. plenoptic's vectors are not kept: the top ones are
compared as a subspace, through the Fisher information that they span.
"""

import pathlib

import numpy as np


NAMES = ("LuminanceGainControl", "LuminanceContrastGainControl", "OnOff", "LinearNonlinear")


def make_image(size):
    rng = np.random.default_rng(71)
    ramp = np.linspace(0.2, 0.7, size)
    return (ramp[:, None] + 0.2 * rng.uniform(size=(size, size)))[None]


def decompose(name, size):
    """The spectrum, descending, and the first two vectors."""
    import plenoptic as po
    import torch

    torch.set_default_dtype(torch.float64)
    image = torch.from_numpy(make_image(size))[None]
    if name == "PortillaSimoncelli":
        model = po.models.PortillaSimoncelli((size, size), n_scales=2)
    else:
        model = getattr(po.models, name)((31, 31), pretrained=True)
    po.remove_grad(model.double())
    model.eval()
    found = po.Eigendistortion(image, model)
    found.synthesize(method="exact")
    return found.eigenvalues.numpy(), found.eigendistortions[:2].numpy()


def main():
    arrays = {}
    for name in (*NAMES, "PortillaSimoncelli"):
        size = 32 if name == "PortillaSimoncelli" else 20
        arrays[f"{name}_values"], arrays[f"{name}_vectors"] = decompose(name, size)
    np.savez_compressed(pathlib.Path(__file__).parent / "eigendistortions.npz", **arrays)


if __name__ == "__main__":
    main()
