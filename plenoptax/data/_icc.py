import struct
from collections.abc import Callable

import numpy as np

from ._color import D50, Encoding, is_srgb, power_curve, SRGB, to_srgb


def read_profile(profile: bytes, is_gray: bool) -> Encoding:
    """Read an embedded profile that consists of curves and three colorants.

    Profiles made of tables, and of other color spaces, raise an error that names them.
    """
    space, connection = profile[16:20], profile[20:24]
    if profile[36:40] != b"acsp":
        raise ValueError("its color profile is damaged.")
    tags = {}
    for index in range(struct.unpack_from(">I", profile, 128)[0]):
        name, offset, size = struct.unpack_from(">4sII", profile, 132 + 12 * index)
        tags[name] = profile[offset : offset + size]
    has_curves = connection == b"XYZ " and b"A2B0" not in tags
    if has_curves and space == b"GRAY" and is_gray and b"kTRC" in tags:
        encoding = Encoding((_curve(tags[b"kTRC"]),), is_profile=True)
    elif has_curves and space == b"RGB " and b"rXYZ" in tags:
        curves = tuple(_curve(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC"))
        colorants = np.stack([_numbers(tags[n], 8, 3) for n in (b"rXYZ", b"gXYZ", b"bXYZ")], -1)
        if np.abs(colorants.sum(1) - D50).max() > 0.02:
            raise ValueError(f"its color profile, {_name(tags)!r}, has a white that is not D50.")
        encoding = Encoding(curves, to_srgb(colorants), is_profile=True)
    else:
        raise ValueError(
            f"its color profile, {_name(tags)!r} ({space.decode('latin-1').strip()}), is not "
            "made of curves and colorants only. Convert the image to sRGB first."
        )
    return SRGB if is_srgb(encoding) else encoding


def _numbers(data: bytes, offset: int, count: int) -> np.ndarray:
    return np.array(struct.unpack_from(f">{count}i", data, offset)) / 65536


def _curve(data: bytes) -> Callable[[np.ndarray], np.ndarray]:
    kind, count = data[:4], struct.unpack_from(">I", data, 8)[0]
    if kind == b"para":
        return _parametric(struct.unpack_from(">H", data, 8)[0], data)
    if kind != b"curv":
        raise ValueError(f"its color profile has a curve of an unknown kind, {kind!r}.")
    if count == 0:
        return power_curve(1.0)
    if count == 1:
        return power_curve(struct.unpack_from(">H", data, 12)[0] / 256)
    table = np.frombuffer(data, ">u2", count, 12) / 65535
    return lambda values: np.interp(values, np.linspace(0, 1, count), table)


def _parametric(kind: int, data: bytes) -> Callable[[np.ndarray], np.ndarray]:
    g, *rest = _numbers(data, 12, (1, 3, 4, 5, 7)[kind])
    a, b, c, d, e, f = 1.0, 0.0, 0.0, 0.0, 0.0, 0.0
    if kind in (1, 2):
        a, b, *constant = rest
        e = f = constant[0] if constant else 0.0
        d = -b / a
    elif kind == 3:
        a, b, c, d = rest
    elif kind == 4:
        a, b, c, d, e, f = rest
    return lambda x: np.where(x >= d, np.maximum(a * x + b, 0) ** g + e, c * x + f)


def _name(tags: dict[bytes, bytes]) -> str:
    data = tags.get(b"desc", b"")
    if data[:4] == b"mluc":
        size, offset = struct.unpack_from(">II", data, 20)
        return data[offset : offset + size].decode("utf-16-be", "replace")
    return data[12:].split(b"\0")[0].decode("latin-1") or "without a name"
