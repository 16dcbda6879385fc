import struct
import zlib
from io import BytesIO
from typing import BinaryIO

import numpy as np

from ._color import colorants, Encoding, power_curve, PRIMARIES, SRGB, to_srgb
from ._icc import read_profile
from ._picture import check_size, Picture, unpack_bits


PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

# By the color type: the number of samples of a pixel, and the possible depths.
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
# For each of the seven passes: first column, first row, distance of columns, distance of rows.
_ADAM7 = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)
)  # fmt: skip
_PRIMARIES = {1: "sRGB", 9: "BT.2020", 12: "P3"}
_TRANSFERS = {4: power_curve(2.2), 5: power_curve(2.8), 8: power_curve(1.0), 13: SRGB.curves[0]}


def read_png(stream: BinaryIO, max_pixels: int) -> Picture:
    """Read all kinds of PNG at their full depth, unlike Pillow."""
    from PIL.Image import Exif

    chunks = _read_chunks(stream, max_pixels)
    width, height, depth, kind, interlace = _header(chunks[b"IHDR"])
    samples = _samples(chunks[b"IDAT"], width, height, depth, _SAMPLES[kind], interlace)
    pixels, alpha = _interpret(samples, depth, kind, chunks)
    exif = Exif()
    if b"eXIf" in chunks:
        exif.load(chunks[b"eXIf"])
    return Picture(pixels, alpha, _encoding(chunks, pixels.shape[-1] == 1), exif.get(0x0112, 1))


def _read_chunks(stream: BinaryIO, max_pixels: int) -> dict[bytes, bytes]:
    stream.seek(len(PNG_SIGNATURE))
    chunks: dict[bytes, bytes] = {}
    data_parts = []
    while b"IEND" not in chunks:
        length, name = struct.unpack(">I4s", _exactly(stream, 8))
        content = _exactly(stream, length)
        if struct.unpack(">I", _exactly(stream, 4))[0] != zlib.crc32(name + content):
            raise ValueError(f"the checksum of its {name.decode('latin-1')} chunk is wrong.")
        if not chunks:
            if name != b"IHDR":
                raise ValueError("its first chunk is not a header.")
            width, height = _header(content)[:2]
            check_size(height, width, max_pixels)
        if name == b"IDAT":
            data_parts.append(content)
        elif name[:1].isupper() and name not in (b"IHDR", b"PLTE", b"IEND"):
            raise ValueError(f"it has a chunk {name.decode('latin-1')}, which cannot be ignored.")
        elif name == b"acTL" and struct.unpack_from(">I", content)[0] > 1:
            num_frames = struct.unpack_from(">I", content)[0]
            raise ValueError(f"it holds {num_frames} frames instead of one.")
        chunks.setdefault(name, content)
    return chunks | {b"IDAT": b"".join(data_parts)}


def _exactly(stream: BinaryIO, length: int) -> bytes:
    content = stream.read(length)
    if len(content) < length:
        raise ValueError("it is truncated.")
    return content


def _header(content: bytes) -> tuple[int, int, int, int, int]:
    width, height, depth, kind, compression, filtering, interlace = struct.unpack(
        ">IIBBBBB", content
    )
    if depth not in _DEPTHS.get(kind, ()) or compression or filtering or interlace > 1:
        raise ValueError(f"its header is damaged (color type {kind} of {depth} bits).")
    return width, height, depth, kind, interlace


