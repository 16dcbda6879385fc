"""On which scale the pixels of a file are, and how they become sRGB or linear light."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from plenoptax import data

from .writers import curve, png, profile, profile_of_tags, tiff, xyz


WEIGHTS = np.array([0.2125, 0.7154, 0.0721])
# Published colorants under D50 (columns red, green, blue) of sRGB, of Adobe RGB (1998) and of P3.
SRGB = np.array(
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169]]
    + [[0.0139322, 0.0971045, 0.7141733]]
)
ADOBE = np.array(
    [[0.6097559, 0.2052401, 0.1492240], [0.3111242, 0.6256560, 0.0632197]]
    + [[0.0194811, 0.0608902, 0.7448387]]
)
P3 = np.array(
    [[0.5151187, 0.2919778, 0.1571035], [0.2411892, 0.6922441, 0.0665668]]
    + [[-0.0010505, 0.0418791, 0.7840713]]
)


# White has four digits in the one computation and five in the other.
ROUNDING = 5e-4


def decode(values):
    values = np.asarray(values, float)
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def encode(light):
    light = np.asarray(light, float)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def iccp(content):
    return b"iCCP", b"name\0\0" + zlib.compress(content)


def read(tmp_path, content, name="a.png", **options):
    (tmp_path / name).write_bytes(content)
    return np.asarray(data.load_images(tmp_path / name, **options))


def colors(rng, shape=(4, 6, 3)):
    # Away from the edge of the gamut, so that nothing is clipped.
    return rng.integers(20000, 45000, shape)


SRGB_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize(
    "chunks", [(), ((b"sRGB", b"\0"),), (iccp(SRGB_PROFILE),), ((b"cICP", bytes([1, 13, 0, 1])),)]
)
def test_srgb_is_left_by_default_and_decoded_before_graying(tmp_path, rng, x64, chunks):
    samples = rng.integers(0, 65536, (4, 6, 3))
    content = png(samples, 16, 2, *chunks)
    values = samples / 65535
    np.testing.assert_allclose(read(tmp_path, content)[0], values @ WEIGHTS, atol=1e-12)
    light = read(tmp_path, content, linear=True)
    np.testing.assert_allclose(light[0], decode(values) @ WEIGHTS, atol=1e-12)
    light = read(tmp_path, content, as_gray=False, linear=True)
    np.testing.assert_allclose(light, np.moveaxis(decode(values), -1, 0), atol=1e-12)


@pytest.mark.parametrize("kind", [0, 2])
@pytest.mark.parametrize("gamma", [45455, 100000, 55556])
def test_gamma_is_used_for_linear_light_alone(tmp_path, rng, x64, kind, gamma):
    samples = rng.integers(0, 65536, (4, 6, 1 if kind == 0 else 3))
    content = png(samples, 16, kind, (b"gAMA", struct.pack(">I", gamma)))
    values = samples / 65535
    weights = WEIGHTS if kind else np.ones(1)
    np.testing.assert_allclose(read(tmp_path, content)[0], values @ weights, atol=1e-12)
    light = read(tmp_path, content, linear=True)
    wanted = values ** (100000 / gamma) @ weights
    np.testing.assert_allclose(light[0], wanted, atol=1e-12)


def test_gamma_goes_with_the_chromaticities_beside_it(tmp_path, rng, x64):
    # Those of P3, whose colorants under D50 are known.
    numbers = (31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
    samples = colors(rng)
    chunks = (b"gAMA", struct.pack(">I", 50000)), (b"cHRM", struct.pack(">8I", *numbers))
    light = read(tmp_path, png(samples, 16, 2, *chunks), as_gray=False, linear=True)
    wanted = (samples / 65535) ** 2 @ (np.linalg.inv(SRGB) @ P3).T
    np.testing.assert_allclose(light, np.moveaxis(wanted, -1, 0), atol=ROUNDING)


@pytest.mark.parametrize("colorants", [ADOBE, P3])
@pytest.mark.parametrize("make", ["png", "tif"])
def test_a_profile_that_is_not_srgb_is_converted_at_full_depth(tmp_path, rng, x64, colorants, make):
    samples = colors(rng)
    icc = profile([2.2] * 3, colorants)
    content = (
        png(samples, 16, 2, iccp(icc)) if make == "png" else tiff(samples, 16, tags={34675: icc})
    )
    # The profile holds the exponent in steps of 1/256.
    light = (samples / 65535) ** (round(2.2 * 256) / 256) @ (np.linalg.inv(SRGB) @ colorants).T
    got = read(tmp_path, content, f"a.{make}", as_gray=False)
    np.testing.assert_allclose(got, np.moveaxis(encode(light), -1, 0), atol=ROUNDING)
    # 24 different colors of 16 bits are not those of 8.
    assert np.abs(got * 255 - np.rint(got * 255)).max() > 0.1
    got = read(tmp_path, content, f"a.{make}", as_gray=False, linear=True)
    np.testing.assert_allclose(got, np.moveaxis(light, -1, 0), atol=ROUNDING)
    gray = read(tmp_path, content, f"a.{make}", linear=True)
    np.testing.assert_allclose(gray[0], light @ WEIGHTS, atol=ROUNDING)


def test_the_conversion_of_a_profile_is_that_of_littlecms(tmp_path, rng):
    samples = (colors(rng, (8, 8, 3)) // 257).astype(np.uint8)
    table = np.linspace(0, 1, 64) ** 1.8
    icc = profile([table] * 3, ADOBE)
    picture = Image.fromarray(samples)
    picture.save(tmp_path / "a.webp", lossless=True, icc_profile=icc)
    picture.save(tmp_path / "a.png", icc_profile=icc)
    made = ImageCms.profileToProfile(picture, io.BytesIO(icc), io.BytesIO(SRGB_PROFILE), 1)
    for name in ("a.webp", "a.png"):
        got = np.asarray(data.load_images(tmp_path / name, as_gray=False))
        np.testing.assert_allclose(got * 255, np.moveaxis(np.asarray(made), -1, 0), atol=1)
        assert np.abs(got * 255 - np.moveaxis(samples, -1, 0)).max() > 5


def parametric(kind, *numbers):
    values = np.rint(np.multiply(numbers, 65536)).astype(int)
    return b"para" + bytes(4) + struct.pack(f">HH{len(values)}i", kind, 0, *values)


# By the table of the definition (ICC.1, parametricCurveType), with numbers that differ.
PARAMETRIC = {
    0: ((1.8,), lambda x: x**1.8),
    1: ((2.0, 0.8, 0.2), lambda x: (0.8 * x + 0.2) ** 2),
    2: ((2.0, 0.8, 0.1, 0.1), lambda x: (0.8 * x + 0.1) ** 2 + 0.1),
    3: ((2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045), decode),
    4: (
        (2.0, 0.9, 0.05, 0.5, 0.3, 0.02, 0.01),
        lambda x: np.where(x >= 0.3, (0.9 * x + 0.05) ** 2 + 0.02, 0.5 * x + 0.01),
    ),
}


@pytest.mark.parametrize("kind", PARAMETRIC)
def test_gray_profiles_of_each_kind_of_curve(tmp_path, x64, kind):
    numbers, function = PARAMETRIC[kind]
    samples = np.linspace(0, 65535, 12).round().astype(int).reshape(3, 4, 1)
    tags = {b"kTRC": parametric(kind, *numbers), b"wtpt": xyz((0.9642, 1, 0.8249))}
    content = png(samples, 16, 0, iccp(profile_of_tags(tags, b"GRAY")))
    wanted = function(samples[..., 0] / 65535)
    np.testing.assert_allclose(read(tmp_path, content, linear=True)[0], wanted, atol=1e-4)
    # Slopes of the coding at black are up to 12.92.
    np.testing.assert_allclose(read(tmp_path, content)[0], encode(wanted), atol=1e-3)


@pytest.mark.parametrize("space", ["gray", "color"])
def test_gray_images_with_a_profile_of_gray_or_of_color(tmp_path, x64, space):
    samples = np.linspace(0, 65535, 12).round().astype(int).reshape(3, 4, 1)
    table = np.linspace(0, 1, 256) ** 1.5
    icc = profile([table]) if space == "gray" else profile([table] * 3, ADOBE)
    content = png(samples, 16, 0, iccp(icc))
    wanted = (samples[..., 0] / 65535) ** 1.5
    np.testing.assert_allclose(read(tmp_path, content, linear=True)[0], wanted, atol=1e-4)
    np.testing.assert_allclose(read(tmp_path, content)[0], encode(wanted), atol=1e-3)


def test_a_profile_that_is_srgb_but_for_rounding_leaves_the_values(tmp_path, rng, x64):
    samples = rng.integers(0, 65536, (3, 4, 3))
    table = decode(np.linspace(0, 1, 1024))
    content = png(samples, 16, 2, iccp(profile([table] * 3, SRGB)))
    got = read(tmp_path, content, as_gray=False)
    assert np.array_equal(got, np.moveaxis(samples / 65535, -1, 0))


@pytest.mark.parametrize(
    ("codes", "colorants", "exponent"),
    [((12, 8), P3, 1.0), ((1, 8), SRGB, 1.0), ((12, 4), P3, 2.2)],
)
def test_cicp_is_converted_as_a_profile_is(tmp_path, rng, x64, codes, colorants, exponent):
    samples = colors(rng)
    content = png(samples, 16, 2, (b"cICP", bytes([*codes, 0, 1])))
    light = (samples / 65535) ** exponent @ (np.linalg.inv(SRGB) @ colorants).T
    got = read(tmp_path, content, as_gray=False)
    np.testing.assert_allclose(got, np.moveaxis(encode(light), -1, 0), atol=ROUNDING)


def table_profile():
    return profile_of_tags(
        {
            b"desc": b"desc" + bytes(4) + struct.pack(">I", 9) + b"Printer 7" + bytes(80),
            b"A2B0": bytes(8),
        },
        b"CMYK",
    )


@pytest.mark.parametrize("linear", [False, True])
def test_what_cannot_be_converted_is_refused_by_name(tmp_path, rng, linear):
    samples = colors(rng)
    with pytest.raises(ValueError, match=r"a\.png cannot be read: its color profile, 'Printer 7'"):
        read(tmp_path, png(samples, 16, 2, iccp(table_profile())), linear=linear)
    with pytest.raises(ValueError, match=r"'A test' \(GRAY\)"):
        read(tmp_path, png(samples, 16, 2, iccp(profile([2.2]))), linear=linear)
    with pytest.raises(ValueError, match="cICP chunk gives primaries 9, transfer function 16"):
        read(tmp_path, png(samples, 16, 2, (b"cICP", bytes([9, 16, 0, 1]))), linear=linear)
    with pytest.raises(ValueError, match="white that is not D50"):
        read(tmp_path, png(samples, 16, 2, iccp(profile([2.2] * 3, ADOBE * 0.9))), linear=linear)


def test_colors_that_srgb_lacks_are_clipped_with_a_warning(tmp_path, x64):
    samples = np.zeros((1, 4, 3), int)
    samples[0, 0, 1] = 65535
    content = png(samples, 16, 2, iccp(profile([1.0] * 3, P3)))
    with pytest.warns(
        UserWarning, match=r"a\.png: 25\.00% of its pixels have colors outside of sRGB"
    ):
        got = read(tmp_path, content, as_gray=False)
    assert got[0, 0, 0] == got[2, 0, 0] == 0
    np.testing.assert_allclose(got[1, 0, 0], 1, atol=1e-12)


def test_transparency_is_composited_on_the_scale_that_is_asked_for(tmp_path, x64):
    samples = np.array([[[51, 102]]])
    got = read(tmp_path, png(samples, 8, 4), linear=True)
    np.testing.assert_allclose(got, 0.4 * decode(0.2) + 0.6, atol=1e-12)


def test_floats_that_do_not_say_what_they_are_have_no_linear_light(tmp_path, rng):
    samples = rng.random((3, 4, 1), np.float32)
    with pytest.raises(ValueError, match=r"a\.tif holds floating-point numbers"):
        read(tmp_path, tiff(samples, 32, tags={339: 3}), "a.tif", linear=True)
    said = tiff(samples, 32, tags={339: 3, 34675: profile([1.0])})
    got = read(tmp_path, said, "a.tif", linear=True)
    np.testing.assert_allclose(got[0], samples[..., 0], atol=1e-6)


def test_profile_curves_of_these_tests_are_as_defined():
    assert curve(2.2)[8:] == struct.pack(">IH", 1, 563)
    assert curve([0, 1])[8:] == struct.pack(">IHH", 2, 0, 65535)
