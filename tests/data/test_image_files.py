import os
import warnings

import imageio.v3 as iio
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from plenoptax import data
from plenoptax.data._save import encode_image


def integers(rng, *shape, dtype=np.uint8):
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def write(path, pixels):
    iio.imwrite(path, pixels)
    return path


@pytest.mark.parametrize("extension", ["png", "bmp", "pgm", "tif"])
def test_load_images_divides_8_bits_by_255(tmp_path, rng, extension, x64):
    pixels = integers(rng, 6, 9)
    image = data.load_images(write(tmp_path / f"a.{extension}", pixels))
    assert image.dtype == jnp.float64
    assert np.array_equal(image, pixels[None] / 255)


@pytest.mark.parametrize("extension", ["png", "pgm", "tif"])
def test_load_images_divides_16_bits_by_65535(tmp_path, rng, extension, x64):
    pixels = integers(rng, 6, 9, dtype=np.uint16)
    image = data.load_images(write(tmp_path / f"a.{extension}", pixels))
    assert np.array_equal(image, pixels[None] / 65535)


def test_load_images_reads_16_bit_color_tiff_in_full(tmp_path, rng, x64):
    pixels = integers(rng, 6, 9, 3, dtype=np.uint16)
    iio.imwrite(tmp_path / "a.tif", pixels, plugin="tifffile", photometric="rgb")
    image = data.load_images(tmp_path / "a.tif", as_gray=False)
    assert np.array_equal(image, np.moveaxis(pixels, -1, 0) / 65535)


def test_load_images_is_float32_without_x64(tmp_path, rng):
    assert data.load_images(write(tmp_path / "a.png", integers(rng, 4, 4))).dtype == jnp.float32


@pytest.mark.parametrize("channels", [3, 4])
def test_load_images_turns_color_gray_as_scikit_image(tmp_path, rng, channels, x64):
    color = pytest.importorskip("skimage.color")
    pixels = integers(rng, 6, 9, channels)
    opaque = color.rgba2rgb(pixels) if channels == 4 else pixels / 255
    path = write(tmp_path / "a.png", pixels)
    np.testing.assert_allclose(data.load_images(path)[0], color.rgb2gray(opaque), atol=1e-12)
    np.testing.assert_allclose(
        data.load_images(path, as_gray=False), np.moveaxis(opaque, -1, 0), atol=1e-12
    )


def test_load_images_composites_gray_with_alpha_on_white(tmp_path, x64):
    Image.new("LA", (3, 2), (51, 102)).save(tmp_path / "a.png")
    # 0.4 of 0.2 and 0.6 of white.
    np.testing.assert_allclose(data.load_images(tmp_path / "a.png"), np.full((1, 2, 3), 0.68))


def test_load_images_repeats_gray_where_color_is_asked(tmp_path, rng):
    path = write(tmp_path / "a.png", integers(rng, 5, 4))
    image = data.load_images(path, as_gray=False)
    assert image.shape == (3, 5, 4)
    assert jnp.array_equal(image, jnp.repeat(data.load_images(path), 3, axis=0))


def test_load_images_expands_palettes(tmp_path, rng):
    drawn = Image.fromarray(integers(rng, 8, 8, 3)).quantize(7)
    drawn.save(tmp_path / "a.png")
    drawn.save(tmp_path / "clear.png", transparency=2)
    colors = np.moveaxis(np.asarray(drawn.convert("RGB")), -1, 0) / 255
    np.testing.assert_allclose(
        data.load_images(tmp_path / "a.png", as_gray=False), colors, atol=1e-6
    )
    white = np.where(np.asarray(drawn) == 2, 1.0, colors)
    assert not np.array_equal(white, colors)
    np.testing.assert_allclose(
        data.load_images(tmp_path / "clear.png", as_gray=False), white, atol=1e-6
    )


def test_load_images_reads_one_bit(tmp_path, rng):
    pixels = rng.random((5, 6)) < 0.5
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(data.load_images(tmp_path / "a.png")[0], pixels.astype(np.float32))


def test_load_images_takes_float_files_in_the_unit_range(tmp_path, rng):
    pixels = rng.random((5, 6), dtype=np.float32)
    assert np.array_equal(data.load_images(write(tmp_path / "a.tif", pixels))[0], pixels)
    with pytest.raises(ValueError, match=r"b\.tif has values from .* to 2"):
        data.load_images(write(tmp_path / "b.tif", np.full((3, 3), 2, np.float32)))


def test_load_images_stacks_a_list_in_its_order(tmp_path, rng):
    paths = [write(tmp_path / f"{name}.png", integers(rng, 4, 5)) for name in "ba"]
    images = data.load_images(paths)
    assert images.shape == (2, 1, 4, 5)
    assert jnp.array_equal(images[0], data.load_images(paths[0]))
    assert jnp.array_equal(data.load_images([str(paths[1])])[0], images[1])
    assert data.load_images((paths[0], paths[0])).shape == (2, 1, 4, 5)