def _samples(
    data: bytes, width: int, height: int, depth: int, channels: int, interlace: int
) -> np.ndarray:
    """Return the samples as stored, of shape ``(height, width, channel)``."""
    bits = depth * channels
    if bits <= 32 and (depth >= 8 or not interlace):
        lines = _unfilter_by_pillow(
            data, height, -(-width * bits // 8), max(1, bits // 8), interlace
        )
        return _unpack(lines, depth, width * channels).reshape(height, width, channels)
    passes = _ADAM7 if interlace else ((0, 0, 1, 1),)
    sizes = [
        (max(0, -(-(height - top) // down)), max(0, -(-(width - left) // across)))
        for left, top, across, down in passes
    ]
    lengths = [rows * (1 - (-columns * bits // 8)) * (columns > 0) for rows, columns in sizes]
    content = zlib.decompressobj().decompress(data, sum(lengths))
    if len(content) < sum(lengths):
        raise ValueError("it is truncated.")
    samples = np.zeros((height, width, channels), np.uint16 if depth == 16 else np.uint8)
    start = 0
    for (left, top, across, down), (rows, columns), length in zip(
        passes, sizes, lengths, strict=True
    ):
        if length:
            lines = np.frombuffer(content, np.uint8, length, start).reshape(rows, -1)
            restored = _unfilter(lines[:, 0], lines[:, 1:], max(1, bits // 8))
            part = _unpack(restored, depth, columns * channels)
            samples[top::down, left::across] = part.reshape(rows, columns, channels)
            start += length
    return samples


def _unpack(lines: np.ndarray, depth: int, count: int) -> np.ndarray:
    return lines.view(">u2") if depth == 16 else unpack_bits(lines, depth, count)


def _unfilter_by_pillow(
    data: bytes, height: int, row_bytes: int, step: int, interlace: int
) -> np.ndarray:
    """Undo the prediction of bytes with Pillow, which is fast.

    Pillow gets an 8-bit image whose pixels have the same number of bytes, whatever they mean.
    """
    from PIL.PngImagePlugin import PngImageFile

    kind = {1: 0, 2: 4, 3: 2, 4: 6}[step]
    header = struct.pack(">IIBBBBB", row_bytes // step, height, 8, kind, 0, 0, interlace)
    chunks = [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]
    file = PNG_SIGNATURE + b"".join(
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )
    return np.asarray(PngImageFile(BytesIO(file))).reshape(height, row_bytes)


def _unfilter(filters: np.ndarray, lines: np.ndarray, step: int) -> np.ndarray:
    """Undo the prediction of each byte from the bytes to its left, above and above left.

    The bytes on one antidiagonal depend only on the two antidiagonals before it, so that they are
    computed together. In memory they have a constant distance.

    Args:
        filters: The kind of prediction of each row.
        lines: The predicted bytes, of shape ``(row, bytes)``.
        step: The distance in bytes from one pixel to the next.
    """
    if filters.max() > 4:
        raise ValueError(f"one of its rows has the unknown filter {filters.max()}.")
    if not filters.any():
        return lines.copy()
    rows, columns = len(lines), lines.shape[1] // step
    # A row and a column of zeros precede the first row and column.
    padded = np.zeros((rows + 1, columns + 1, step), np.uint8)
    padded[1:, 1:] = lines.reshape(rows, columns, step)
    flat = padded.reshape(-1, step)
    for diagonal in range(rows + columns - 1):
        first, last = max(0, diagonal - columns + 1), min(rows - 1, diagonal)
        start = (first + 1) * (columns + 1) + diagonal - first + 1
        part = slice(start, start + (last - first) * columns + 1, columns)
        left, above, corner = (
            flat[part.start - by : part.stop - by : columns].astype(np.int16)
            for by in (1, columns + 1, columns + 2)
        )
        from_left, from_above = np.abs(above - corner), np.abs(left - corner)
        from_corner = np.abs(left + above - 2 * corner)
        nearest = np.where(from_above <= from_corner, above, corner)
        nearest = np.where((from_left <= from_above) & (from_left <= from_corner), left, nearest)
        kinds = filters[first : last + 1, None]
        predicted = np.choose(
            kinds, [np.zeros_like(left), left, above, (left + above) >> 1, nearest]
        )
        flat[part] += predicted.astype(np.uint8)
    return np.ascontiguousarray(padded[1:, 1:]).reshape(rows, -1)


def _interpret(
    samples: np.ndarray, depth: int, kind: int, chunks: dict[bytes, bytes]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the pixels and alpha in [0, 1]."""
    transparency = chunks.get(b"tRNS")
    if kind == 3:
        palette = np.frombuffer(chunks.get(b"PLTE", b""), np.uint8).reshape(-1, 3)
        if samples.max() >= len(palette):
            raise ValueError(f"it has no color {samples.max()} in its palette of {len(palette)}.")
        alphas = np.ones((len(palette), 1))
        known = np.frombuffer(transparency or b"", np.uint8)[: len(palette)]
        alphas[: len(known), 0] = known / 255
        indices = samples[..., 0]
        return palette[indices] / 255, None if transparency is None else alphas[indices]
    values = samples / (2**depth - 1)
    if kind in (4, 6):
        return values[..., :-1], values[..., -1:]
    if transparency is None:
        return values, None
    color = np.frombuffer(transparency, ">u2", samples.shape[-1]) & (2**depth - 1)
    return values, 1.0 - np.all(samples == color, axis=-1, keepdims=True)


def _encoding(chunks: dict[bytes, bytes], is_gray: bool) -> Encoding | None:
    """Return the encoding; chunks override each other in the order of the specification."""
    if b"cICP" in chunks:
        primaries, transfer, _, is_full = chunks[b"cICP"]
        if primaries not in _PRIMARIES or transfer not in _TRANSFERS or not is_full:
            raise ValueError(
                f"its cICP chunk gives primaries {primaries}, transfer function {transfer} and "
                f"range {is_full}, which are not supported. Convert the image to sRGB first."
            )
        matrix = None
        if primaries != 1 and not is_gray:
            matrix = to_srgb(colorants(*PRIMARIES[_PRIMARIES[primaries]]))
        return Encoding(
            (_TRANSFERS[transfer],), matrix, is_profile=(primaries, transfer) != (1, 13)
        )
    if b"iCCP" in chunks:
        compressed = chunks[b"iCCP"].split(b"\0", 1)[1][1:]
        return read_profile(zlib.decompress(compressed), is_gray)
    if b"sRGB" in chunks:
        return SRGB
    gamma = struct.unpack(">I", chunks.get(b"gAMA", bytes(4)))[0] / 100000
    if not gamma:
        return None
    matrix = None
    if b"cHRM" in chunks and not is_gray:
        white, red, green, blue = (
            np.array(struct.unpack(">8I", chunks[b"cHRM"])).reshape(4, 2) / 100000
        )
        matrix = to_srgb(colorants(red, green, blue, white))
    return Encoding((power_curve(1 / gamma),), matrix)
