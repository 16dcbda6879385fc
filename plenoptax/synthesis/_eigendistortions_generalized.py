import time
from collections.abc import Callable
from typing import Any, final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .._answers import citations, name_of
from .._rules import checked, COUNT, POSITIVE
from ..linalg import AbstractNoise, AbstractSubspace, EigenStatus, linearize, LinearMap
from ._comparison import check_models, ComparisonReport, describe_comparison
from ._eigendistortions_result import Eigendistortions
from ._principal_distortions import PrincipalDistortions
from ._saved import AbstractSaved


_LARGEST = 5000
# An angle in degrees, and the factor between the ratios with the smallest and the largest ridge.
_SAME_DIRECTION, _SAME_RATIO = 10.0, 3.0


@final
class GeneralizedEigendistortions(AbstractSaved):
    """Changes of an image about which two models disagree most.

    ``print(found)`` shows how much they depend on the ridge.

    Attributes:
        eigendistortions: The changes, of norm 1. Those that the first model sees better come first.
        ratios: The ratio of the two sensitivities to each change, in descending order.
        ridge: The ridge, as a fraction of the second model's largest eigenvalue.
        ridges: A tenth of the ridge, the ridge, and ten times the ridge.
        ratios_of_ridges: The ratios with each of these ridges.
        angles: For each change, the angles in degrees between three solutions: with the ridge and
            with a tenth of it; with the ridge and with ten times it; with a tenth of it and with
            ten times it.
        is_ridge_dominated: Whether the ridge determines the ratio or the direction: an angle is
            above 10 degrees, or the ratios with a tenth of the ridge and with ten times the ridge
            differ by more than a factor of 3.
        status: Under ``"top"`` and ``"bottom"``: ``ridge_dominated`` if a change at that end is,
            else ``converged``; see `plenoptax.linalg.EigenStatus`.
        names: The names of the two models.
        image: The image.
        provenance: How they were computed, in plain values: models, number at each end, ridge,
            noise, subspace, versions, device, and seconds of wall time.

    Example:
        >>> import plenoptax as plx
        >>> image = plx.data.brick()[:, :16, :16]
        >>> fine, coarse = plx.models.Gaussian(7, std=1.0), plx.models.Gaussian(7, std=2.0)
        >>> found = plx.generalized_eigendistortions(image, coarse, fine, progress=False)
        >>> print(found)
        sensitivity of Gaussian over that of Gaussian, for three ridges
        ...
    """

    eigendistortions: Float[Array, "k *shape"]
    ratios: Float[np.ndarray, " k"]
    ridge: float
    ridges: Float[np.ndarray, " 3"]
    ratios_of_ridges: Float[np.ndarray, "3 k"]
    angles: Float[np.ndarray, "3 k"]
    is_ridge_dominated: Bool[np.ndarray, " k"]
    status: dict[str, Any]
    names: tuple[str, str]
    image: Float[Array, "*shape"]
    provenance: dict[str, Any]

    def __str__(self) -> str:
        """Return the ratios with three ridges, the angles, and what they mean, as text."""
        first, second = self.names
        lines = [f"sensitivity of {first} over that of {second}, for three ridges", ""]
        lines += ["  " + "  ".join(f"{ridge:10.3g}" for ridge in self.ridges) + "  angle (degrees)"]
        for i, ratios in enumerate(self.ratios_of_ridges.T):
            numbers = "  ".join(f"{ratio:10.4g}" for ratio in ratios)
            dominated = "  ridge_dominated" if self.is_ridge_dominated[i] else ""
            lines += [f"  {numbers}  {self.angles[:, i].max():6.1f}{dominated}"]
        for end, item in self.status.items():
            lines += ["", f"{end}: {EigenStatus[item]}"]
        return "\n".join(lines)

    def report(self) -> ComparisonReport:
        """Return a summary of the comparison, to be printed."""
        return ComparisonReport(
            status={end: EigenStatus[item] for end, item in self.status.items()},
            ridge=f"{self.ridge:.3g} times the largest eigenvalue of the Fisher information of "
            f"{self.names[1]}",
            table=str(self),
            provenance=self.provenance,
            bibtex=citations(
                Eigendistortions.citation,
                PrincipalDistortions.citation,
                *self.provenance["citations"],
            ),
        )


