import importlib.resources
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class NaturalStatistics(NamedTuple):
    """How the statistics of Portilla and Simoncelli are distributed over natural photographs.

    Attributes:
        mean: Of each statistic.
        standard_deviation: Of each statistic.
        z_scores: Some of the windows, in units of these.
        sources: Which photograph each of those windows is from.
        num_windows: How many windows mean and standard deviation are over.
        window_size: Their height and width in pixels.
    """

    mean: Float[np.ndarray, " statistic"]
    standard_deviation: Float[np.ndarray, " statistic"]
    z_scores: Float[np.ndarray, "window statistic"]
    sources: Int[np.ndarray, " window"]
    num_windows: int
    window_size: int


def natural_statistics() -> NaturalStatistics:
    """The statistics of `PortillaSimoncelli`, with its default arguments, over open photographs.

    Texture statistics differ in scale by orders of magnitude, and those of unrelated images are
    alike: raw, they correlate at .76 in the median. In units of their standard deviation, and
    without their mean, unrelated images are uncorrelated. Eleven photographs are no sample of the
    world: for a publication, measure your own with ``tests/reference/make_natural_statistics.py``.

    Returns:
        The statistics, as NumPy arrays.

    References:
        Ziemba and Simoncelli (2021), Nature Communications 12, 4535, who standardized by van
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
