import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import pytest

from plenoptax.models import PortillaSimoncelli


@pytest.fixture(scope="module")
def model():
    return PortillaSimoncelli((32, 32), n_scales=2, n_orientations=3, spatial_corr_width=5)


@pytest.fixture
def image(rng):
    return jnp.asarray(rng.random((2, 32, 32)), jnp.float32)


@pytest.fixture
def lenient():
    """Let JAX promote dtypes and ranks, as the networks of users and of other packages need it."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture
def close_figures():
    yield
    plt.close("all")
