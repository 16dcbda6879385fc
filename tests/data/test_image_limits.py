"""Sizes, kinds of files that no reader takes, and arguments."""

import struct
import warnings

import numpy as np
import PIL.Image
import pytest
from PIL import Image

from plenoptax import data

from .writers import chunk, exif, png, tiff


def write(path, content):
    path.write_bytes(content)
    return path


def gif(width, height):
    """A GIF of one color, as large as it says, whose pixels are missing."""
    frame = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\2\0;"
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6) + frame


# Headers of images of 30,000 by 20,000 pixels, which no data follow.
HUGE = {
    "png": b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", struct.pack(">IIBBBBB", 20000, 30000, 8, 2, 0, 0, 0)),
    "tif": tiff(np.zeros((1, 1, 1), int), tags={256: 20000, 257: 30000}),
    "pgm": b"P5 20000 30000 255\n",
    "pam": b"P7\nWIDTH 20000\nHEIGHT 30000\nDEPTH 1\nMAXVAL 255\nTUPLTYPE GRAYSCALE\nENDHDR\n",
    "bmp": b"BM"
    + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 20000, 30000, 1, 24, 0, 0, 0, 0, 0, 0),
    "gif": gif(20000, 30000),
    "jpg": b"\xff\xd8\xff\xc0"
    + struct.pack(">HBHHB", 11, 8, 30000, 20000, 1)
    + b"\1\x11\0\xff\xda\0\x08\1\1\0\0\x3f\0",
}


@pytest.mark.parametrize("extension", HUGE)
def test_images_above_max_pixels_are_refused_by_their_header(tmp_path, extension):
    path = write(tmp_path / f"a.{extension}", HUGE[extension])
    before = PIL.Image.MAX_IMAGE_PIXELS
    for paths in (path, [path], tmp_path):
        message = (
            rf"a\.{extension} cannot be read: it has 30000 by 20000 pixels, 600000000 in total"
        )
        with pytest.raises(ValueError, match=message + ".*67108864.*give a larger max_pixels"):
            data.load_images(paths)
    # With enough allowed, what is wrong is that there are no pixels.
    if extension not in ("bmp", "gif", "jpg"):
        with pytest.raises(ValueError, match=r"cannot be read: it (is truncated|has values)"):
            data.load_images(path, max_pixels=2**30)
    assert before == PIL.Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("extension", ["png", "tif", "ppm", "jpg", "gif", "bmp", "tga", "jp2"])
def test_max_pixels_is_exact_and_alone_decides(tmp_path, monkeypatch, extension):
    path = tmp_path / f"a.{extension}"
    Image.new("RGB", (8, 6), (10, 20, 30)).save(path)
    # Pillow's guard would warn above 5 pixels and refuse above 10.
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 5)
    assert data.load_images(path, max_pixels=48).shape == (1, 6, 8)
    with pytest.raises(ValueError, match=r"6 by 8 pixels, 48 in total, and max_pixels is 47"):
        data.load_images(path, max_pixels=47)
    assert PIL.Image.MAX_IMAGE_PIXELS == 5


def test_the_limit_of_the_reader_itself_is_named(tmp_path, monkeypatch):
    # A frame that is larger than the screen that the header gives, which Pillow checks itself.
    frame = b"," + struct.pack("<HHHHB", 0, 0, 8, 6, 0) + b"\2\0;"
    content = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6) + frame
    path = write(tmp_path / "a.gif", content)
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 5)
    with pytest.raises(ValueError, match=r"a\.gif cannot be read: it is larger than Pillow reads"):
        data.load_images(path)


NO_READER = {
    "HEIF": b"\0\0\0\x18ftypheic" + bytes(40),
    "JPEG XL": b"\xff\x0a" + bytes(40),
    "OpenEXR": b"\x76\x2f\x31\x01" + bytes(40),
    "Radiance HDR": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 1 +X 1\n\0\0\0\0",
    "DICOM": bytes(128) + b"DICM" + bytes(40),
    "FITS": b"SIMPLE  =                    T".ljust(2880),
    "SVG": b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>',
}


@pytest.mark.parametrize("kind", NO_READER)
def test_no_reader_is_another_sentence_than_not_an_image(tmp_path, kind):
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    path = write(tmp_path / "b.dat", NO_READER[kind])
    message = rf"b\.dat cannot be read: its format, {kind}, is not supported. Convert it to"
    for paths in (path, [path], tmp_path):
        with pytest.raises(ValueError, match=message):
            data.load_images(paths)
    write(path, b"name,age\nA,3\n")
    with pytest.raises(ValueError, match=r"b\.dat cannot be read: it is not an image"):
        data.load_images(path)
    with pytest.warns(UserWarning, match=r"Skipped in .*, because they are not images: b\.dat"):
        assert data.load_images(tmp_path).shape == (1, 1, 4, 4)


