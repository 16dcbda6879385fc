import dataclasses
import warnings
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float

from .._tree import describe, leaves_by_path
from .._types import Scalar
from ._batch import Batched
from ._problem import AbstractProblem


class LoadWarning(UserWarning):
    """What is loaded may not belong to the problem at hand."""


_OBJECTIVE = ".objective()"


def probe(problem: AbstractProblem | Batched) -> dict[str, np.ndarray]:
    """What tells a problem from others: its own arrays, and its objective at a probe image.

    Models, losses and metrics are not stored: they are seen in what they make of the images.
    """
    inner = problem.problem if isinstance(problem, Batched) else problem
    arrays = {
        f".{field.name}{path}": np.asarray(leaf)
        for field in dataclasses.fields(inner)
        if not callable(value := getattr(inner, field.name))
        for path, leaf in leaves_by_path(value).items()
    }
    return arrays | {_OBJECTIVE: np.asarray(_probe_objective(problem))}


@eqx.filter_jit
def _probe_objective(problem: AbstractProblem | Batched) -> Float[Array, "..."]:
    def one(problem: AbstractProblem) -> Scalar:
        image = problem.initial_image(jax.random.key(0))
        return problem.objective(problem.encode(image), problem.start())[0]

    return problem.map(one) if isinstance(problem, Batched) else one(problem)


def describe_problem(problem: AbstractProblem | Batched) -> dict[str, str]:
    """The names of a problem's class and of the callables in it, in values that fit into JSON."""
    inner = problem.problem if isinstance(problem, Batched) else problem
    names = {"problem": type(inner).__name__}
    for field in dataclasses.fields(inner):
        value = getattr(inner, field.name)
        if callable(value):
            names[field.name] = getattr(value, "__qualname__", type(value).__qualname__)
    return names


def check_probe(
    path: Any,
    saved: Mapping[str, np.ndarray],
    problem: AbstractProblem | Batched,
    *,
    raise_on_checks: bool,
    tolerances: dict[str, float],
) -> None:
    """Refuse, or warn of, a file that was saved with another target, model, loss or penalty."""
    present = probe(problem)
    # In the order of the fields: what the user gave comes before what follows from it.
    for name in sorted(dict.fromkeys((*present, *saved)), key=lambda name: name == _OBJECTIVE):
        fault = _difference(name, saved.get(name), present.get(name), tolerances)
        if fault is None:
            continue
        message = f"{path} was saved with another problem: {fault}."
        if raise_on_checks:
            raise ValueError(
                message + " Pose the problem as it was, or load with raise_on_checks=False."
            )
        warnings.warn(message, LoadWarning, stacklevel=3)


def _difference(
    name: str,
    saved: np.ndarray | None,
    present: np.ndarray | None,
    tolerances: dict[str, float],
) -> str | None:
    if saved is None or present is None:
        return f"{name} is only in the {'file' if present is None else 'problem at hand'}"
    if describe(saved) != describe(present):
        return f"{name} is {describe(saved)} in the file, but {describe(present)} in the problem"
    if np.allclose(present, saved, **tolerances, equal_nan=True):
        return None
    if name == _OBJECTIVE:
        return (
            f"its objective at a probe image was {_show(saved)} and is {_show(present)}, so the "
            "model, the loss, a metric or the penalty has changed"
        )
    apart = np.max(np.abs(present.astype(float) - saved.astype(float)))
    return f"{name} differs, by up to {apart:.3g}"


def _show(values: np.ndarray) -> str:
    return ", ".join(f"{value:.6g}" for value in np.ravel(values))
