"""Netpbm files written after the definitions of the formats, read as they say."""

import numpy as np
import pytest

from plenoptax import data


def read(tmp_path, content, **options):
    (tmp_path / "a.pnm").write_bytes(content)
    return np.asarray(data.load_images(tmp_path / "a.pnm", **options))


@pytest.mark.parametrize("maximum", [1, 7, 255, 256, 1000, 1023, 65535])
@pytest.mark.parametrize("kind", [2, 3, 5, 6])
def test_netpbm_of_any_maximum(tmp_path, rng, x64, kind, maximum):
    channels = 3 if kind in (3, 6) else 1
    samples = rng.integers(0, maximum + 1, (3, 5, channels))
    header = f"P{kind}#one\n# two\n 5\t3 # three\n{maximum}\n".encode()
    if kind < 4:
        body = b"#four\n" + " ".join(map(str, samples.ravel())).encode()
    else:
        body = samples.astype("u1" if maximum < 256 else ">u2").tobytes()
    got = read(tmp_path, header + body, as_gray=False)
    wanted = np.broadcast_to(np.moveaxis(samples, -1, 0) / maximum, (3, 3, 5))
    np.testing.assert_allclose(got, wanted, atol=1e-12)


def test_netpbm_bitmaps_have_black_ones(tmp_path):
    samples = np.array([[0, 1, 1, 0, 1, 0, 0, 0, 1, 1], [1, 0, 0, 1, 1, 1, 1, 1, 0, 0]])
    assert np.array_equal(read(tmp_path, b"P1 10 2\n0110100011\n1 0 01 111100")[0], 1 - samples)
    packed = np.packbits(samples.astype(np.uint8), axis=1).tobytes()
    assert np.array_equal(read(tmp_path, b"P4\n10 2\n" + packed)[0], 1 - samples)


@pytest.mark.parametrize(
    ("meaning", "channels", "maximum"),
    [("BLACKANDWHITE", 1, 1), ("GRAYSCALE", 1, 1000), ("RGB", 3, 255), ("RGB_ALPHA", 4, 65535)]
    + [("GRAYSCALE_ALPHA", 2, 255)],
)
def test_netpbm_arbitrary_maps(tmp_path, rng, x64, meaning, channels, maximum):
    samples = rng.integers(0, maximum + 1, (2, 4, channels))
    header = f"P7\n# made here\nWIDTH 4\nHEIGHT 2\nDEPTH {channels}\nMAXVAL {maximum}\n"
    header += f"TUPLTYPE {meaning}\nENDHDR\n"
    content = header.encode() + samples.astype("u1" if maximum < 256 else ">u2").tobytes()
    values = samples / maximum
    if meaning.endswith("ALPHA"):
        values = values[..., -1:] * values[..., :-1] + 1 - values[..., -1:]
    wanted = np.broadcast_to(np.moveaxis(values, -1, 0), (3, 2, 4))
    np.testing.assert_allclose(read(tmp_path, content, as_gray=False), wanted, atol=1e-12)


@pytest.mark.parametrize(("order", "scale"), [("<", "-1.0"), (">", "1.0")])
@pytest.mark.parametrize(("kind", "channels"), [("f", 1), ("F", 3)])
def test_netpbm_floats_begin_at_the_bottom(tmp_path, rng, kind, channels, order, scale):
    samples = rng.random((3, 4, channels), np.float32)
    header = f"P{kind}\n4 3\n{scale}\n".encode()
    content = header + samples[::-1].astype(order + "f4").tobytes()
    wanted = np.broadcast_to(np.moveaxis(samples, -1, 0), (3, 3, 4))
    assert np.array_equal(read(tmp_path, content, as_gray=False), wanted)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"P5 2 2 255\n\0\0\0", "truncated: 3 of 4 bytes"),
        (b"P6 2 1 1000\n" + bytes(11), "truncated: 11 of 12 bytes"),
        (b"P4 9 2\n\0\0\0", "truncated: 3 of 4 bytes"),
        (b"P2 2 2 255\n1 2 3", "3 samples, but its header says 4"),
        (b"P1 2 2\n011", "3 samples, but its header says 4"),
        (b"P5 2 1 7\n\1\10", "sample of 8, above its largest value 7"),
        (b"P2 2 1 7\n1 8", "sample of 8, above its largest value 7"),
        (b"P2 2 1 7\n1 x", "invalid literal"),
        (b"P5 2 1 0\n\0\0", "largest value is given as 0"),
        (b"P5 2 1 65536\n" + bytes(4), "largest value is given as 65536"),
        (b"P5 1 1 255\n\0P5 1 1 255\n\0", "several images"),
        (b"P5 0 1 255\n", "size of 1 by 0"),
        (b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 2\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n\0\0", "2 samples"),
        (b"P7\nWIDTH 1\n", "header is damaged"),
    ],
)
def test_netpbm_that_is_damaged_is_refused(tmp_path, content, message):
    with pytest.raises(ValueError, match=rf"a\.pnm cannot be read: .*{message}"):
        read(tmp_path, content)


def test_netpbm_is_not_seen_in_prose(tmp_path):
    with pytest.raises(ValueError, match="not an image"):
        read(tmp_path, b"P3 was the third participant")