@pytest.mark.parametrize("extension", ["jpg", "gif", "webp", "bmp", "jp2"])
def test_damaged_images_are_not_left_out_of_a_folder(tmp_path, rng, extension):
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    path = tmp_path / f"b.{extension}"
    Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
    content = path.read_bytes()
    # From a whole signature on, some of which are 12 bytes long.
    for length in range(12, len(content) - 1, 31):
        write(path, content[:length])
        with pytest.raises(ValueError, match=rf"b\.{extension} cannot be read") as caught:
            data.load_images(tmp_path)
        assert "\n" not in str(caught.value)


def test_depths_that_pillow_would_cut_are_refused(tmp_path, rng):
    header = struct.pack(">HBBHHHHii", 474, 0, 2, 3, 4, 4, 3, 0, 65535)
    write(tmp_path / "a.sgi", header.ljust(512, b"\0") + bytes(96))
    Image.fromarray(rng.integers(0, 65536, (8, 8), dtype=np.uint16)).save(tmp_path / "a.jp2")
    for name in ("a.sgi", "a.jp2"):
        with pytest.raises(ValueError, match=r"does not have 8 bits, which Pillow would change"):
            data.load_images(tmp_path / name)


def test_cmyk_is_refused_by_name(tmp_path):
    Image.new("CMYK", (4, 4), (10, 20, 30, 40)).save(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match=r"a\.jpg cannot be read: its colors are CMYK"):
        data.load_images(tmp_path / "a.jpg")


def test_transparency_of_gif_bmp_and_webp_is_white(tmp_path, x64):
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putdata([0, 1])
    palette.save(tmp_path / "a.gif", transparency=1)
    # Blue, green, red and alpha, by the masks of the fourth version of the header.
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, 2, 1, 1, 32, 3, 8, 0, 0, 0, 0) + masks
    bits = bytes([30, 20, 10, 255, 60, 50, 40, 0])
    bmp = b"BM" + struct.pack("<III", 130, 0, 122) + header.ljust(108, b"\0") + bits
    write(tmp_path / "b.bmp", bmp)
    Image.fromarray(np.array([[[10, 20, 30, 255], [40, 50, 60, 0]]], np.uint8)).save(
        tmp_path / "c.webp", lossless=True
    )
    wanted = np.array([[10, 255], [20, 255], [30, 255]])[:, None] / 255
    for image in data.load_images(tmp_path, as_gray=False):
        np.testing.assert_allclose(image, wanted, atol=1e-12)


@pytest.mark.parametrize("value", [0, -1, 2.5, "many", True])
def test_max_pixels_is_a_whole_number(tmp_path, unchecked, value):
    with pytest.raises(ValueError, match="max_pixels must be a whole number"):
        data.load_images(tmp_path, max_pixels=value)


def test_orientation_is_one_of_two(tmp_path):
    with pytest.raises(ValueError, match="orientation must be 'apply' or 'ignore', got 'rotate'"):
        data.load_images(tmp_path, orientation="rotate")


def test_arguments_of_numpy_are_taken(tmp_path, unchecked):
    paths = [tmp_path / f"{name}.png" for name in "ab"]
    for level, path in enumerate(paths):
        write(path, png(np.full((2, 3, 1), level), 1, 0, (b"eXIf", exif(6))))
    images = data.load_images(
        np.array([str(path) for path in paths]),
        np.bool_(False),
        linear=np.bool_(True),
        orientation=np.str_("ignore"),
        max_pixels=np.uint16(6),
    )
    assert images.shape == (2, 3, 2, 3)
    assert data.load_images(np.str_(paths[0])).shape == (1, 3, 2)
    assert data.load_images(np.array(paths, object), np.True_).shape == (2, 1, 3, 2)


def test_reading_changes_no_variable_of_the_process(tmp_path):
    filters = list(warnings.filters)
    settings = {
        name: getattr(PIL.Image, name) for name in ("MAX_IMAGE_PIXELS", "WARN_POSSIBLE_FORMATS")
    }
    Image.new("RGB", (4, 4)).save(tmp_path / "a.tif", compression="tiff_lzw")
    data.load_images(tmp_path, max_pixels=2**40)
    assert warnings.filters == filters
    assert settings == {name: getattr(PIL.Image, name) for name in settings}
