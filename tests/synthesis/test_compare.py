import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import plenoptax as plx


SHAPE = (1, 12, 12)


class Blocks(eqx.Module):
    """The means of squares of pixels, which fine structure does not change."""

    size: int = 2

    def __call__(self, image):
        rows, columns = (side // self.size for side in image.shape[1:])
        return image.reshape(rows, self.size, columns, self.size).mean((1, 3))


MODELS = {"fine": Blocks(), "coarse": Blocks(3), "pixels": plx.models.Identity()}


def synthesize(image, model, max_steps=60, num_seeds=2):
    return plx.metamer(
        jnp.asarray(image),
        model,
        key=jax.random.key(5),
        optimizer=plx.lbfgs(),
        num_seeds=num_seeds,
        max_steps=max_steps,
        progress=False,
    )


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((203, *SHAPE)).astype(np.float32)


@pytest.fixture(scope="module")
def nulls(images):
    return {name: plx.null(images[3:], model) for name, model in MODELS.items()}


@pytest.fixture(scope="module")
def metamers(images):
    found = {
        name: [synthesize(image, MODELS[name]) for image in images[:2]]
        for name in ("fine", "coarse")
    }
    # The last two seeds of the coarse model are stopped too early.
    found["coarse"][1] = synthesize(images[1], MODELS["coarse"], max_steps=0)
    return found


@pytest.fixture(scope="module")
def table(metamers, nulls, images):
    return plx.compare(
        metamers, MODELS, nulls, unrelated=jnp.asarray(images[2]), key=jax.random.key(1)
    )


def test_metamers_pass_their_own_model_and_not_the_pixels(table):
    assert table.success["fine"] == (True,) * 4
    np.testing.assert_array_equal(table.percentiles["fine"]["fine"], 100)
    assert (table.z_errors["fine"]["fine"] < 1e-2).all()
    assert (table.z_errors["fine"]["pixels"] > 0.5).all()
    # Squares of 3 x 3 pixels are not made of squares of 2 x 2.
    assert (table.z_errors["fine"]["coarse"] > 0.2).all()


def test_nothing_is_claimed_for_images_that_are_no_metamers(table):
    assert table.success["coarse"] == (True, True, False, False)
    own, other = table.percentiles["coarse"]["coarse"], table.percentiles["coarse"]["fine"]
    np.testing.assert_array_equal(own[:2], 100)
    assert (own[2:] < 100).all()
    np.testing.assert_array_equal(np.isnan(other), [False, False, True, True])
    line = next(line for line in str(table).splitlines() if line.startswith("coarse"))
    assert line.endswith("2 of 4 FAIL")


def test_cells_are_the_differences_in_the_units_of_the_null(table, metamers, nulls, images):
    target = MODELS["coarse"](jnp.asarray(images[1]))
    found = MODELS["coarse"](metamers["fine"][1].image[1])
    null = nulls["coarse"]
    errors = np.ravel(found - target) / null.standard_deviation
    wanted = np.sqrt(np.mean(errors**2))
    np.testing.assert_allclose(table.z_errors["fine"]["coarse"][3], wanted, rtol=1e-4)
    pairs = [
        np.sqrt(np.mean((a - b) ** 2))
        for i, a in enumerate(null.z_scores)
        for b in null.z_scores[:i]
    ]
    rank = 100 * np.mean(np.asarray(pairs) > wanted)
    np.testing.assert_allclose(table.percentiles["fine"]["coarse"][3], rank, atol=0.01)


def test_the_other_rows_are_baselines(table, images):
    assert list(table.percentiles)[2:] == [
        "starting noise",
        "spectral noise",
        "unrelated",
        "target",
    ]
    for name in MODELS:
        np.testing.assert_array_equal(table.z_errors["target"][name], 0)
        np.testing.assert_array_equal(table.percentiles["target"][name], 100)
        assert (table.percentiles["starting noise"][name] < 100).all()
    difference = (images[2] - images[0]).ravel()
    wanted = np.sqrt(np.mean(difference**2)) / np.sqrt(1 / 12)
    np.testing.assert_allclose(table.z_errors["unrelated"]["pixels"][0], wanted, rtol=0.05)


def test_the_table_is_drawn(table):
    ax = plx.plot.cross_table(table)
    texts = [text.get_text() for text in ax.texts]
    assert len(texts) == 6 * 3
    assert texts[0] == "100\n100 to 100"
    assert [label.get_text() for label in ax.get_xticklabels()] == list(MODELS)
    assert ax.get_yticklabels()[1].get_text() == "coarse\n2 of 4 fail"
    assert len(ax.patches) == 2


def test_what_cannot_be_compared_is_refused(metamers, nulls, images, getkey):
    given = {"unrelated": jnp.asarray(images[2]), "key": getkey()}
    with pytest.raises(ValueError, match="models must have an entry for each model, got none for"):
        plx.compare(metamers, {"fine": MODELS["fine"]}, nulls, **given)
    with pytest.raises(ValueError, match="nulls must have an entry .* got none for pixels"):
        plx.compare(metamers, MODELS, {name: nulls[name] for name in metamers}, **given)
    models, own = {"target": MODELS["fine"]}, {"target": nulls["fine"]}
    with pytest.raises(ValueError, match="no other row, got .'target'"):
        plx.compare({"target": metamers["fine"]}, models, own, **given)
    with pytest.raises(ValueError, match="no other row, got none"):
        plx.compare({}, MODELS, nulls, **given)
    fewer = {**metamers, "coarse": metamers["coarse"][:1]}
    with pytest.raises(ValueError, match=r"same targets, got 2 of \{\(1, 12, 12\)\} for fine"):
        plx.compare(fewer, MODELS, nulls, **given)
    with pytest.raises(ValueError, match="values as that of the target"):
        plx.compare(metamers, MODELS, {**nulls, "pixels": nulls["fine"]}, **given)
    image = plx.synthesize(jnp.mean, SHAPE, key=getkey(), max_steps=1, progress=False)
    with pytest.raises(ValueError, match="target image, got 1 results, 1 without one"):
        plx.compare({"fine": image}, MODELS, nulls, **given)