@checked(k=COUNT, ridge=POSITIVE)
def generalized_eigendistortions(
    image: Float[Array, "*shape"],
    model: Callable,
    other_model: Callable,
    *,
    k: int = 1,
    ridge: float = 1e-3,
    noise: AbstractNoise | None = None,
    subspace: AbstractSubspace | None = None,
    progress: bool = True,
) -> GeneralizedEigendistortions:
    """Find the changes about which two models disagree most.

    These are the extremes of ``v^T F_A v / (v^T F_B v + delta |v|^2)``: changes that the first
    model sees and the second does not, and the reverse. Without a ridge, the null space of the
    second model would win regardless of the first model. ``delta`` is `ridge` times the second
    model's largest eigenvalue. Where it dominates an eigenvalue of F_B, the ridge determines the
    ratio. So the problem is also solved with a tenth of the ridge and with ten times the ridge, and
    a result that depends on it has the status ``ridge_dominated``. Report such a ratio with its
    ridge, or give a subspace that the second model sees.

    Both Fisher informations are formed as matrices, so the image (or the subspace) can have at most
    5000 elements.

    Args:
        image: The image.
        model: The first model.
        other_model: The second model.
        k: The number of changes at each end.
        ridge: The ridge, as a fraction of the second model's largest eigenvalue; see above.
        noise: The noise of both responses, as for ``eigendistortions``.
        subspace: Restricts the search to some changes, as for ``eigendistortions``.
        progress: Whether to show progress bars while the matrices are formed, one for each model.

    Returns:
        The changes and ratios, first those that the first model sees better, and how they depend on
        the ridge.

    Raises:
        ValueError: If there are too many elements, the ridge is not positive, `k` is not a whole
            number, the second model sees no change, or a model cannot be used; see
            `plenoptax.validate`.

    References:
        Berardino, Balle, Laparra and Simoncelli (2017), Eigen-distortions of hierarchical
        representations, NeurIPS.
        Feather et al. (2025), Discriminating image representations with principal distortions,
        ICLR; for two models.

    Example:
        >>> import plenoptax as plx
        >>> image = plx.data.brick()[:, :16, :16]
        >>> fine, coarse = plx.models.Gaussian(7, std=1.0), plx.models.Gaussian(7, std=2.0)
        >>> found = plx.generalized_eigendistortions(image, fine, coarse, progress=False)
        >>> found.ratios.shape, found.eigendistortions.shape
        ((2,), (2, 1, 16, 16))
        >>> bool(found.status["top"] == plx.linalg.EigenStatus.ridge_dominated)
        True
    """
    started = time.perf_counter()
    check_models(image, model, other_model)
    lift = changes_in(subspace, image)
    maps = [linearize(m, image, noise=noise) @ lift for m in (model, other_model)]
    n = lift.input_size
    if n > _LARGEST:
        raise ValueError(
            f"The image or subspace must have at most {_LARGEST} dimensions, got {n}. Give a "
            "subspace, or compare the models with principal_distortions."
        )
    first, second = (np.asarray(each.dense(progress=progress), np.float64) for each in maps)
    values, basis = np.linalg.eigh(second.T @ second)
    if not values[-1] > 0:
        raise ValueError(
            f"other_model must be sensitive to some change of this image or subspace, got "
            f"{name_of(other_model)}, which sees none. Give another model or subspace."
        )
    chosen = np.r_[n - 1 : n - 1 - k : -1, k - 1 : -1 : -1] if k < n else np.r_[n - 1 : -1 : -1]
    ridges = ridge * np.asarray([0.1, 1.0, 10.0])
    found = [_extremes(first, values, basis, each)[..., chosen] for each in ridges]
    ratios = np.stack([each[0] for each in found])
    vectors = jnp.asarray(np.stack([each[1:].T for each in found]), image.dtype)
    changes = lift(vectors.reshape(-1, n)).reshape(*vectors.shape[:2], *image.shape)
    angles = _angles(np.asarray(changes, np.float64).reshape(*vectors.shape[:2], -1))
    # Values below this are rounding errors of the largest ratio.
    smallest = n * np.finfo(float).eps * ratios.max(axis=1, keepdims=True)
    seen = np.maximum(ratios, smallest)
    factors = np.exp(np.abs(np.log(seen[0] / seen[2])))
    is_dominated = (angles.max(axis=0) > _SAME_DIRECTION) | (factors > _SAME_RATIO)
    ends = {"top": is_dominated[:k], "bottom": is_dominated[-k:]}
    kinds = EigenStatus.converged, EigenStatus.ridge_dominated
    options = dict(k=k, ridge=ridge, noise=noise, subspace=subspace)
    return GeneralizedEigendistortions(
        eigendistortions=changes[1],
        ratios=ratios[1],
        ridge=float(ridge),
        ridges=ridges,
        ratios_of_ridges=ratios,
        angles=angles,
        is_ridge_dominated=is_dominated,
        status={end: kinds[int(which.any())] for end, which in ends.items()},
        names=(name_of(model), name_of(other_model)),
        image=image,
        provenance=describe_comparison((model, other_model), options, started),
    )


def changes_in(subspace: AbstractSubspace | None, image: Array) -> LinearMap:
    """Return the map from the coordinates of a subspace (by default all) to changes of an image."""
    everything = LinearMap(jnp.ravel, image.size, image.size, image.dtype)
    return everything if subspace is None else everything @ subspace


def _extremes(
    first: np.ndarray, values: np.ndarray, basis: np.ndarray, ridge: float
) -> Float[np.ndarray, "rows n"]:
    """Return the ratios in ascending order, stacked above the changes (columns of norm 1)."""
    whitening = basis / np.sqrt(np.maximum(values, 0) + ridge * values[-1])
    product = first @ whitening
    ratios, mixing = np.linalg.eigh(product.T @ product)
    vectors = whitening @ mixing
    return np.concatenate([ratios[None], vectors / np.linalg.norm(vectors, axis=0)])


def _angles(changes: Float[np.ndarray, "3 k n"]) -> Float[np.ndarray, "3 k"]:
    """Return the angles in degrees: second to first, second to third, first to third line."""
    lines = changes / np.linalg.norm(changes, axis=-1, keepdims=True)
    pairs = [(lines[i], lines[j]) for i, j in ((1, 0), (1, 2), (0, 2))]
    chords = [
        np.minimum(np.linalg.norm(a - b, axis=1), np.linalg.norm(a + b, axis=1)) for a, b in pairs
    ]
    return np.degrees(2 * np.arcsin(np.stack(chords) / 2))
