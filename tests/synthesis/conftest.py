import jax
import pytest

import plenoptax as plx


@pytest.fixture
def image(getkey):
    return jax.random.uniform(getkey(), (1, 16, 20))


@pytest.fixture
def model():
    return plx.models.Gaussian(5, std=1.5)


@pytest.fixture(scope="module")
def photograph():
    return plx.data.camera()[:, 96:128, 96:128]
