"""Functions shared by the methods that compare models."""

import dataclasses
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxtyping import Array

from .._answers import answer
from .._words import describe_machine, describe_options, in_words
from ..validate import validate_input, validate_model
from ._report import describe_origin, set_rows


# The description of a network can be pages long.
_LONGEST = 200


def check_models(image: Array, *models: Callable) -> None:
    """Raise an error if the image or a model cannot be used."""
    validate_input(image, allowed_range=None)
    for model in models:
        validate_model(model, image.shape, image.dtype)


def describe_comparison(
    models: Sequence[Callable], options: Mapping[str, Any], started: float
) -> dict[str, Any]:
    """Return the provenance of a comparison of models, in plain values that fit into JSON."""
    return {
        "models": [in_words(model) for model in models],
        "citations": [answer(model, "citation") for model in models],
        **describe_options(options),
        **describe_machine(started),
    }


@dataclasses.dataclass(frozen=True)
class ComparisonReport:
    """Summary of a comparison of models.

    ``print(report)`` shows it as text.

    Attributes:
        status: The status in words: of the gradient ascent under ``"ascent"``, or of each end of
            the spectrum under ``"top"`` and ``"bottom"``.
        ridge: The ridge in words.
        table: The values and the status as text, as printed for the result itself.
        provenance: How the result was computed; see `GeneralizedEigendistortions` and
            `PrincipalDistortions`.
        bibtex: The papers to cite, in BibTeX.
    """

    status: dict[str, str]
    ridge: str
    table: str
    provenance: dict[str, Any]
    bibtex: str

    def __str__(self) -> str:
        facts = self.provenance
        origin = describe_origin(facts)
        rows = {
            "models": "\n".join(textwrap.shorten(x, _LONGEST) for x in facts["models"]),
            "noise": facts["noise"] or "Gaussian, of variance 1",
            "subspace": facts.get("subspace") or "all changes",
            "ridge": self.ridge,
            "time": f"{facts['wall_time']:.1f} s",
            # Only some of these methods use a key.
            **{name: row for name, row in origin.items() if name in facts},
        }
        return "\n".join([*set_rows(rows), "", self.table])
