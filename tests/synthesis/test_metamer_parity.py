import warnings

import jax.numpy as jnp
import numpy as np
import pytest

import plenoptax as plx


pytestmark = pytest.mark.parity


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.fixture
def po():
    return pytest.importorskip("plenoptic")


@pytest.fixture
def theirs(po):
    model = po.models.Gaussian(30)
    model.eval()
    po.remove_grad(model)
    return po.Metamer(po.data.einstein(), model)


@pytest.fixture
def image(theirs):
    return jnp.asarray(theirs.image[0].numpy())


@pytest.fixture
def ours(image):
    return plx.Metamer(image, plx.models.Gaussian(30))


def draw(count):
    """Images of the stream of torch's generator from the seed 0, one after another."""
    words = np.random.RandomState(0).randint(0, 2**32, count * 256**2, dtype=np.uint32)
    return np.float32((words & 0xFFFFFF) * 2.0**-24).reshape(count, 1, 256, 256)


def values_at(metamer, target, image):
    """The objective, the loss and the penalty, of their metamer or of ours."""
    loss = metamer.loss_function(metamer.model(image), target)
    values = metamer.objective_function(image), loss, metamer.penalty_function(image)
    return [float(value) for value in values]


def test_the_stream_is_that_of_torch(torch):
    torch.manual_seed(0)
    np.testing.assert_array_equal(draw(2), torch.rand(2, 1, 256, 256).numpy())


def test_objective_loss_and_penalty_are_those_of_plenoptic(torch, po, theirs, x64):
    theirs = po.Metamer(theirs.image.double(), theirs.model.double())
    image = jnp.asarray(theirs.image[0].numpy())
    ours = plx.Metamer(image, plx.models.Gaussian(30))
    noise, doubled = draw(1)[0], 2 * draw(3)[2]
    for other in (noise, doubled, doubled - 0.5):
        other = np.float64(other)
        wanted = values_at(theirs, theirs.target_representation, torch.as_tensor(other)[None])
        found = values_at(ours, ours.target, jnp.asarray(other))
        np.testing.assert_allclose(found, wanted, rtol=1e-10)


def test_values_that_plenoptic_prints(ours):
    noise = jnp.asarray(draw(3)[2])
    assert float(noise.min()) == pytest.approx(7.9870e-06, abs=5e-11)
    values = values_at(ours, ours.target, noise)
    np.testing.assert_allclose(values, [0.0190, 0.0190, 0], atol=5e-5)
    values = values_at(ours, ours.target, 2 * noise)
    np.testing.assert_allclose(values, [1100.9663, 0.3133, 11006.5293], rtol=2e-7, atol=5e-5)


def test_default_steps_are_those_of_plenoptic(torch, theirs, image):
    start = draw(2)[1]
    theirs.setup(torch.as_tensor(start)[None])
    theirs.synthesize(5, store_progress=2)
    result = plx.metamer(
        image,
        plx.models.Gaussian(30),
        initial_image=jnp.asarray(start),
        max_steps=5,
        record=2,
        progress=False,
    )
    for name in ("losses", "penalties", "gradient_norm", "pixel_change_norm"):
        wanted = getattr(theirs, name)
        np.testing.assert_allclose(getattr(result.trace, name), wanted, rtol=1e-4)
    printed = [0.0194, 0.0198, 0.0179, 0.0160, 0.0145, 0.0132]
    np.testing.assert_allclose(result.trace.losses, printed, atol=5e-5)
    for iteration in (0, 1, -3, 4, None):
        for selection in ("round", "floor", "ceiling"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                wanted = theirs.get_progress(iteration, selection)
            found = result.get_progress(iteration, selection, warn=False)
            assert found["image_step"] == wanted["store_progress_iteration"]
            saved = wanted["saved_metamer"][0].detach()
            np.testing.assert_allclose(found["image"], saved, atol=1e-5)
