import re
from typing import BinaryIO

import numpy as np

from ._picture import check_size, Picture, unpack_bits


_GAP = rb"(?:\s|#[^\r\n]*[\r\n])"
_NUMBER = rb"(\d+)" + _GAP
_BITMAP = re.compile(rb"P([14])" + _GAP + rb"+(\d+)" + _GAP + rb"+" + _NUMBER)
_SAMPLES = re.compile(
    rb"P([2356])" + _GAP + rb"+(\d+)" + _GAP + rb"+(\d+)" + _GAP + rb"+" + _NUMBER
)
_FLOATS = re.compile(rb"P([fF])\s+(\d+)\s+(\d+)\s+([-+.\deE]+)\s")
_ANY_MAP = re.compile(rb"P7\n((?:[A-Z#].*\n)*?)ENDHDR\n")
_CHANNELS = {"BLACKANDWHITE": 1, "GRAYSCALE": 1, "RGB": 3}
_HEADER_SIZE = 2**16


def matches_netpbm(start: bytes) -> bool:
    patterns = (_BITMAP, _SAMPLES, _FLOATS)
    return start.startswith(b"P7\n") or any(pattern.match(start) for pattern in patterns)


def read_netpbm(stream: BinaryIO, max_pixels: int) -> Picture:
    start = stream.read(_HEADER_SIZE)
    if start.startswith(b"P7"):
        return _read_any_map(start, stream, max_pixels)
    header = _BITMAP.match(start) or _SAMPLES.match(start) or _FLOATS.match(start)
    if header is None:
        raise ValueError("its header is damaged.")
    kind, width, height = header[1], int(header[2]), int(header[3])
    check_size(height, width, max_pixels)
    body = start[header.end() :] + stream.read()
    shape = (height, width, 3 if kind in b"36F" else 1)
    if kind in b"fF":
        order = "<" if float(header[4]) < 0 else ">"
        rows = _raw(body, np.dtype(order + "f4"), shape)[::-1]
        return Picture(rows.astype(np.float64), is_float=True)
    if kind == b"1":
        digits = re.sub(rb"#.*|\s", b"", body)
        samples = _exactly([digits[i : i + 1] for i in range(len(digits))], shape)
        return Picture(1 - _scale(samples, 1))
    if kind == b"4":
        rows = _raw(body, np.dtype(np.uint8), (height, -(-width // 8)))
        return Picture(1.0 - unpack_bits(rows, 1, width)[..., None])
    maximum = int(header[4])
    if kind in b"23":
        return Picture(_scale(_exactly(re.sub(rb"#.*", b"", body).split(), shape), maximum))
    return Picture(_scale(_raw(body, _sample_type(maximum), shape), maximum))


def _read_any_map(start: bytes, stream: BinaryIO, max_pixels: int) -> Picture:
    header = _ANY_MAP.match(start)
    if header is None:
        raise ValueError("its header is damaged.")
    lines = [line.split(maxsplit=1) for line in header[1].decode("ascii").splitlines()]
    fields = {line[0]: line[-1] for line in lines if line[0] != "#"}
    height, width, depth, maximum = (
        int(fields[name]) for name in ("HEIGHT", "WIDTH", "DEPTH", "MAXVAL")
    )
    check_size(height, width, max_pixels)
    meaning = fields.get("TUPLTYPE", "").strip()
    channels = _CHANNELS.get(meaning.removesuffix("_ALPHA"))
    if channels is None or depth != channels + meaning.endswith("_ALPHA"):
        raise ValueError(f"its {depth} samples per pixel have the unsupported type {meaning!r}.")
    body = start[header.end() :] + stream.read()
    samples = _scale(_raw(body, _sample_type(maximum), (height, width, depth)), maximum)
    return Picture(samples[..., :channels], samples[..., channels:] if depth > channels else None)


def _sample_type(maximum: int) -> np.dtype:
    return np.dtype(np.uint8 if maximum < 256 else ">u2")


def _raw(body: bytes, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    count = int(np.prod(shape))
    if len(body) < count * dtype.itemsize:
        raise ValueError(
            f"it is truncated: {len(body)} of {count * dtype.itemsize} bytes are present."
        )
    if re.match(rb"P[1-7fF]\s", body[count * dtype.itemsize :]):
        raise ValueError("it holds several images instead of one.")
    return np.frombuffer(body, dtype, count).reshape(shape)


def _exactly(words: list[bytes], shape: tuple[int, ...]) -> np.ndarray:
    if len(words) != np.prod(shape):
        raise ValueError(f"it has {len(words)} samples, but its header says {np.prod(shape)}.")
    return np.array([int(word) for word in words]).reshape(shape)


def _scale(samples: np.ndarray, maximum: int) -> np.ndarray:
    if not 0 < maximum < 65536:
        raise ValueError(f"its largest value is given as {maximum}, outside of 1 to 65535.")
    if samples.max() > maximum:
        raise ValueError(f"it has a sample of {samples.max()}, above its largest value {maximum}.")
    return samples / maximum
