import pathlib
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import plenoptax as plx


@pytest.fixture
def images(rng):
    return rng.random((12, 1, 16, 18)).astype(np.float32)


@pytest.fixture
def folder(images, tmp_path, monkeypatch):
    """A folder of image files, beside a cache of its own."""
    monkeypatch.setenv("PLENOPTAX_CACHE_DIR", str(tmp_path / "cache"))
    place = tmp_path / "photographs"
    place.mkdir()
    for number, image in enumerate(images):
        plx.data.save_image(place / f"{number:02}.png", image, dtype=np.uint16)
    (place / ".hidden").write_text("left by the operating system")
    return place


def square(image):
    return image**2


def test_a_null_measures_the_representations(images):
    null = plx.null(images, square, name="noise")
    rows = np.asarray(images, np.float64).reshape(12, -1) ** 2
    np.testing.assert_allclose(null.mean, rows.mean(0), rtol=1e-5)
    np.testing.assert_allclose(null.standard_deviation, rows.std(0, ddof=1), rtol=1e-4)
    np.testing.assert_allclose(
        null.z_scores, (rows - rows.mean(0)) / rows.std(0, ddof=1), atol=1e-4
    )
    assert str(null).startswith(
        "noise, shape 1 x 16 x 18: 12 images, 66 pairs of unrelated images, SHA-256 "
    )
    assert re.search("SHA-256 [0-9a-f]{12}$", str(null))
    assert plx.null(images[::-1], square).digest != null.digest


def test_crops_of_one_photograph_are_no_pair(images):
    sources = [name for name in "abcdefghij"] + ["a", "b"]
    null = plx.null(images, square, sources=sources)
    assert null.num_pairs == 66 - 2
    assert null.num_unrelated == 10
    assert "12 images of 10 photographs, 64 pairs" in str(null)
    # The twelfth image nearly equals the second, which is of the same photograph.
    images[11] = images[1] + 1e-4
    result = plx.metamer(
        jnp.asarray(images[0]), square, key=jax.random.key(0), max_steps=2, progress=False
    )
    related = result.report(null=plx.null(images, square)).groups["representation"]
    assert related.null_correlation > 0.999
    apart = result.report(null=plx.null(images, square, sources=sources)).groups["representation"]
    assert apart.null_correlation < 0.5


def test_percentiles_and_quantiles_are_those_of_the_pairs(images):
    result = plx.metamer(
        jnp.asarray(images[0]),
        square,
        initial_image=jnp.asarray(images[3]),
        max_steps=1,
        progress=False,
    )
    null = plx.null(images, square)
    group = result.report(null=null).groups["representation"]
    rows = null.z_scores
    pairs = [(i, j) for i in range(12) for j in range(i)]
    errors = np.asarray([np.sqrt(np.mean((rows[i] - rows[j]) ** 2)) for i, j in pairs])
    likeness = np.asarray([np.corrcoef(rows[i], rows[j])[0, 1] for i, j in pairs])
    np.testing.assert_allclose(group.null_z_error, errors.min(), rtol=1e-6)
    np.testing.assert_allclose(group.null_quantiles[0], np.quantile(errors, 0.001), rtol=1e-6)
    np.testing.assert_allclose(group.null_quantiles[1], np.quantile(likeness, 0.999), rtol=1e-6)
    shares = [np.mean(errors > group.z_error), np.mean(likeness < group.correlation)]
    assert group.percentile <= 100 * min(shares) < 100
    text = str(result.report(null=null))
    assert f"{group.percentile:10.1f}" in text
    assert re.search(rf"representation .* {group.null_quantiles[0]:.3f} +{errors.min():.3f}", text)


