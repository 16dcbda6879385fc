"""Write loss.npz, values of plenoptic 2.1.1's losses in float64: ``python make_loss.py``."""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import plenoptic as po
import torch


torch.set_default_dtype(torch.float64)

SIZES = {
    "pixel_statistics": 6,
    "magnitude_std": 3,
    "var_highpass_residual": 1,
}


class Groups(torch.nn.Module):
    """A model whose representation is its input, in the groups of Portilla and Simoncelli."""

    def forward(self, representation):
        return representation

    def convert_to_dict(self, representation):
        parts = torch.split(representation, list(SIZES.values()), dim=-1)
        return OrderedDict(zip(SIZES, parts, strict=True))

    def convert_to_tensor(self, groups):
        return torch.cat(list(groups.values()), dim=-1)


def main():
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((2, 1, 2, 10)) * np.geomspace(1e-3, 1e2, 10)
    image, other = rng.random((2, 1, 1, 64, 64))
    model = Groups()
    portilla_simoncelli = po.models.PortillaSimoncelli((64, 64), n_scales=3, spatial_corr_width=5)
    factors = {"magnitude_std": 10.0, "pixel_statistics": np.arange(6.0)}

    def tensors():
        return {key: torch.as_tensor(value) for key, value in factors.items()}

    tx, ty = torch.as_tensor(x), torch.as_tensor(y)
    timage, tother = torch.as_tensor(image), torch.as_tensor(other)
    losses = po.loss
    groupwise = losses.groupwise_relative_l2_norm_factory
    weighted = losses.portilla_simoncelli_loss_factory
    representations = portilla_simoncelli(tother), portilla_simoncelli(timage)
    values = {
        "mse": losses.mse(tx, ty),
        "l2_norm": losses.l2_norm(tx, ty),
        "relative_sse": losses.relative_sse(tx, ty),
        "groupwise": groupwise(model, ty)(tx, ty),
        "groupwise_reweighted": groupwise(model, ty, tensors())(tx, ty),
        "weighted": weighted(model, ty)(tx, ty),
        "weighted_reweighted": weighted(model, ty, tensors())(tx, ty),
        "portilla_simoncelli_groupwise": groupwise(portilla_simoncelli, timage)(*representations),
        "portilla_simoncelli_weighted": weighted(portilla_simoncelli, timage)(*representations),
    }
    values = {name: value.item() for name, value in values.items()}
    path = Path(__file__).with_name("loss.npz")
    np.savez_compressed(path, x=x[0], y=y[0], image=image[0], other=other[0], **values)


if __name__ == "__main__":
    main()