def test_load_images_sorts_a_folder(tmp_path):
    for name, value in (("a3", 30), ("b1", 10), ("c2", 20)):
        write(tmp_path / f"{name}.png", np.full((2, 2), value, np.uint8))
    first = data.load_images(tmp_path)[:, 0, 0, 0] * 255
    np.testing.assert_allclose(first, [30, 10, 20], rtol=1e-6)
    second = data.load_images(str(tmp_path), sorted_key=lambda path: path.name[1])
    np.testing.assert_allclose(second[:, 0, 0, 0] * 255, [10, 20, 30], rtol=1e-6)


def test_load_images_names_what_it_skips_in_a_folder(tmp_path, rng):
    write(tmp_path / "a.png", integers(rng, 3, 3))
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "empty.png").touch()
    (tmp_path / "more").mkdir()
    with pytest.warns(UserWarning, match=r"empty\.png, more, notes\.txt"):
        assert data.load_images(tmp_path).shape == (1, 1, 3, 3)
    (tmp_path / "a.png").unlink()
    with (
        pytest.warns(UserWarning, match="Skipped"),
        pytest.raises(ValueError, match="holds no image"),
    ):
        data.load_images(tmp_path)


def test_load_images_names_the_odd_size(tmp_path, rng):
    for name, height in (("a", 4), ("b", 5), ("c", 5)):
        write(tmp_path / f"{name}.png", integers(rng, height, 4))
    with pytest.raises(ValueError, match=r"got \(1, 5, 4\) for most, but .*a\.png \(1, 4, 4\)"):
        data.load_images(tmp_path)


@pytest.mark.parametrize("extension", ["png", "jpg", "tif"])
def test_load_images_refuses_a_truncated_file_by_name(tmp_path, rng, extension):
    path = write(tmp_path / f"half.{extension}", integers(rng, 64, 64, 3))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    for paths in (path, [path], tmp_path):
        with pytest.raises(ValueError, match=rf"half\.{extension} cannot be read") as caught:
            data.load_images(paths)
        assert "\n" not in str(caught.value)


def test_load_images_refuses_what_is_not_one_image(tmp_path, rng):
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.png cannot be read: it is not an image"):
        data.load_images(tmp_path / "text.png")
    write(tmp_path / "movie.gif", integers(rng, 3, 6, 6, 3))
    with pytest.raises(ValueError, match=r"movie\.gif cannot be read: it holds 3 frames"):
        data.load_images(tmp_path / "movie.gif")
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        data.load_images(tmp_path / "gone.png")
    with pytest.raises(ValueError, match="empty list"):
        data.load_images([])


def test_load_images_takes_a_sorted_key_for_folders_only(tmp_path, rng):
    path = write(tmp_path / "a.png", integers(rng, 3, 3))
    for paths in (path, [path]):
        with pytest.raises(ValueError, match="sorted_key"):
            data.load_images(paths, sorted_key=lambda path: path.name)


@pytest.mark.parity
@pytest.mark.parametrize("as_gray", [True, False])
def test_load_images_agrees_with_plenoptic(tmp_path, rng, as_gray):
    plenoptic = pytest.importorskip("plenoptic")
    paths = [
        write(tmp_path / "gray.png", integers(rng, 7, 5)),
        write(tmp_path / "color.png", integers(rng, 7, 5, 3)),
        write(tmp_path / "deep.png", integers(rng, 7, 5, dtype=np.uint16)),
    ]
    expected = plenoptic.load_images(paths, as_gray=as_gray).numpy()
    np.testing.assert_allclose(data.load_images(paths, as_gray=as_gray), expected, atol=1e-6)


def test_to_numpy_keeps_shape_and_dtype():
    array = jnp.arange(6, dtype=jnp.int32).reshape(1, 6)
    result = data.to_numpy(array)
    assert type(result) is np.ndarray
    assert result.dtype == np.int32
    assert result.shape == (1, 6)
    assert data.to_numpy(array, squeeze=True).shape == (6,)
    assert data.to_numpy(np.zeros((1, 2))).shape == (1, 2)


@pytest.mark.parametrize(("dtype", "maximum"), [(np.uint8, 255), (np.uint16, 65535)])
def test_convert_float_to_int_inverts_the_division(dtype, maximum):
    levels = np.arange(maximum + 1, dtype=dtype)
    for image in (levels / maximum, jnp.asarray(levels / maximum, jnp.float32)):
        result = data.convert_float_to_int(image, dtype)
        assert result.dtype == dtype
        assert np.array_equal(result, levels)


def test_convert_float_to_int_rounds_or_truncates():
    image = np.array([0.0, 0.49, 0.51, 1.0, 1.49, 1.51]) / 255
    assert data.convert_float_to_int(image).tolist() == [0, 0, 1, 1, 1, 2]
    assert data.convert_float_to_int(image, truncate=True).tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("value", [1.0001, -0.0001, np.nan, np.inf])
