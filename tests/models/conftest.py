import jax.numpy as jnp
import pytest

from plenoptax.models import PortillaSimoncelli


@pytest.fixture(scope="module")
def model():
    return PortillaSimoncelli((32, 32), n_scales=2, n_orientations=3, spatial_corr_width=5)


@pytest.fixture
def image(rng):
    return jnp.asarray(rng.random((2, 32, 32)), jnp.float32)
