import io

import imageio.v3
import numpy as np
import pytest
import scipy.io

from plenoptax.plot import plot_MAD_results
from plenoptax.plot._mad_results import read_mat


NAMES = ("init", "fixmse_maxssim", "fixmse_minssim", "fixssim_minmse", "fixssim_maxmse")


@pytest.mark.parametrize("do_compression", [False, True])
def test_read_mat_reads_what_scipy_writes(do_compression, rng):
    content = {
        "a": rng.random((3, 4)),
        "abcdefghij": np.arange(5, dtype=np.uint8),
        "number": 2.5,
        "whole": np.int16(-3),
    }
    file = io.BytesIO()
    scipy.io.savemat(file, content, do_compression=do_compression)
    read = read_mat(file.getvalue())
    assert list(read) == list(content)
    for name, value in content.items():
        np.testing.assert_array_equal(read[name], value)
    with pytest.raises(ValueError, match="must be of MATLAB version 5"):
        read_mat(b"")


@pytest.fixture
def folder(tmp_path, rng):
    imageio.v3.imwrite(tmp_path / "samp6.tif", rng.integers(0, 255, (8, 8), np.uint8))
    for level in (2, 128):
        content = {f"im_{name}": level * rng.random((8, 8)) for name in NAMES}
        numbers = ("FIX_MSE", "FIX_SSIM", "maxssim", "minssim", "minmse", "maxmse")
        content |= {name: float(level) for name in numbers}
        scipy.io.savemat(tmp_path / f"samp6_L{level}_results.mat", content)
    return tmp_path


def test_plot_mad_results_has_a_row_for_each_level(folder):
    figure, results = plot_MAD_results("samp6", [2, 128], folder, folder, 2, "row1")
    assert list(results) == ["L2", "L128"]
    assert results["L128"]["FIX_SSIM"] == 128
    assert results["L2"]["noise_level"] == 2
    assert "im_init" not in results["L2"]
    tops = [round(axes.get_position().y1, 5) for axes in figure.axes]
    assert [tops.count(top) for top in dict.fromkeys(tops)] == [1, 5, 5]
    limits = [axes.images[0].get_clim() for axes in figure.axes]
    assert len(set(limits[1:6])) == len(set(limits[6:])) == 1
    assert limits[1] != limits[6]
    assert figure.axes[2].get_title().startswith("Best SSIM: 2.00000\nat MSE 2\n")


def test_plot_mad_results_refuses():
    with pytest.raises(ValueError, match="original_image must be one of .* got 'samp0'"):
        plot_MAD_results("samp0")
    with pytest.raises(ValueError, match=r"noise_levels must be powers of 2 .* got \(3,\)"):
        plot_MAD_results("samp1", [3])
