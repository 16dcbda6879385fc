import math
import zlib
from typing import Any, BinaryIO

import numpy as np

from ._icc import read_profile
from ._picture import check_size, Picture, unpack_bits
from ._tiff_codecs import decode_by_pillow, NONE, READ_BY_PILLOW, WITHOUT_PREDICTOR


TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# Tags.
_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_STRIPS, _ORIENTATION, _SAMPLES, _ROWS_PER_STRIP, _STRIP_BYTES, _PLANES = (
    273,
    274,
    277,
    278,
    279,
    284,
)
_PREDICTOR, _COLORMAP, _TILE_WIDTH, _TILE_LENGTH, _TILES, _TILE_BYTES = 317, 320, 322, 323, 324, 325
_EXTRA, _FORMAT, _DEPTH, _STACK, _PROFILE = 338, 339, 32997, 33629, 34675

# By the photometric interpretation: the number of samples of a color.
_WHITE_IS_ZERO, _PALETTE, _YCBCR = 0, 3, 6
_COLORS = {_WHITE_IS_ZERO: 1, 1: 1, 2: 3, _PALETTE: 1, _YCBCR: 3}
_REFUSED_COLORS = {4: "a mask", 5: "CMYK", 8: "CIELab", 9: "ICCLab", 32803: "raw data of a camera"}

_DEFLATE = (8, 32946)
_JPEG = 7


def read_tiff(stream: BinaryIO, max_pixels: int) -> Picture:
    """Read a TIFF according to its tags, at its full depth."""
    import tifffile

    with tifffile.TiffFile(stream) as file:
        tags = _tags_of_only_page(file)
        order = file.byteorder
    check_size(tags.get(_LENGTH, 0), tags.get(_WIDTH, 0), max_pixels)
    _check_colors(tags)
    bits = _common(tags, _BITS, "bits")
    dtype = _sample_type(bits, _common(tags, _FORMAT, "sample format"), order)
    samples = _read_segments(stream, tags, bits, dtype)
    pixels, alpha = _interpret(samples, tags, bits)
    profile = tags.get(_PROFILE)
    encoding = read_profile(bytes(profile), pixels.shape[-1] == 1) if profile else None
    orientation = int(tags.get(_ORIENTATION, 1))
    return Picture(pixels, alpha, encoding, orientation, samples.dtype.kind == "f")


