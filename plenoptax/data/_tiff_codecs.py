import struct
from io import BytesIO
from typing import Any

import numpy as np


NONE, PACKBITS = 1, 32773
_FAX, _JPEG = (2, 3, 4), 7
READ_BY_PILLOW = (*_FAX, 5, _JPEG, PACKBITS, 50000)
WITHOUT_PREDICTOR = (NONE, *_FAX, _JPEG, PACKBITS)


def decode_by_pillow(
    content: bytes, tags: dict[int, Any], shape: tuple[int, int, int], row_bytes: int
) -> bytes:
    """Decompress a strip or a tile with the codecs in Pillow.

    Pillow gets it as a small file of bytes, whatever they mean, except for codecs that need the
    meaning. Therefore, the tags decide what the bytes mean, and nothing is cut to 8 bits.
    """
    from PIL.TiffImagePlugin import TiffImageFile

    rows, columns, channels = shape
    compression = int(tags[259])
    fields = {256: row_bytes, 258: 8, 259: compression, 262: 1, 277: 1}
    if compression == _JPEG:
        color = 1 if channels == 1 else int(tags[262])
        fields |= {256: columns, 258: (8,) * channels, 262: color, 277: channels}
        fields |= {tag: tags[tag] for tag in (347, 530) if tag in tags}
    elif compression in _FAX:
        fields |= {256: columns, 258: 1}
        fields |= {tag: int(tags[tag]) for tag in (292, 293) if tag in tags}
    file = _write(fields | {257: rows, 278: rows, 279: len(content), 273: 8}, content)
    try:
        pixels = np.asarray(TiffImageFile(BytesIO(file)))
    except Exception as error:
        name = getattr(tags[259], "name", compression)
        raise ValueError(
            f"its data are damaged, or Pillow cannot read {name} ({error})."
        ) from error
    return np.packbits(pixels, axis=-1).tobytes() if compression in _FAX else pixels.tobytes()


def _write(fields: dict[int, Any], content: bytes) -> bytes:
    """Return a TIFF file of one strip, which begins at byte 8."""
    body = content + bytes(len(content) % 2)
    entries = []
    for tag, value in sorted(fields.items()):
        if isinstance(value, bytes):
            kind, count, packed = 7, len(value), value
        else:
            numbers = np.atleast_1d(value)
            kind, count = (4, 1) if len(numbers) == 1 else (3, len(numbers))
            packed = struct.pack(f"<{count}{'I' if kind == 4 else 'H'}", *numbers)
        if len(packed) > 4:
            packed, body = struct.pack("<I", 8 + len(body)), body + packed + bytes(len(packed) % 2)
        entries.append(struct.pack("<HHI", tag, kind, count) + packed.ljust(4, b"\0"))
    header = struct.pack("<2sHI", b"II", 42, 8 + len(body))
    return header + body + struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