def test_convert_float_to_int_refuses_values_outside_the_unit_range(value):
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        data.convert_float_to_int(np.array([0.5, value]))


def test_convert_float_to_int_refuses_other_types():
    with pytest.raises(ValueError, match="int32"):
        data.convert_float_to_int(np.zeros(3), np.int32)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.TIFF", "a.bmp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_save_image_comes_back(tmp_path, rng, name, channels):
    image = rng.random((channels, 7, 5))
    data.save_image(tmp_path / name, image)
    loaded = data.load_images(tmp_path / name, as_gray=channels == 1)
    assert loaded.shape == image.shape
    np.testing.assert_allclose(loaded, image, atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize(
    ("name", "channels"), [("a.png", 1), ("a.pgm", 1), ("a.tif", 1), ("a.tif", 3)]
)
def test_save_image_comes_back_from_16_bits(tmp_path, rng, name, channels, x64):
    image = rng.random((channels, 7, 5))
    data.save_image(tmp_path / name, jnp.asarray(image), dtype=np.uint16)
    loaded = data.load_images(tmp_path / name, as_gray=channels == 1)
    np.testing.assert_allclose(loaded, image, atol=0.5001 / 65535)


def test_save_image_says_what_to_do_with_several_images(tmp_path):
    with pytest.raises(ValueError, match=r"got \(5, 3, 4, 4\)\. .* write each to a file"):
        encode_image(tmp_path / "a.png", np.zeros((5, 3, 4, 4)))


def test_save_image_takes_netpbm_by_channels(tmp_path):
    data.save_image(tmp_path / "a.pgm", np.zeros((1, 3, 3)))
    data.save_image(tmp_path / "a.ppm", np.zeros((3, 3, 3)))
    assert (tmp_path / "a.pgm").read_bytes().startswith(b"P5")
    assert (tmp_path / "a.ppm").read_bytes().startswith(b"P6")


def test_save_image_clips_rounding_and_nothing_else_unasked(tmp_path):
    path = tmp_path / "a.png"
    data.save_image(path, np.array([[[-0.4, 255.4]]]) / 255)
    assert iio.imread(path).tolist() == [[0, 255]]
    beyond = np.array([[[-0.6, 255.0]]]) / 255
    with pytest.raises(ValueError, match=r"got -0\.00235294 to 1.*clip=True"):
        data.save_image(path, beyond)
    data.save_image(path, np.array([[[-3.0, 7.0, 0.2]]]), clip=True)
    assert iio.imread(path).tolist() == [[0, 255, 51]]


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_save_image_refuses_nonfinite_values(tmp_path, value, clip):
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        data.save_image(tmp_path / "a.png", np.array([[[value, 0.5]]]), clip=clip)


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "message"),
    [
        ("a.jpg", (1, 4, 4), np.uint8, r"extension .* must be one of \.png, .* got .*a\.jpg"),
        ("a", (1, 4, 4), np.uint8, r"extension .* must be .*/a\."),
        ("a.pgm", (3, 4, 4), np.uint8, r"3 channel.*\.ppm"),
        ("a.ppm", (1, 4, 4), np.uint8, r"1 channel.*\.pgm"),
        ("a.png", (3, 4, 4), np.uint16, r"16 bits.*\.tif"),
        ("a.png", (4, 4), np.uint8, r"got \(4, 4\)"),
        ("a.png", (2, 4, 4), np.uint8, r"got \(2, 4, 4\)"),
        ("a.png", (1, 0, 4), np.uint8, r"got \(1, 0, 4\)"),
        ("a.png", (1, 4, 4), np.float32, "uint16, got float32"),
    ],
)
def test_save_image_refuses_what_would_not_come_back(tmp_path, name, shape, dtype, message):
    # jaxtyping would refuse a wrong rank before the function does.
    save = getattr(data.save_image, "__wrapped__", data.save_image)
    with pytest.raises(ValueError, match=message):
        save(tmp_path / name, np.zeros(shape), dtype=dtype)
    assert not list(tmp_path.iterdir())


def test_save_image_names_a_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"folder .*gone does not exist"):
        data.save_image(tmp_path / "gone" / "a.png", np.zeros((1, 3, 3)))


def test_save_image_leaves_the_old_file_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    data.save_image(path, np.zeros((1, 3, 3)))
    before = path.read_bytes()

    def full(source, target):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        data.save_image(path, np.ones((1, 3, 3)))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_save_image_replaces_a_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "a.png"
    for value in (0.0, 1.0):
        data.save_image(path, np.full((1, 3, 3), value))
    assert iio.imread(path).min() == 255
    assert list(tmp_path.iterdir()) == [path]


def test_save_and_load_warn_of_nothing(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.save_image(tmp_path / "a.tif", np.zeros((1, 3, 3)))
        loaded = data.load_images(tmp_path)
    np.testing.assert_array_equal(loaded, np.zeros((1, 1, 3, 3)))
