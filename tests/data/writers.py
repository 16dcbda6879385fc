"""Writers of image files after the definitions of their formats, apart from any image library."""

import struct
import zlib

import numpy as np


ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))
ADAM7 += ((0, 1, 1, 2),)


def pack_rows(samples, bits, order=">"):
    """Rows of samples as bytes, each row from a byte of its own."""
    samples = np.asarray(samples).reshape(len(samples), -1)
    if samples.dtype.kind == "f":
        return samples.astype(f"{order}f{bits // 8}").view(np.uint8)
    if bits in (8, 16, 32, 64):
        kind = "i" if samples.min() < 0 else "u"
        return np.ascontiguousarray(samples.astype(f"{order}{kind}{bits // 8}")).view(np.uint8)
    planes = (samples[..., None] >> np.arange(bits)[::-1]) & 1
    return np.packbits(planes.astype(np.uint8).reshape(len(samples), -1), axis=1)


def chunk(name, content):
    return (
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
    )


def filtered(lines, step, kinds):
    """The rows of a PNG, each after the number of its filter, by section 9 of the definition."""
    lines = lines.astype(int)
    out = bytearray()
    for r, line in enumerate(lines):
        above, kind = lines[r - 1] if r else 0 * line, kinds[r % len(kinds)]
        out.append(kind)
        for x in range(len(line)):
            a = line[x - step] if x >= step else 0
            b, c = above[x], above[x - step] if x >= step else 0
            p = a + b - c
            nearest = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            predicted = (0, a, b, (a + b) // 2, nearest)[kind]
            out.append((line[x] - predicted) % 256)
    return bytes(out)


def png(samples, depth, kind, *chunks, kinds=(0,), interlace=False):
    """A PNG of samples of shape (height, width, channel)."""
    height, width, channels = samples.shape
    step = max(1, depth * channels // 8)
    data = b""
    for left, top, across, down in ADAM7 if interlace else ((0, 0, 1, 1),):
        part = samples[top::down, left::across]
        if part.size:
            data += filtered(pack_rows(part, depth), step, kinds)
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, int(interlace))
    return b"".join(
        [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header)]
        + [chunk(*pair) for pair in chunks]
        + [chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b"")]
    )


def tiff(
    samples,
    bits=8,
    *,
    order="<",
    big=False,
    tile=None,
    rows=None,
    planar=False,
    tags=None,
    encode=bytes,
):
    """A TIFF of samples of shape (height, width, sample); ``tags`` are further tags or others."""
    return tiff_of_pages([(samples, bits, tags or {})], order, big, tile, rows, planar, encode)


def tiff_of_pages(pages, order="<", big=False, tile=None, rows=None, planar=False, encode=bytes):
    mark = {"<": b"II", ">": b"MM"}[order]
    first = 16 if big else 8
    header = struct.pack(order + "HHH", 43, 8, 0) if big else struct.pack(order + "H", 42)
    body, link = bytearray(mark + header + bytes(8 if big else 4)), first - (8 if big else 4)
    for samples, bits, given in pages:
        height, width, count = samples.shape
        down, across = tile or (rows or height, width)
        planes = np.moveaxis(samples, -1, 0)[..., None] if planar else samples[None]
        offsets, counts = [], []
        for plane in planes:
            for top in range(0, height, down):
                for left in range(0, width, across):
                    part = plane[top : top + down, left : left + across]
                    if tile:
                        missing = [(0, down - part.shape[0]), (0, across - part.shape[1]), (0, 0)]
                        part = np.pad(part, missing)
                    content = encode(pack_rows(part, bits, order).tobytes())
                    offsets.append(len(body))
                    counts.append(len(content))
                    body += content + bytes(len(content) % 2)
        tags = {256: width, 257: height, 258: (bits,) * count, 262: 2 if count > 2 else 1}
        tags |= {277: count, 284: 2 if planar else 1}
        if tile:
            tags |= {322: across, 323: down, 324: tuple(offsets), 325: tuple(counts)}
        else:
            tags |= {278: down, 273: tuple(offsets), 279: tuple(counts)}
        link = write_tags(body, tags | given, order, big, link)
    return bytes(body)


def write_tags(body, tags, order, big, link):
    """Append a directory to the file, set the link to it, and give the place of the next link."""
    size = 8 if big else 4
    entries = []
    for tag, value in sorted((tag, value) for tag, value in tags.items() if value is not None):
        if isinstance(value, bytes):
            kind, count, content = 7, len(value), value
        else:
            values = np.atleast_1d(value)
            kind, letter = (
                (4, "I") if values.max() > 65535 or tag in (273, 279, 324, 325) else (3, "H")
            )
            count, content = len(values), struct.pack(f"{order}{len(values)}{letter}", *values)
        if len(content) > size:
            body += bytes(len(body) % 2)
            place, body[:] = len(body), body + content
            content = struct.pack(order + ("Q" if big else "I"), place)
        entries.append(
            struct.pack(order + ("HHQ" if big else "HHI"), tag, kind, count)
            + content.ljust(size, b"\0")
        )
    body += bytes(len(body) % 2)
    body[link : link + size] = struct.pack(order + ("Q" if big else "I"), len(body))
    body += struct.pack(order + ("Q" if big else "H"), len(entries)) + b"".join(entries)
    link = len(body)
    body += bytes(size)
    return link


def exif(orientation):
    """A block of EXIF that holds an orientation alone."""
    return struct.pack(">2sHIHHHIHHI", b"MM", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def profile(curves, colorants=None, name="A test"):
    """A profile of version 2; curves are exponents or tables, colorants columns of XYZ."""
    text = b"desc" + bytes(4) + struct.pack(">I", len(name) + 1) + name.encode() + bytes(80)
    tags = {
        b"desc": text,
        b"wtpt": xyz((0.9642, 1, 0.8249)),
        b"cprt": b"text" + bytes(4) + b"none\0",
    }
    if colorants is None:
        tags[b"kTRC"] = curve(curves[0])
    else:
        for letter, one, column in zip(b"rgb", curves, np.transpose(colorants), strict=True):
            tags[bytes([letter]) + b"TRC"] = curve(one)
            tags[bytes([letter]) + b"XYZ"] = xyz(column)
    return profile_of_tags(tags, b"GRAY" if colorants is None else b"RGB ")


def profile_of_tags(tags, space):
    table, content = struct.pack(">I", len(tags)), b""
    for tag, data in tags.items():
        table += struct.pack(">4sII", tag, 132 + 12 * len(tags) + len(content), len(data))
        content += data + bytes(-len(data) % 4)
    size = 128 + len(table) + len(content)
    header = struct.pack(
        ">I4sI4s4s4s12x4s", size, bytes(4), 0x02400000, b"mntr", space, b"XYZ ", b"acsp"
    )
    header += bytes(68 - len(header)) + xyz((0.9642, 1, 0.8249))[8:]
    return header.ljust(128, b"\0") + table + content


def xyz(values):
    return b"XYZ " + bytes(4) + struct.pack(">3i", *np.rint(np.multiply(values, 65536)).astype(int))


def curve(values):
    if np.ndim(values) == 0:
        return b"curv" + bytes(4) + struct.pack(">IH", 1, round(values * 256))
    table = np.rint(np.multiply(values, 65535)).astype(int)
    return b"curv" + bytes(4) + struct.pack(f">I{len(table)}H", len(table), *table)