def test_a_folder_is_read_once(folder, images, monkeypatch):
    null = plx.null(folder, square)
    wanted = plx.null(np.asarray(plx.load_images(sorted(folder.glob("*.png")))), square)
    np.testing.assert_array_equal(null.z_scores, wanted.z_scores)
    assert "photographs, shape 1 x 16 x 18, gray, coded as in the files: 12 images" in str(null)
    (cached,) = (folder.parent / "cache" / "nulls").iterdir()
    # In a fresh process the representations are not computed again.
    code = (
        "import sys, plenoptax as plx\n"
        "import plenoptax.synthesis._null as room\n"
        "from tests.synthesis.test_null import square\n"
        "room._measure = None\n"
        "null = plx.null(sys.argv[1], square)\n"
        "print(repr(float(null.z_scores.sum())), null)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, folder], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == f"{float(null.z_scores.sum())!r} {null}"
    # A damaged file of the cache is replaced.
    content = cached.read_bytes()
    cached.write_bytes(content[:-7])
    np.testing.assert_array_equal(plx.null(folder, square).z_scores, null.z_scores)
    assert cached.read_bytes() == content


def test_another_model_image_or_option_is_another_null(folder, images):
    def scaled(by):
        return lambda image: by * image

    found = [
        plx.null(folder, scaled(2.0)),
        plx.null(folder, scaled(3.0)),
        plx.null(folder, plx.models.Gaussian(3, std=1.0)),
        plx.null(folder, plx.models.Gaussian(3, std=2.0)),
        plx.null(folder, scaled(2.0), linear=True),
        plx.null(folder, scaled(2.0), image_shape=(16, 16)),
    ]
    plx.data.save_image(folder / "00.png", 1 - images[0], dtype=np.uint16)
    found.append(plx.null(folder, scaled(2.0)))
    assert len({float(null.mean.sum()) for null in found}) == 7
    assert len({null.digest for null in found}) == 2
    assert len(list((folder.parent / "cache" / "nulls").iterdir())) == 7


def test_a_cache_that_cannot_be_written_changes_nothing(folder, monkeypatch):
    nowhere = pathlib.Path(folder, "00.png")
    monkeypatch.setenv("PLENOPTAX_CACHE_DIR", str(nowhere))
    assert plx.null(folder, square).num_pairs == 66


def test_reports_take_a_folder(folder, images):
    result = plx.metamer(
        jnp.asarray(images[0]), square, key=jax.random.key(0), max_steps=2, progress=False
    )
    assert "photographs, shape" in result.report(null=folder).null
    assert result.report(null=str(folder)).success is False


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda images: {"images": images[:7]}, "at least 8 images, .* got 7 of 7"),
        (
            lambda images: {"images": images, "sources": [0] * 12},
            "not all of one photograph, got 12 of 1",
        ),
        (lambda images: {"images": images, "sources": [0, 1]}, "12 images, got 2 names"),
        (
            lambda images: {"images": images[[*range(9), 4]]},
            "same image as number 4 and as number 9",
        ),
        (lambda images: {"images": np.where(images > 0.999, np.nan, images)}, "must be finite"),
        (lambda images: {"images": images, "image_shape": (8, 8)}, "array of images"),
        (lambda images: {"images": images, "linear": True}, "array of images"),
    ],
)
def test_what_is_no_null_is_refused(change, message, images):
    with pytest.raises(ValueError, match=message):
        plx.null(model=square, **change(images))


def test_folders_that_are_no_null_are_refused(folder, images, unchecked):
    with pytest.raises(ValueError, match="no folder"):
        plx.null(folder / "nothing", square)
    with pytest.raises(ValueError, match="sources must be None for a folder"):
        plx.null(folder, square, sources=range(12))
    with pytest.raises(ValueError, match="image_shape must be the height and the width, got 8"):
        plx.null(folder, square, image_shape=8)
    with pytest.raises(ValueError, match="at least 20 x 16 pixels, got 16 x 18 in .*00.png"):
        plx.null(folder, square, image_shape=(20, 16))
    plx.data.save_image(folder / "05.png", images[0, :, :9], dtype=np.uint16)
    with pytest.raises(ValueError, match=r"\(16, 18\) in 00.png and \(9, 18\) in 05.png"):
        plx.null(folder, square)
    (folder / "notes.txt").write_text("no image")
    with pytest.raises(ValueError, match="notes.txt"):
        plx.null(folder, square, image_shape=(8, 8))


def test_images_that_the_model_does_not_take_are_refused(folder, images):
    def of_colors(image):
        return jnp.tensordot(jnp.ones(3), image, 1)

    for given in (folder, images[..., :17]):
        with pytest.raises(ValueError, match=r"that the model takes, got the shape \(1, 16, 1"):
            plx.null(given, of_colors)
    assert plx.null(folder, of_colors, as_gray=False).num_pairs == 66


def test_a_null_of_another_model_is_refused(images):
    result = plx.metamer(
        jnp.asarray(images[0]), square, key=jax.random.key(0), max_steps=2, progress=False
    )
    with pytest.raises(ValueError, match="288 values as that of the target, got 1"):
        result.report(null=plx.null(images, jnp.mean))
