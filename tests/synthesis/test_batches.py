import functools as ft

import jax
import jax.numpy as jnp
import optax
import pytest

import plenoptax as plx


def l2(image, other):
    return jnp.sqrt(jnp.sum((image - other) ** 2) + 1e-12)


class Halves:
    """A model with the two halves of an image as its scales."""

    scales = ("coarse", "fine")

    def __call__(self, image, scales=None):
        halves = {"coarse": image[:, :4], "fine": image[:, 4:]}
        kept = [jnp.sin(halves[s]) for s in self.scales if scales is None or s in scales]
        return jnp.concatenate(kept, axis=1)


def synthesize_paths(images, **options):
    options = {"model": jnp.sin, "n_steps": 2, "initial_sequence": "bridge", **options}
    return plx.geodesic(images, images[::-1], **options)


COMPETITION = {"optimized_metric": l2, "reference_metric": plx.metric.mse, "minmax": "max"}
METHODS = {
    "metamer": ft.partial(plx.metamer, model=jnp.sin),
    "metamer_ctf": ft.partial(plx.metamer_ctf, model=Halves()),
    "mad_competition": ft.partial(plx.mad_competition, **COMPETITION, metric_tradeoff_lambda=1.0),
    "geodesic": synthesize_paths,
}
methods = pytest.mark.parametrize("synthesize", METHODS.values(), ids=METHODS)
# Without a key to start from, a method gives up when it has posed its problem, which saves time.
no_start = ft.partial(pytest.raises, ValueError, match="key=")


@pytest.fixture
def images(getkey):
    return jax.random.uniform(getkey(), (2, 1, 8, 8))


@methods
def test_a_batch_out_of_range_is_warned_of_once_as_one_image_is(synthesize, images):
    wide = images.at[1].multiply(255)
    with pytest.warns(UserWarning, match=f"to {wide.max():.3g}, outside of") as told, no_start():
        synthesize(wide, batch=True)
    assert len(told) == 1
    # Warnings are errors here.
    for allowed, options in ((images, {}), (wide, {"penalty_lambda": 0.0})):
        with no_start():
            synthesize(allowed, batch=True, **options)


@methods
def test_a_batch_that_is_not_finite_is_refused(synthesize, images):
    with pytest.raises(ValueError, match="infinite or not a number"):
        synthesize(images.at[1, 0, 0, 0].set(jnp.nan), batch=True)


@pytest.mark.parametrize("options", [{"batch": True}, {"num_seeds": 2}])
def test_starts_of_their_own_leave_images_checked(options, images):
    # Two answers to one question, which end a synthesis before it begins.
    neither = {"optimizer": optax.adam(0.1), "solver": plx.Solver(optax.adam(0.1))}
    wide = 255 * (images if "batch" in options else images[0])
    with (
        pytest.warns(UserWarning, match="outside of") as told,
        pytest.raises(ValueError, match="optimizer= or solver="),
    ):
        METHODS["mad_competition"](wide, initial_image=images, **options, **neither)
    assert len(told) == 1


@pytest.mark.parametrize("batch", [True, False])
def test_a_constraint_keeps_each_image_of_a_batch_within_the_pixels(batch, images):
    with (
        pytest.warns(UserWarning, match="outside of") as told,
        pytest.raises(ValueError, match=r"within \[0, 1\]"),
    ):
        plx.mad_competition(2 * images if batch else 2 * images[0], **COMPETITION, batch=batch)
    assert len(told) == 1