def _tags_of_only_page(file: Any) -> dict[int, Any]:
    pages = [page for page in file.pages if not (page.is_reduced or page.is_mask)]
    if not pages:
        raise ValueError("it holds no image in full resolution.")
    tags = {tag.code: tag.value for tag in pages[0].tags}
    # tifffile leaves out tags that it cannot read, and only logs this.
    file.filehandle.seek(pages[0].offset)
    count = np.frombuffer(file.filehandle.read(file.tiff.tagnosize), file.tiff.tagnoformat)
    if len(list(pages[0].tags)) < count[0]:
        raise ValueError("its tags are damaged.")
    num_frames = max(len(pages), tags.get(_DEPTH, 1))
    # Some programs write many frames after the tags of one.
    if _STACK in tags:
        num_frames = max(num_frames, pages[0].tags[_STACK].count)
    if file.is_imagej:
        num_frames = max(num_frames, file.imagej_metadata.get("images", 1))
    if file.is_shaped and file.shaped_metadata[0].get("truncated"):
        num_frames = max(num_frames, math.prod(file.shaped_metadata[0]["shape"]) // pages[0].size)
    if num_frames > 1:
        raise ValueError(f"it holds {num_frames} frames instead of one.")
    return tags


def _common(tags: dict[int, Any], tag: int, name: str) -> int:
    """Return the common value of a tag that has one value for each sample."""
    values = np.unique(np.asarray(tags.get(tag, 1), int))
    if len(values) != 1:
        raise ValueError(f"its samples differ in their {name}: {values.tolist()}.")
    return int(values[0])


def _check_colors(tags: dict[int, Any]) -> None:
    photometric = tags.get(_PHOTOMETRIC, -1)
    if photometric not in _COLORS:
        name = _REFUSED_COLORS.get(photometric, f"photometric interpretation {photometric}")
        raise ValueError(f"its colors are {name}. Convert it to gray or sRGB first.")
    is_planar = tags.get(_PLANES, 1) == 2
    if photometric == _YCBCR and (tags.get(_COMPRESSION, NONE) != _JPEG or is_planar):
        raise ValueError(
            "its colors are YCbCr without JPEG, which is not supported. Convert it to RGB."
        )
    extra = tags.get(_SAMPLES, 1) - _COLORS[photometric]
    meanings = tuple(int(meaning) for meaning in np.atleast_1d(tags.get(_EXTRA, ())))
    if extra < 0 or len(meanings) != extra or (extra and meanings not in ((1,), (2,))):
        raise ValueError(
            f"it has {tags.get(_SAMPLES, 1)} samples per pixel, {extra} more than its color has, "
            f"and the tag ExtraSamples is {meanings} instead of 1 or 2, transparency. Leave these "
            "samples out, or set the tag."
        )


def _sample_type(bits: int, sample_format: int, order: str) -> np.dtype:
    """Return the type of the samples in the file; for packed samples, a type that holds them."""
    kind = {1: "u", 2: "i", 3: "f", 4: "u"}.get(sample_format)
    if kind == "u" and 1 <= bits < 32 and bits not in (8, 16):
        return np.min_scalar_type(2**bits - 1)
    if kind is None or bits not in {"f": (16, 32, 64)}.get(kind, (8, 16, 32, 64)):
        raise ValueError(
            f"its samples have {bits} bits in format {sample_format}, which is unknown."
        )
    return np.dtype(f"{order}{kind}{bits // 8}")


def _read_segments(
    stream: BinaryIO, tags: dict[int, Any], bits: int, dtype: np.dtype
) -> np.ndarray:
    """Return the samples of all strips or tiles, of shape ``(height, width, sample)``."""
    length, width, samples = tags[_LENGTH], tags[_WIDTH], tags.get(_SAMPLES, 1)
    planes, channels = (samples, 1) if tags.get(_PLANES, 1) == 2 else (1, samples)
    is_tiled = _TILES in tags
    if is_tiled:
        rows, columns = tags[_TILE_LENGTH], tags[_TILE_WIDTH]
        offsets, counts = tags[_TILES], tags.get(_TILE_BYTES, ())
    else:
        rows, columns = min(tags.get(_ROWS_PER_STRIP, length), length), width
        offsets, counts = tags.get(_STRIPS, ()), tags.get(_STRIP_BYTES, ())
    corners = [
        (plane, top, left)
        for plane in range(planes)
        for top in range(0, length, rows)
        for left in range(0, width, columns)
    ]
    offsets, counts = np.atleast_1d(offsets), np.atleast_1d(counts)
    if min(len(offsets), len(counts)) < len(corners):
        raise ValueError(f"it is truncated: {len(offsets)} of {len(corners)} parts are present.")
    pixels = np.empty((planes, length, width, channels), dtype.newbyteorder("="))
    for (plane, top, left), offset, count in zip(corners, offsets, counts, strict=False):
        stream.seek(int(offset))
        content = stream.read(int(count))
        if not content or len(content) < count:
            raise ValueError("it is truncated.")
        height = rows if is_tiled else min(rows, length - top)
        part = _decode(content, tags, (height, columns, channels), bits, dtype)
        inside = pixels[plane, top : top + height, left : left + columns]
        inside[...] = part[: inside.shape[0], : inside.shape[1]]
    return np.moveaxis(pixels, 0, -1).reshape(length, width, samples)


def _decode(
    content: bytes, tags: dict[int, Any], shape: tuple[int, int, int], bits: int, dtype: np.dtype
) -> np.ndarray:
    rows, columns, channels = shape
    row_bytes = math.ceil(columns * channels * bits / 8)
    compression = int(tags.get(_COMPRESSION, NONE))
    if tags.get(_FILL_ORDER, 1) == 2:
        in_bits = np.unpackbits(np.frombuffer(content, np.uint8)).reshape(-1, 8)
        content = np.packbits(in_bits[:, ::-1]).tobytes()
    if compression in _DEFLATE:
        content = zlib.decompressobj().decompress(content, rows * row_bytes)
    elif compression in READ_BY_PILLOW:
        content = decode_by_pillow(content, tags, shape, row_bytes)
    elif compression != NONE:
        name = getattr(tags[_COMPRESSION], "name", compression)
        raise ValueError(
            f"its compression, {name}, is not supported. Save it uncompressed, or with deflate."
        )
    if len(content) < rows * row_bytes:
        raise ValueError("it is truncated.")
    lines = np.frombuffer(content, np.uint8, rows * row_bytes).reshape(rows, row_bytes)
    predictor = 1 if compression in WITHOUT_PREDICTOR else tags.get(_PREDICTOR, 1)
    if predictor == 3 and dtype.kind == "f":
        lines = _undo_float_predictor(lines, channels, dtype.itemsize)
        dtype = dtype.newbyteorder(">")
    if bits not in (8, 16, 32, 64):
        samples = unpack_bits(lines, bits, columns * channels)
    else:
        samples = lines.view(dtype)
    samples = samples.reshape(shape).astype(dtype.newbyteorder("="))
    if predictor == 2 and dtype.kind in "ui" and bits in (8, 16, 32, 64):
        return np.cumsum(samples, axis=1, dtype=samples.dtype)
    if predictor not in (1, 3):
        raise ValueError(f"its predictor {predictor} does not fit samples of {bits} bits.")
    return samples


def _undo_float_predictor(lines: np.ndarray, channels: int, size: int) -> np.ndarray:
    """Turn differences of bytes, the highest bytes of a row first, into big-endian numbers."""
    rows = len(lines)
    summed = np.cumsum(lines.reshape(rows, -1, channels), axis=1, dtype=np.uint8)
    by_place = summed.reshape(rows, size, -1)
    return np.ascontiguousarray(np.moveaxis(by_place, 1, -1)).reshape(rows, -1)


def _interpret(
    samples: np.ndarray, tags: dict[int, Any], bits: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the pixels and alpha; 1 is white and opaque."""
    photometric = tags[_PHOTOMETRIC]
    largest = {"u": 2**bits - 1, "i": 2 ** (bits - 1) - 1, "f": 1.0}[samples.dtype.kind]
    if photometric != _PALETTE:
        samples = samples.astype(np.float64)
    colors = _COLORS[photometric]
    alpha = samples[..., colors:] / largest if samples.shape[-1] > colors else None
    if photometric == _PALETTE:
        colormap = np.asarray(tags[_COLORMAP]).reshape(3, -1) / 65535
        return np.moveaxis(colormap[:, samples[..., 0]], 0, -1), alpha
    pixels = samples[..., :colors] / largest
    if photometric == _WHITE_IS_ZERO:
        pixels = 1 - pixels
    if alpha is not None and np.atleast_1d(tags[_EXTRA])[0] == 1:
        # The stored colors are multiplied by alpha.
        pixels = np.divide(pixels, alpha, out=np.zeros_like(pixels), where=alpha > 0)
    return pixels, alpha
