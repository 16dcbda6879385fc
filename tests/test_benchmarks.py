import pathlib
import runpy
import sys

import imageio.v3 as iio
import numpy as np
import pytest


pytest.importorskip("scipy")

SCRIPT = pathlib.Path(__file__).parents[1] / "benchmarks" / "tid2013.py"
# Source distributions come without the benchmarks.
pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="there is no folder of benchmarks")

SHAPE = (25, 24, 5)
COLOR_TYPES = (2, 18)


def write_bmp(path, gray):
    iio.imwrite(path, np.repeat(np.uint8(gray)[..., None], 3, axis=2))


@pytest.fixture
def folder(tmp_path, rng):
    """Two photographs of TID2013, and scores that fall with the root mean square of a distortion.

    The two distortions of color are none, and people like some of them better than others.
    """
    for part in ("reference_images", "distorted_images"):
        (tmp_path / part).mkdir()
    # Just large enough for the five scales of MS-SSIM.
    checks = 1 - 2 * (np.indices((176, 176)).sum(0) % 2)
    strengths = np.broadcast_to(1 + np.arange(24 * 5).reshape(24, 5), SHAPE).copy()
    scores = 9 - strengths / 20
    for kind in COLOR_TYPES:
        strengths[:, kind - 1] = 0
        scores[:, kind - 1] = [0, 9, 0, 9, 0]
    for i in (1, 2):
        reference = rng.integers(120, 136, (176, 176))
        write_bmp(tmp_path / "reference_images" / f"I{i:02d}.BMP", reference)
        for j, k in np.ndindex(24, 5):
            distorted = reference + strengths[i - 1, j, k] * checks
            write_bmp(
                tmp_path / "distorted_images" / f"i{i:02d}_{j + 1:02d}_{k + 1}.bmp", distorted
            )
    np.savetxt(tmp_path / "mos.txt", scores.ravel(), fmt="%.5f")
    return tmp_path


def run(folder, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--quick", str(folder)])
    runpy.run_path(str(SCRIPT), run_name="__main__")


def test_metrics_are_correlated_with_scores_but_for_distortions_of_color(
    folder, monkeypatch, capsys
):
    run(folder, monkeypatch)
    _, _, *rows = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    table = {name: (float(pearson), float(spearman)) for name, pearson, spearman in cells}
    assert list(table) == ["RMSE", "1 - SSIM", "1 - MS-SSIM", "NLPD", "NLPD, MATLAB"]
    assert table["RMSE"] == (1, 1)
    for _, spearman in table.values():
        assert 0.95 < spearman <= 1


@pytest.mark.parametrize("part", ["mos.txt", "distorted_images/i01_01_5.bmp"])
def test_what_is_missing_is_named(part, folder, monkeypatch):
    (folder / part).unlink()
    with pytest.raises(SystemExit, match=pathlib.Path(part).name):
        run(folder, monkeypatch)
