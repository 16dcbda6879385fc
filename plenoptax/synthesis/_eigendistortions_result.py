import dataclasses
from typing import Any, ClassVar, final

import numpy as np
from jaxtyping import Array, Float

from .._answers import citations
from ..linalg import EigenStatus, LanczosState, PowerState
from ..models import OnOff
from ._report import describe_origin, set_rows
from ._saved import AbstractSaved


@final
class Eigendistortions(AbstractSaved):
    """Changes of an image to which a model is most and least sensitive.

    They are saved with the state that a search can resume from. For a smaller file, save
    ``dataclasses.replace(found, state=None, jacobian=None)``.

    Attributes:
        eigendistortions: The changes, those of the largest eigenvalues first. Each has norm 1 over
            all its elements, except with a soft window or another subspace that is not orthonormal.
        eigenvalues: The Fisher information along each change, in descending order: the squared
            length of the change of the response, in units of its noise, for a small step, divided
            by the squared length of the step.
        eigenindex: The indices of these among all eigenvalues, 0 for the largest.
        residuals: ``|F v - l v| / l_max`` for each. A small residual proves a top eigendistortion.
            At the bottom it proves nothing, because every vector with a small eigenvalue has a
            small residual.
        floor: The eigenvalue below which a change is invisible to the model in working precision.
        null_dimension: The number of directions below the floor: exact with method ``"exact"``, a
            lower bound with the others.
        num_products: The number of products with the Fisher information that the search took,
            without the 48 that estimate the preconditioner of the bottom.
        status: Under ``"top"`` and ``"bottom"`` a `plenoptax.linalg.EigenStatus`, or None for an
            end that was not searched.
        jacobian: The Jacobian of the response, if it was formed (method ``"exact"``), else None.
        state: The state to resume from, by `resume`; None for methods that cannot resume.
        image: The image.
        provenance: How they were computed, in plain values: model, method, noise, subspace, key,
            versions, device, and seconds of wall time.

    Example:
        >>> import plenoptax as plx
        >>> image = plx.data.brick()[:, :32, :32]
        >>> found = plx.eigendistortions(image, plx.models.Gaussian(7), progress=False)
        >>> plx.linalg.EigenStatus[found.status["top"]]
        'These are eigenvectors, to the accuracy that was asked for.'
    """

    # The front ends come from the same paper.
    citation: ClassVar[str] = OnOff.citation
    eigendistortions: Float[Array, "k *shape"]
    eigenvalues: Float[np.ndarray, " k"]
    eigenindex: np.ndarray
    residuals: Float[np.ndarray, " k"]
    floor: float
    null_dimension: int
    num_products: int
    status: dict[str, Any]
    jacobian: Float[Array, "m n"] | None
    state: LanczosState | PowerState | None
    image: Float[Array, "*shape"]
    provenance: dict[str, Any]

    def report(self) -> "EigendistortionsReport":
        """Return a summary of the search and its thresholds, to be printed."""
        rows = np.asarray(self.eigendistortions, np.float64).reshape(len(self.eigenvalues), -1)
        seen = np.sqrt(np.maximum(self.eigenvalues, self.floor))
        with np.errstate(divide="ignore"):
            thresholds = np.sqrt(np.mean(rows**2, axis=1)) / seen
        words = {end: EigenStatus[item] for end, item in self.status.items() if item is not None}
        return EigendistortionsReport(
            status=words,
            eigenvalues=self.eigenvalues,
            eigenindex=self.eigenindex,
            residuals=self.residuals,
            thresholds=thresholds,
            is_bound=self.eigenvalues <= self.floor,
            floor=self.floor,
            null_dimension=self.null_dimension,
            num_products=self.num_products,
            provenance=self.provenance,
            bibtex=citations(self.citation, self.provenance.get("citation")),
        )


@dataclasses.dataclass(frozen=True)
class EigendistortionsReport:
    """Summary of a search for eigendistortions, with the predicted thresholds.

    ``print(report)`` shows it as text.

    Attributes:
        status: The status of each end that was searched, in words, under ``"top"`` and
            ``"bottom"``.
        eigenvalues: The Fisher information along each change; see `Eigendistortions`.
        eigenindex: The indices of the eigenvalues, 0 for the largest.
        residuals: ``|F v - l v| / l_max`` for each.
        thresholds: The root mean square over the image of each change at a d' of 1, predicted by
            the linearized model; `plenoptax.equal_detectability` checks the prediction.
        is_bound: Whether the eigenvalue is not above the floor, so that the threshold is only a
            lower bound.
        floor: The eigenvalue below which a change is invisible to the model in working precision.
        null_dimension: The number of directions below the floor; see `Eigendistortions`.
        num_products: The number of products with the Fisher information.
        provenance: How the eigendistortions were computed, in plain values.
        bibtex: The papers to cite, in BibTeX.
    """

    status: dict[str, str]
    eigenvalues: Float[np.ndarray, " k"]
    eigenindex: np.ndarray
    residuals: Float[np.ndarray, " k"]
    thresholds: Float[np.ndarray, " k"]
    is_bound: np.ndarray
    floor: float
    null_dimension: int
    num_products: int
    provenance: dict[str, Any]
    bibtex: str

    def __str__(self) -> str:
        facts = self.provenance
        counted = "" if facts["method"] in ("exact", "dense") else "at least "
        rows = {
            "model": facts["model"],
            **self.status,
            "method": f"{facts['method']}, {self.num_products} products with the Fisher "
            f"information, {facts['wall_time']:.1f} s",
            "noise": facts["noise"] or "Gaussian, of variance 1",
            "subspace": facts["subspace"] or "all changes",
            "floor": f"{self.floor:.3g}, {counted}{self.null_dimension} directions below it",
            **describe_origin(facts),
        }
        lines = [*set_rows(rows), "", "   index   eigenvalue  residual  RMS where d' is 1"]
        for i, index in enumerate(self.eigenindex):
            lines.append(
                f"{index:8d}  {self.eigenvalues[i]:11.4g}  {self.residuals[i]:8.1e}  "
                f"{'>' if self.is_bound[i] else ' '} {self.thresholds[i]:.3g}"
            )
        return "\n".join(lines)
