import re
from typing import Any, BinaryIO

import numpy as np

from ._icc import read_profile
from ._picture import check_size, NotAnImage, Picture


# Signatures that no other file begins with, by the names of the formats in Pillow.
_READ = {
    "JPEG": rb"\xff\xd8\xff",
    "GIF": rb"GIF8[79]a",
    "BMP": rb"BM.{4}\0{4}",
    "WEBP": rb"RIFF.{4}WEBP",
    "AVIF": rb".{4}ftyp.{0,48}avi[fs]",
    "JPEG2000": rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51",
    "PSD": rb"8BPS\0",
    "QOI": rb"qoif",
}
# Formats with a short signature or none: the complete header must be valid.
_READ_BY_HEADER = ("ICO", "SGI", "PCX", "TGA")
# Formats named in the error message. PNG, TIFF and Netpbm are read without Pillow.
_NOT_READ = {
    "HEIF": rb".{4}ftyp(hei[cxsm]|hev[cxms]|mif1|msf1)",
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n",
    "JPEG XR": rb"II\xbc\x01",
    "OpenEXR": rb"\x76\x2f\x31\x01",
    "Radiance HDR": rb"#\?(RADIANCE|RGBE)",
    "DICOM": rb".{128}DICM",
    "FITS": rb"SIMPLE  =",
    "DDS": rb"DDS \x7c\0\0\0",
    "XPM": rb"/\* XPM \*/",
    "GIMP": rb"gimp xcf",
    "DjVu": rb"AT&TFORM",
    "SVG": rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?(<!DOCTYPE svg[^>]*>\s*)?<svg[\s>]",
    "PostScript": rb"%!PS-Adobe",
}


def read_other(stream: BinaryIO, max_pixels: int) -> Picture:
    """Read the formats and depths that Pillow reads without loss."""
    image = _open(stream)
    check_size(image.height, image.width, max_pixels)
    # The layers of Photoshop are not frames: Pillow reads the composite image.
    num_frames = 1 if image.format == "PSD" else getattr(image, "n_frames", 1)
    if num_frames > 1:
        raise ValueError(f"it holds {num_frames} frames instead of one.")
    _check_depth(image, stream)
    is_expanded = image.mode in ("P", "PA") or "transparency" in image.info
    expanded = image.convert("RGBA") if is_expanded else image
    values = np.asarray(expanded).reshape(image.height, image.width, -1)
    pixels = values / (1 if expanded.mode == "1" else 255)
    alpha = None
    if expanded.mode in ("LA", "RGBA"):
        pixels, alpha = pixels[..., :-1], pixels[..., -1:]
    profile = image.info.get("icc_profile")
    encoding = read_profile(profile, pixels.shape[-1] == 1) if profile else None
    return Picture(pixels, alpha, encoding, image.getexif().get(0x0112, 1))


def _open(stream: BinaryIO) -> Any:
    """Open a file as ``PIL.Image.open`` does, but without its process-wide limit of pixels."""
    from PIL import Image

    Image.init()
    stream.seek(0)
    start = stream.read(1024)
    signed = [name for name, mark in _READ.items() if re.match(mark, start, re.DOTALL)]
    reasons = []
    for name in signed or _READ_BY_HEADER:
        factory, accept = Image.OPEN.get(name, (None, None))
        stream.seek(0)
        try:
            # A string means that Pillow was built without the codec.
            if factory is not None and (accept is None or accept(start[:16]) is True):
                return factory(stream, "")
        except Image.DecompressionBombError as error:
            raise ValueError(f"it is larger than Pillow reads ({error}).") from error
        # Plugins raise any exception on files that they do not recognize.
        except Exception as error:
            reasons.append(error)
    if signed and reasons:
        raise ValueError(f"it is a damaged {signed[0]} file ({reasons[0]}).") from reasons[0]
    named = [name for name, mark in _NOT_READ.items() if re.match(mark, start, re.DOTALL)]
    for name in signed or named:
        raise ValueError(f"its format, {name}, is not supported. Convert it to PNG or TIFF.")
    raise NotAnImage("it is not an image.")


def _check_depth(image: Any, stream: BinaryIO) -> None:
    """Refuse images that Pillow would cut to 8 bits, and colors that need a profile."""
    is_cut = False
    stream.seek(0)
    if image.format == "SGI":
        is_cut = stream.read(4)[3] != 1
    elif image.format == "JPEG2000":
        size = re.search(rb"\xff\x4f\xff\x51.{36}(..)((?:...)*)", stream.read(), re.DOTALL)
        count = int.from_bytes(size[1], "big") if size else 0
        # The number of bits minus one; the highest bit is a sign.
        is_cut = size is None or size[2][: 3 * count : 3] != b"\7" * count
    elif image.format == "AVIF":
        is_cut = bool(re.search(rb"av1C\x81.[\x40-\x7f\xc0-\xff]", stream.read(), re.DOTALL))
    if is_cut or image.mode.startswith(("I", "F")):
        raise ValueError(
            f"it is a {image.format} file that does not have 8 bits, which Pillow would change. "
            "Convert it to TIFF or PNG."
        )
    if image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
        raise ValueError(
            f"its colors are {image.mode}, which need the profile of a device to become red, green "
            "and blue. Convert it to sRGB first."
        )
