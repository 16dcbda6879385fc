import dataclasses
import warnings
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._compiled import compiled
from .._tree import describe, leaves_by_path
from .._types import Scalar
from ._problem import AbstractProblem, AnyProblem, describe_problem


class LoadWarning(UserWarning):
    """A warning that a loaded file may not belong to the current problem."""


# The second probe image spreads the values of the first around 0.5 by this factor, because
# penalties on [0, 1] and on [0, 255] agree for images within [0, 1].
_SPREAD = 1000

# The second probe image is evaluated with the memory after this many steps, where schedules differ.
_NUM_STEPS = 100

_PROBE, _OBJECTIVE = ".probe.", ".probe.objective"

# Other terms, such as the remaining gradient of a competition, can be mostly rounding. They only
# name the cause of a difference in the objective.
_EXACT = (_OBJECTIVE, ".probe.penalty", ".probe.z")
_COARSE = 1e-4

# Arrays that a problem computes from its images with its model.
_RESPONSES = (".target", ".stage_targets", ".ends")

# The arguments that give fields of other names.
_ARGUMENTS = {"sign": "minmax, as a sign,", ".sign": "minmax, as a sign,"}

# Longer descriptions are cut in a message.
_LONGEST = 160


def probe(problem: AnyProblem) -> dict[str, np.ndarray]:
    """Return a fingerprint of a problem: its own arrays, and its terms at two probe images.

    Models, losses and metrics are not stored; they are compared by the terms of the objective that
    they produce. Each entry of the terms has the two images as its first axis.
    """
    arrays = {
        f".{name}{path}": np.asarray(leaf)
        for name, value in _fields(problem).items()
        if not callable(value)
        for path, leaf in leaves_by_path(value).items()
    }
    dtype = jnp.result_type(float)
    inside, outside = (
        jax.device_get(_evaluate(problem, jnp.asarray(spread, dtype), jnp.asarray(num_steps)))
        for spread, num_steps in ((1, 0), (_SPREAD, _NUM_STEPS))
    )
    terms = {f"{_PROBE}{name}": np.stack([inside[name], outside[name]]) for name in inside}
    return arrays | terms


@compiled()
def _evaluate(problem: AnyProblem, spread: Scalar, num_steps: Array) -> dict[str, Array]:
    def one(problem: AbstractProblem) -> dict[str, Array]:
        image = problem.initial_image(jax.random.key(0))
        image = 0.5 + spread.astype(image.dtype) * (image - 0.5)
        z, memory = problem.encode(image), problem.start()
        shapes = jax.eval_shape(problem.objective, z, memory)
        nothing = {name: jnp.zeros(leaf.shape, leaf.dtype) for name, leaf in shapes[1].items()}
        nothing["loss"] = jnp.zeros((), shapes[0].dtype)
        memory = jax.lax.fori_loop(
            0, num_steps, lambda _, memory: problem.advance(memory, z, nothing), memory
        )
        objective, terms = problem.objective(z, memory)
        magnitudes = [jnp.abs(leaf) for leaf in jax.tree.leaves(z)]
        # The parametrization's variables of the image.
        moments = [jnp.stack([jnp.mean(m), jnp.max(m)]) for m in magnitudes]
        return {"z": jnp.stack(moments), **terms, "objective": objective}

    return problem.map(one)


def _fields(problem: AnyProblem) -> dict[str, Any]:
    inner = problem.posed
    return {field.name: getattr(inner, field.name) for field in dataclasses.fields(inner)}


def check_probe(
    path: Any,
    arrays: Mapping[str, np.ndarray],
    words: Mapping[str, str],
    problem: AnyProblem,
    *,
    raise_on_checks: bool,
    tolerances: dict[str, float],
) -> None:
    """Reject, or warn about, a file saved with another target, model, loss or penalty.

    Args:
        path: The file, for the message.
        arrays: The fingerprint of the saved problem, from `probe`.
        words: Its description, from `describe_problem`.
        problem: The current problem.
        raise_on_checks: Whether to raise an error instead of a warning.
        tolerances: The tolerances for `numpy.allclose`.
    """
    present_words = describe_problem(problem)
    faults = [*_changed_choices(words, present_words, problem)]
    faults += [*_changed_arrays(arrays, probe(problem), tolerances)]
    # Functions with different names may compute the same values: names show what changed, not
    # whether.
    renamed = (_changed(name, words, present_words) for name in {**words, **present_words})
    names = [text for text in renamed if text is not None]
    for fault in faults:
        texts = dict.fromkeys([fault, *names])
        changes = "; ".join(texts)
        if raise_on_checks:
            raise ValueError(
                f"The problem must be the one with which {path} was saved, got another one: "
                f"{changes}. Build the problem as it was, or load with raise_on_checks=False."
            )
        warnings.warn(
            f"{path} was saved with another problem: {changes}.", LoadWarning, stacklevel=3
        )


def _changed_choices(
    saved: Mapping[str, str], present: Mapping[str, str], problem: AnyProblem
) -> list[str]:
    """Return the differences among the parts of a problem that are not arrays or functions."""
    plain = [
        name
        for name, value in _fields(problem).items()
        if not callable(value) and not leaves_by_path(value)
    ]
    changes = (_changed(name, saved, present) for name in ("problem", *plain))
    return [change for change in changes if change is not None]


def _changed(name: str, saved: Mapping[str, str], present: Mapping[str, str]) -> str | None:
    was, is_now = (words.get(name, "missing") for words in (saved, present))
    name = _ARGUMENTS.get(name, name)
    return None if was == is_now else f"{name} was {_cut(was)} and is {_cut(is_now)}"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."


def _changed_arrays(
    saved: Mapping[str, np.ndarray],
    present: Mapping[str, np.ndarray],
    tolerances: dict[str, float],
) -> list[str]:
    names = list(dict.fromkeys((*present, *saved)))
    # The user's arrays come before the values computed from them.
    names.sort(key=lambda name: (name == _OBJECTIVE, name.startswith((_PROBE, *_RESPONSES))))
    coarse = {name: max(tolerance, _COARSE) for name, tolerance in tolerances.items()}
    reported = [n for n in names if n.startswith(_PROBE) and n not in _EXACT]
    faults = (
        _difference(n, saved.get(n), present.get(n), coarse if n in reported else tolerances)
        for n in names
    )
    return [fault for fault in faults if fault is not None]


def _difference(
    name: str,
    saved: np.ndarray | None,
    present: np.ndarray | None,
    tolerances: dict[str, float],
) -> str | None:
    if saved is None or present is None:
        return f"{name} is only in the {'file' if present is None else 'current problem'}"
    if describe(saved) != describe(present):
        return f"{name} is {describe(saved)} in the file, but {describe(present)} in the problem"
    if np.allclose(present, saved, **tolerances, equal_nan=True):
        return None
    if name.startswith(_PROBE):
        return _differing_term(name.removeprefix(_PROBE), saved, present)
    apart = np.max(np.abs(present.astype(float) - saved.astype(float)))
    response = " (the response of its model)" if name.startswith(_RESPONSES) else ""
    return f"{name} differs, by up to {apart:.3g}{response}"


def _differing_term(name: str, saved: np.ndarray, present: np.ndarray) -> str:
    if name == "z":
        return "its parametrization maps a probe image to different variables"
    values = f"at two probe images was {_show(saved)} and is {_show(present)}"
    if name == "objective":
        return f"its objective {values}, so the model, the loss, a metric or a weight has changed"
    return f"its {name} {values}"


def _show(values: np.ndarray) -> str:
    return ", ".join(f"{value:.6g}" for value in np.ravel(values))
