import importlib.resources
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class NaturalStatistics(NamedTuple):
    """The distribution of Portilla-Simoncelli statistics over windows of natural photographs.

    Attributes:
        mean: The mean of each statistic over all windows.
        standard_deviation: The standard deviation of each statistic over all windows.
        z_scores: The statistics of some windows, minus the mean, over the standard deviation.
        sources: The index of the photograph that each of those windows is cut from.
        num_windows: The number of all windows.
        window_size: The height and width of the windows in pixels.
    """

    mean: Float[np.ndarray, " statistic"]
    standard_deviation: Float[np.ndarray, " statistic"]
    z_scores: Float[np.ndarray, "window statistic"]
    sources: Int[np.ndarray, " window"]
    num_windows: int
    window_size: int


def natural_statistics() -> NaturalStatistics:
    """Return the statistics of `PortillaSimoncelli`, with its defaults, over open photographs.

    Texture statistics differ in scale by orders of magnitude, and those of unrelated images are
    similar: their raw correlation is .76 in the median. With the mean subtracted and the standard
    deviation as the unit, unrelated images are uncorrelated. Eleven photographs do not represent
    all natural images: for a publication, measure your own with
    ``tests/reference/make_natural_statistics.py``.

    Returns:
        The statistics, as NumPy arrays.

    References:
        Ziemba and Simoncelli (2021), Nature Communications 12, 4535, standardize with van
        Hateren's photographs.

    Example:
        >>> import plenoptax as plx
        >>> natural = plx.data.natural_statistics()
        >>> natural.mean.shape
        (710,)
        >>> loss = plx.loss.ZScored(natural.mean, natural.standard_deviation)
    """
    file = importlib.resources.files("plenoptax.data") / "natural_statistics.npz"
    with file.open("rb") as stream, np.load(stream) as archive:
        return NaturalStatistics(
            mean=archive["mean"],
            standard_deviation=archive["standard_deviation"],
            z_scores=archive["z_scores"].astype(np.float32),
            sources=archive["sources"].astype(np.int64),
            num_windows=int(archive["num_windows"]),
            window_size=int(archive["window_size"]),
        )
