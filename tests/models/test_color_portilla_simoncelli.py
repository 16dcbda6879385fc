import chex
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data

import plenoptax as plx
from plenoptax.models import ColorPortillaSimoncelli, PortillaSimoncelli

from .color_oracle import measure


def photograph(rows=slice(60, 108), columns=slice(100, 148), dtype=np.float64):
    """A crop of the cat, with its eye."""
    return np.moveaxis(skimage.data.chelsea()[rows, columns], -1, 0).astype(dtype) / 255


@pytest.fixture(scope="module")
def model():
    return ColorPortillaSimoncelli((32, 32), n_scales=2, n_orientations=2, spatial_corr_width=3)


@pytest.fixture
def image(rng):
    return jnp.asarray(rng.random((3, 32, 32)), jnp.float32)


@pytest.mark.parametrize(
    ("transform", "arguments"), [("opponent", (2, 3, 5)), ("opc", (3, 2, 4)), (None, (1, 4, 7))]
)
def test_statistics_equal_the_oracle(x64, transform, arguments):
    image = photograph()
    model = ColorPortillaSimoncelli((48, 48), *arguments, transform=transform)
    found = model.convert_to_dict(model(jnp.asarray(image)))
    wanted = measure(image, np.asarray(model.matrix), *arguments)
    assert set(found) == set(wanted) | (
        {"cross_scale_correlation_magnitude", "cross_scale_correlation_real"}
    )
    for name, values in wanted.items():
        kept = ~np.isnan(found[name])
        assert kept.sum() == model.statistic_groups.count(name)
        np.testing.assert_allclose(found[name][kept], values[kept], rtol=1e-10, atol=1e-10)
