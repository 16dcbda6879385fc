"""PNG files written after the definition of the format, read as they say."""

import struct

import numpy as np
import pytest

from plenoptax import data

from .writers import chunk, exif, png


CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
KINDS = [(kind, depth) for kind, depths in DEPTHS.items() for depth in depths]


def read(tmp_path, content, **options):
    (tmp_path / "a.png").write_bytes(content)
    return np.asarray(data.load_images(tmp_path / "a.png", **options))


def on_white(color, alpha):
    return np.moveaxis(alpha * color + 1 - alpha, -1, 0)


@pytest.mark.parametrize("interlace", [False, True])
@pytest.mark.parametrize(("kind", "depth"), KINDS)
def test_png_of_every_kind_depth_and_filter(tmp_path, rng, x64, kind, depth, interlace):
    samples = rng.integers(0, 2**depth, (9, 11, CHANNELS[kind]))
    palette = rng.integers(0, 256, (2**depth, 3), dtype=np.uint8)
    chunks = [(b"PLTE", palette.tobytes())] if kind == 3 else []
    # Correlated rows, so that Paeth's filter takes each of its branches.
    samples[4:] = samples[3:-1]
    content = png(samples, depth, kind, *chunks, kinds=(4, 1, 2, 3, 4, 0), interlace=interlace)
    values = samples / (2**depth - 1)
    if kind == 3:
        wanted = np.moveaxis(palette[samples[..., 0]] / 255, -1, 0)
    elif kind in (4, 6):
        wanted = on_white(values[..., :-1], values[..., -1:])
    else:
        wanted = np.moveaxis(values, -1, 0)
    wanted = np.broadcast_to(wanted, (3, 9, 11))
    np.testing.assert_allclose(read(tmp_path, content, as_gray=False), wanted, atol=1e-12)


@pytest.mark.parametrize("depth", DEPTHS[0])
def test_png_gray_value_that_is_transparent_is_white(tmp_path, x64, depth):
    key = 2 ** (depth - 1)
    samples = np.array([[0, key, key - 1, 2**depth - 1]])[..., None]
    content = png(samples, depth, 0, (b"tRNS", struct.pack(">H", key)))
    wanted = np.where(samples == key, 1, samples / (2**depth - 1))[..., 0]
    np.testing.assert_allclose(read(tmp_path, content)[0], wanted, atol=1e-12)


@pytest.mark.parametrize("depth", DEPTHS[2])
def test_png_color_that_is_transparent_is_white(tmp_path, rng, x64, depth):
    samples = rng.integers(0, 2**depth, (2, 3, 3))
    # Another color that has the same green alone stays.
    samples[1, 1, 1] = samples[0, 1, 1]
    content = png(samples, depth, 2, (b"tRNS", struct.pack(">3H", *samples[0, 1])))
    wanted = samples / (2**depth - 1)
    wanted[0, 1] = 1
    got = read(tmp_path, content, as_gray=False)
    np.testing.assert_allclose(got, np.moveaxis(wanted, -1, 0), atol=1e-12)


def test_png_palette_with_alpha_for_its_first_colors(tmp_path, x64):
    palette = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    samples = np.array([[0, 1, 2]])[..., None]
    content = png(samples, 2, 3, (b"PLTE", palette.tobytes()), (b"tRNS", bytes([0, 51])))
    wanted = on_white(palette[None] / 255, np.array([0, 0.2, 1])[None, :, None])
    np.testing.assert_allclose(read(tmp_path, content, as_gray=False), wanted, atol=1e-12)


def test_png_orientation_is_that_of_its_exif(tmp_path, x64):
    samples = np.array([[0, 1, 2], [3, 4, 5]])[..., None]
    content = png(samples, 8, 0, (b"eXIf", exif(6)))
    # The first row of the file is the right edge.
    assert (read(tmp_path, content)[0] * 255).round().tolist() == [[3, 0], [4, 1], [5, 2]]
    kept = read(tmp_path, content, orientation="ignore")
    assert (kept[0] * 255).round().tolist() == [[0, 1, 2], [3, 4, 5]]


def damaged():
    samples = np.arange(12).reshape(3, 4, 1)
    whole = png(samples, 8, 0)
    wrong = bytearray(whole)
    wrong[45] ^= 1
    palette = (b"PLTE", bytes(6))
    frames = (b"acTL", struct.pack(">II", 3, 0))
    return {
        "checksum of its IDAT": bytes(wrong),
        "no color 11 in its palette of 2": png(samples, 8, 3, palette),
        "3 frames": png(samples, 8, 0, frames),
        "chunk CgBI": whole.replace(chunk(b"IEND", b""), chunk(b"CgBI", b"") + chunk(b"IEND", b"")),
        "color type 0 of 3 bits": whole[:8]
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 3, 3, 0, 0, 0, 0))
        + whole[33:],
        "unknown filter 5": png(np.zeros((2, 2, 3), int), 16, 2).replace(chunk(b"IDAT", b""), b"")[
            :33
        ]
        + idat(bytes([5]) + bytes(12) + bytes(13))
        + chunk(b"IEND", b""),
        "first chunk": whole[:8] + whole[33:],
    }


def idat(content):
    import zlib

    return chunk(b"IDAT", zlib.compress(content))


@pytest.mark.parametrize("message", damaged())
def test_png_that_is_damaged_is_refused(tmp_path, message):
    with pytest.raises(ValueError, match=rf"a\.png cannot be read: .*{message}"):
        read(tmp_path, damaged()[message])


@pytest.mark.parametrize(
    ("kind", "depth", "interlace"), [(0, 8, False), (2, 16, False), (0, 2, True)]
)
def test_png_that_is_cut_off_anywhere_is_refused(tmp_path, kind, depth, interlace):
    content = png(np.zeros((5, 6, CHANNELS[kind]), int), depth, kind, interlace=interlace)
    for length in range(8, len(content)):
        with pytest.raises(ValueError, match=r"a\.png cannot be read: it is truncated"):
            read(tmp_path, content[:length])
    # The chunks are whole here, and the data in them are not.
    short = content.replace(content[content.index(b"IDAT") - 4 : -12], idat(b"\0\0"))
    with pytest.raises(ValueError, match=r"a\.png cannot be read"):
        read(tmp_path, short)
