"""TIFF files written after the definition of the format, read as they say."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from plenoptax import data

from .writers import pack_rows, tiff, tiff_of_pages


def read(tmp_path, content, **options):
    (tmp_path / "a.tif").write_bytes(content)
    return np.asarray(data.load_images(tmp_path / "a.tif", **options))


def ramp(largest, dtype=int):
    return np.rint(largest * np.arange(35) / 34).reshape(5, 7, 1).astype(dtype)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8, 10, 12, 14, 16, 32])
def test_tiff_of_any_number_of_bits(tmp_path, x64, bits, order, big):
    samples = ramp(2**bits - 1)
    for photometric, wanted in ((1, samples), (0, 2**bits - 1 - samples)):
        content = tiff(samples, bits, order=order, big=big, tags={262: photometric})
        got = read(tmp_path, content)
        np.testing.assert_allclose(got[0], wanted[..., 0] / (2**bits - 1), atol=1e-12)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [8, 16, 32])
def test_tiff_with_a_sign_is_divided_by_its_largest_value(tmp_path, x64, bits, order):
    largest = 2 ** (bits - 1) - 1
    samples = ramp(largest)
    content = tiff(samples, bits, order=order, tags={339: 2})
    np.testing.assert_allclose(read(tmp_path, content)[0], samples[..., 0] / largest, atol=1e-12)
    content = tiff(samples, bits, order=order, tags={339: 2, 262: 0})
    np.testing.assert_allclose(
        read(tmp_path, content)[0], 1 - samples[..., 0] / largest, atol=1e-12
    )
    samples[2, 2] = -1
    with pytest.raises(ValueError, match=r"a\.tif has values from -.*must not be negative"):
        read(tmp_path, tiff(samples, bits, order=order, tags={339: 2}))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [16, 32, 64])
def test_tiff_of_floats_is_taken_as_it_is(tmp_path, x64, bits, order):
    samples = (np.arange(35) / 34).reshape(5, 7, 1).astype(f"f{bits // 8}")
    wanted = samples[..., 0].astype(float)
    content = tiff(samples, bits, order=order, tags={339: 3})
    assert np.array_equal(read(tmp_path, content)[0], wanted)
    assert np.array_equal(np.asarray(data.load_images(tmp_path))[0, 0], wanted)
    content = tiff(samples, bits, order=order, tags={339: 3, 262: 0})
    assert np.array_equal(read(tmp_path, content)[0], 1 - wanted)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("width", [3, 4, 37])
@pytest.mark.parametrize("layout", [{}, {"rows": 2}, {"tile": (16, 16)}])
def test_tiff_in_planes_strips_and_tiles(tmp_path, rng, x64, order, width, layout):
    samples = rng.integers(0, 65536, (5, width, 3))
    for planar in (False, True):
        content = tiff(samples, 16, order=order, planar=planar, **layout)
        got = read(tmp_path, content, as_gray=False)
        np.testing.assert_allclose(got, np.moveaxis(samples, -1, 0) / 65535, atol=1e-12)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_tiff_palette_has_16_bits(tmp_path, rng, x64, bits):
    colors = rng.integers(0, 65536, (3, 2**bits))
    samples = rng.integers(0, 2**bits, (5, 7, 1))
    content = tiff(samples, bits, tags={262: 3, 320: tuple(colors.ravel())})
    got = read(tmp_path, content, as_gray=False)
    np.testing.assert_allclose(got, colors[:, samples[..., 0]] / 65535, atol=1e-12)


@pytest.mark.parametrize("channels", [1, 3])
def test_tiff_transparency_by_what_the_extra_sample_is(tmp_path, rng, x64, channels):
    samples = rng.integers(0, 65536, (4, 5, channels + 1))
    alpha, photometric = samples[..., -1:] / 65535, 1 if channels == 1 else 2
    colors = samples[..., :-1] / 65535
    content = tiff(samples, 16, tags={262: photometric, 338: 2})
    wanted = np.broadcast_to(np.moveaxis(alpha * colors + 1 - alpha, -1, 0), (3, 4, 5))
    np.testing.assert_allclose(read(tmp_path, content, as_gray=False), wanted, atol=1e-12)
    # The colors are stored times alpha here, and no alpha makes them white.
    times_alpha = samples.copy()
    times_alpha[..., :-1] = times_alpha[..., :-1] * times_alpha[..., -1:] // 65535
    times_alpha[0, 0] = 0
    content = tiff(times_alpha, 16, tags={262: photometric, 338: 1})
    wanted = np.moveaxis(times_alpha[..., :-1] / 65535 + 1 - times_alpha[..., -1:] / 65535, -1, 0)
    wanted = np.broadcast_to(wanted, (3, 4, 5))
    np.testing.assert_allclose(read(tmp_path, content, as_gray=False), wanted, atol=1e-12)
    for extra in ({338: 0}, {}):
        with pytest.raises(ValueError, match=r"a\.tif cannot be read: .* 1 more than its color"):
            read(tmp_path, tiff(samples, 16, tags={262: photometric} | extra))


# By the definition: what edge of the image the first row and the first column of the file are.
EDGES = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


def turned(stored, orientation):
    """Each pixel put where the two edges say that it is."""
    rows, columns = stored.shape
    edges = EDGES[orientation]
    shape = (rows, columns) if edges[0] in ("top", "bottom") else (columns, rows)
    image = np.full(shape, np.nan)
    for r in range(rows):
        for c in range(columns):
            distance = dict(zip(edges, (r, c), strict=True))
            y = distance["top"] if "top" in distance else shape[0] - 1 - distance["bottom"]
            x = distance["left"] if "left" in distance else shape[1] - 1 - distance["right"]
            image[y, x] = stored[r, c]
    return image


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_in_every_format_that_has_it(tmp_path, x64, orientation):
    samples = ramp(255)
    wanted = turned(samples[..., 0] / 255, orientation)
    got = read(tmp_path, tiff(samples, tags={274: orientation}))
    assert np.array_equal(got[0], wanted)
    picture = Image.fromarray(np.repeat(samples.astype(np.uint8), 3, axis=-1))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"webp": {"lossless": True}, "jpg": {"quality": 100}, "png": {}}
    for extension, option in options.items():
        path = tmp_path / f"a.{extension}"
        picture.save(path, exif=exif, **option)
        tolerance = 3 / 255 if extension == "jpg" else 1e-12
        np.testing.assert_allclose(data.load_images(path)[0], wanted, atol=tolerance)
        kept = data.load_images(path, orientation="ignore")
        np.testing.assert_allclose(kept[0], samples[..., 0] / 255, atol=tolerance)


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_tiff_differences_are_summed(tmp_path, rng, x64, bits):
    samples = rng.integers(0, 2**bits, (5, 7, 3))
    differences = samples.copy()
    differences[:, 1:] = (samples[:, 1:] - samples[:, :-1]) % 2**bits
    for order in "<>":
        tags = {259: 8, 317: 2}
        content = tiff(differences, bits, order=order, rows=2, encode=zlib.compress, tags=tags)
        got = read(tmp_path, content, as_gray=False)
        np.testing.assert_allclose(got, np.moveaxis(samples, -1, 0) / (2**bits - 1), atol=1e-12)


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_tiff_differences_of_the_bytes_of_floats_are_summed(tmp_path, rng, x64, bits):
    samples = rng.random((5, 7, 3)).astype(f"f{bits // 8}")

    def encode(content):
        # The highest bytes of all samples of a row first, then differences along the row.
        numbers = np.frombuffer(content, f"<f{bits // 8}").reshape(-1, 21)
        bytes_ = numbers.astype(f">f{bits // 8}").view(np.uint8).reshape(len(numbers), 21, -1)
        row = np.moveaxis(bytes_, -1, 1).reshape(len(numbers), -1, 3)
        row = np.concatenate([row[:, :1], row[:, 1:] - row[:, :-1]], axis=1)
        return zlib.compress(row.tobytes())

    content = tiff(samples, bits, tags={259: 8, 317: 3, 339: 3}, encode=encode)
    wanted = np.moveaxis(samples, -1, 0).astype(float)
    assert np.array_equal(read(tmp_path, content, as_gray=False), wanted)


def compressed_by_pillow(content, width, compression, mode="L"):
    """The strip of a file that Pillow writes of these bytes."""
    import tifffile

    image = Image.frombytes(
        mode, (width, len(content) * (8 if mode == "1" else 1) // width), content
    )
    stream = io.BytesIO()
    image.save(stream, "tiff", compression=compression)
    stream.seek(0)
    with tifffile.TiffFile(stream) as file:
        page = file.pages[0]
        assert len(page.dataoffsets) == 1
        start = page.dataoffsets[0]
        return stream.getvalue()[start : start + page.databytecounts[0]]


@pytest.mark.parametrize(("name", "code"), [("tiff_lzw", 5), ("packbits", 32773)])
def test_tiff_of_16_bits_is_whole_where_pillow_decompresses(tmp_path, rng, x64, name, code):
    samples = rng.integers(0, 65536, (4, 6, 3))

    def encode(content):
        return compressed_by_pillow(content, 36, name)

    for planar in (False, True):
        if planar:
            encode = lambda content: compressed_by_pillow(content, 12, name)  # noqa: E731
        content = tiff(samples, 16, order=">", planar=planar, tags={259: code}, encode=encode)
        got = read(tmp_path, content, as_gray=False)
        np.testing.assert_allclose(got, np.moveaxis(samples, -1, 0) / 65535, atol=1e-12)


@pytest.mark.parametrize("photometric", [0, 1])
def test_tiff_of_a_fax_is_black_and_white_as_it_says(tmp_path, rng, photometric):
    samples = rng.integers(0, 2, (8, 16, 1))
    content = tiff(
        samples,
        1,
        tags={259: 4, 262: photometric},
        encode=lambda rows: compressed_by_pillow(rows, 16, "group4", "1"),
    )
    # Pillow writes 1 as white, whatever the tag of the file around its strip says.
    flipped = read(tmp_path, content)[0]
    assert np.array_equal(flipped, samples[..., 0] if photometric else 1 - samples[..., 0])


def test_tiff_of_jpeg_is_what_pillow_gives(tmp_path):
    picture = Image.fromarray((np.asarray(data.chelsea()) * 255).astype(np.uint8)[:, :64, :40].T)
    picture.save(tmp_path / "a.tif", compression="jpeg", tiffinfo={274: 6})
    got = data.load_images(tmp_path / "a.tif", as_gray=False)
    turned_by_pillow = np.asarray(Image.open(tmp_path / "a.tif"))
    np.testing.assert_allclose(got, np.moveaxis(turned_by_pillow, -1, 0) / 255, atol=1e-6)


@pytest.mark.parametrize("subsampling", [0, 2])
def test_tiff_of_jpeg_in_luma_and_chroma_is_what_pillow_gives(tmp_path, subsampling):
    pixels = (np.asarray(data.chelsea()) * 255).astype(np.uint8)[:, :32, :48]
    stream = io.BytesIO()
    Image.fromarray(np.moveaxis(pixels, 0, -1)).save(stream, "jpeg", subsampling=subsampling)
    wanted = np.moveaxis(np.asarray(Image.open(stream)), -1, 0) / 255
    step = 2 if subsampling else 1
    content = tiff(
        np.zeros((32, 48, 3), int),
        tags={259: 7, 262: 6, 530: (step, step)},
        encode=lambda rows: stream.getvalue(),
    )
    got = read(tmp_path, content, as_gray=False)
    np.testing.assert_allclose(got, wanted, atol=2 / 255)


def test_tiff_with_reversed_bits(tmp_path, x64):
    samples = ramp(4095)

    def encode(content):
        return np.packbits(
            np.unpackbits(np.frombuffer(content, np.uint8)).reshape(-1, 8)[:, ::-1]
        ).tobytes()

    content = tiff(samples, 12, tags={266: 2}, encode=encode)
    np.testing.assert_allclose(read(tmp_path, content)[0], samples[..., 0] / 4095, atol=1e-12)


def test_tiff_of_several_pages_is_refused_and_one_with_a_thumbnail_read(tmp_path, x64):
    full, small = ramp(255), np.zeros((2, 3, 1), int)
    with pytest.raises(ValueError, match=r"a\.tif cannot be read: it holds 2 frames"):
        read(tmp_path, tiff_of_pages([(full, 8, {}), (small, 8, {})]))
    for pages in ([(full, 8, {}), (small, 8, {254: 1})], [(small, 8, {254: 1}), (full, 8, {})]):
        assert np.array_equal(read(tmp_path, tiff_of_pages(pages))[0], full[..., 0] / 255)
    with pytest.raises(ValueError, match="no image in full resolution"):
        read(tmp_path, tiff_of_pages([(small, 8, {254: 1})]))
    with pytest.raises(ValueError, match="holds 3 frames"):
        read(tmp_path, tiff(full, tags={32997: 3}))


@pytest.mark.parametrize(
    ("channels", "tags", "message"),
    [
        (4, {262: 5}, "its colors are CMYK"),
        (3, {262: 8}, "its colors are CIELab"),
        (1, {262: 4}, "its colors are a mask"),
        (1, {262: 32803}, "its colors are raw data of a camera"),
        (1, {262: 777}, "photometric interpretation 777"),
        (3, {262: 6}, "its colors are YCbCr"),
        (1, {259: 34712}, "its compression, JPEG2000, is not supported"),
        (1, {259: 7777}, "its compression, 7777, is not supported"),
        (1, {339: 6}, "8 bits in format 6"),
        (1, {339: 3}, "8 bits in format 3"),
        (3, {258: (8, 8, 4)}, r"differ in their bits: \[4, 8\]"),
        (1, {259: 8, 317: 9}, "predictor 9"),
        (1, {273: None}, "0 of 1 parts"),
        (1, {279: 0}, "truncated"),
        (1, {279: 34}, "truncated"),
        (1, {257: 0}, "size of 0 by 7"),
    ],
)
def test_tiff_that_no_reader_reads_rightly_is_refused_by_name(tmp_path, channels, tags, message):
    samples = np.repeat(ramp(255), channels, axis=-1)
    encode = zlib.compress if tags.get(259) == 8 else bytes
    content = tiff(samples, tags=tags, encode=encode)
    (tmp_path / "a.tif").write_bytes(content)
    for paths in (tmp_path / "a.tif", tmp_path):
        with pytest.raises(ValueError, match=rf"a\.tif cannot be read: .*{message}") as caught:
            data.load_images(paths)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("code", [1, 8, 5])
def test_tiff_that_is_cut_off_anywhere_is_refused(tmp_path, code):
    encode = {
        1: bytes,
        8: zlib.compress,
        5: lambda rows: compressed_by_pillow(rows, 7, "tiff_lzw"),
    }
    content = tiff(ramp(255), tags={259: code}, encode=encode[code])
    read(tmp_path, content)
    # The last four bytes, the end of the list of pages, are zeros.
    for length in range(4, len(content) - 4, 3):
        with pytest.raises(ValueError, match=r"a\.tif cannot be read"):
            read(tmp_path, content[:length])
    # A strip whose data stop early, in a file that is whole.
    short = tiff(ramp(255), tags={259: code}, encode=lambda rows: encode[code](rows[:21]))
    with pytest.raises(ValueError, match=r"a\.tif cannot be read"):
        read(tmp_path, short)


def test_tiff_writer_of_these_tests_is_read_by_tifffile(rng):
    import tifffile

    samples = rng.integers(0, 65536, (20, 18, 3))
    for options in ({}, {"planar": True}, {"tile": (16, 16)}, {"big": True, "order": ">"}):
        with tifffile.TiffFile(io.BytesIO(tiff(samples, 16, **options))) as file:
            page = file.pages[0]
            got = page.asarray()
            assert np.array_equal(
                np.moveaxis(got, 0, -1) if options.get("planar") else got, samples
            )
    assert pack_rows(np.array([[1, 2, 3]]), 4).tolist() == [[0x12, 0x30]]
