"""Freeze what syntheses come to, in float64, and compare a later version with it.

    python tools/freeze_runs.py save       # writes tools/frozen_runs.npz
    python tools/freeze_runs.py compare    # runs the same again and says where they part

A change of the code that claims to leave the numbers alone is held against this: the first 50
losses of each run have to agree to 1e-10, and where runs part later, which they do by rounding, no
group of the representation may end worse by more than the spread over 4 seeds. The number of
equations of one step is frozen, too.
"""

import argparse
import os
import pathlib
import sys
from collections.abc import Callable

import numpy as np


os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp

import plenoptax as plx


FILE = pathlib.Path(__file__).parent / "frozen_runs.npz"
KEY = jax.random.key(0)
SEEDS = 4
TEXTURES = ("brick", "grass", "gravel", "chelsea")

# Losses that have to agree, and by how much at most, as a part of their size.
NUM_LOSSES = 50
TOLERANCE = 1e-10


def photograph(name: str, size: int) -> jax.Array:
    """The middle of a photograph in gray, in the default precision."""
    image = jnp.asarray(getattr(plx.data, name)(), float)
    return plx.process.center_crop(image.mean(0, keepdims=True), size)


def texture(name: str, seed: int = 0, size: int = 128, n_scales: int = 4) -> plx.Result:
    """A metamer of Portilla-Simoncelli by the default solver."""
    model = plx.models.PortillaSimoncelli((size, size), n_scales)
    key = jax.random.key(seed)
    return plx.metamer(photograph(name, size), model, key=key, max_steps=150, progress=False)


def front_end(model: Callable) -> plx.Result:
    """A metamer of a front end by the default solver."""
    return plx.metamer(photograph("brick", 64), model, key=KEY, max_steps=150, progress=False)


def coarse_to_fine() -> plx.Result:
    """A texture from coarse to fine."""
    model = plx.models.PortillaSimoncelli((64, 64), n_scales=3)
    return plx.metamer_ctf(
        photograph("gravel", 64), model, ctf_iters_to_check=15, max_stage_steps=30, key=KEY,
        max_steps=200, progress=False,
    )  # fmt: skip


def competitions() -> dict[str, plx.Result]:
    """The four images of structural similarity against squared error."""
    image = photograph("brick", 64)
    metrics = {"mse": plx.metric.mse, "ssim": plx.metric.ssim_distance}
    return {
        f"mad {minmax} {first}": plx.mad_competition(
            image, metrics[first], metrics[second], minmax, key=KEY, max_steps=150, progress=False
        )
        for first, second in (("mse", "ssim"), ("ssim", "mse"))
        for minmax in ("min", "max")
    }


def geodesic() -> plx.Result:
    """A geodesic of a front end."""
    ends = [photograph(name, 32) for name in ("brick", "grass")]
    return plx.geodesic(
        *ends, plx.models.OnOff(7, pretrained=False, key=KEY), n_steps=5, max_steps=150,
        progress=False,
    )  # fmt: skip


def batch() -> plx.Result:
    """Metamers of four photographs at once."""
    images = jnp.stack([photograph(name, 64) for name in TEXTURES])
    model = plx.models.OnOff(31, pretrained=True)
    return plx.metamer(images, model, key=KEY, batch=True, max_steps=150, progress=False)


def runs() -> dict[str, Callable[[], plx.Result]]:
    """All runs by name but the competitions, which come together."""
    return {
        **{f"texture {name}": lambda name=name: texture(name) for name in TEXTURES},
        "Gaussian": lambda: front_end(plx.models.Gaussian(7)),
        "OnOff": lambda: front_end(plx.models.OnOff(31, pretrained=True)),
        "coarse to fine": coarse_to_fine,
        "geodesic": geodesic,
        "batch": batch,
    }


def describe(name: str, result: plx.Result) -> dict[str, np.ndarray]:
    """The arrays that are frozen of a run: losses, image, and errors by group."""
    traces = result.trace.elements if hasattr(result.trace, "elements") else (result.trace,)
    # The elements of a batch may stop at different steps.
    losses = np.full((len(traces), max(len(trace.losses) for trace in traces)), np.nan)
    for row, trace in zip(losses, traces, strict=True):
        row[: len(trace.losses)] = trace.losses
    arrays = {f"{name}/losses": losses, f"{name}/image": np.asarray(result.image)}
    if name.startswith("texture") or name == "coarse to fine":
        arrays[f"{name}/groups"] = group_errors(result)
    return arrays


def group_errors(result: plx.Result) -> np.ndarray:
    """The norm of the error of each group of statistics, in units of the target's norm."""
    model = result.problem.model
    found, target = (
        model.convert_to_dict(representation)
        for representation in (model(result.image), result.problem.target)
    )

    def norm(values: dict) -> np.ndarray:
        return np.asarray([np.linalg.norm(np.nan_to_num(np.asarray(v))) for v in values.values()])

    differences = {name: np.asarray(found[name]) - np.asarray(target[name]) for name in target}
    return norm(differences) / norm(target)


def count_equations() -> dict[str, int]:
    """Equations of one step, those of all functions inside of it included."""
    image = photograph("brick", 64)
    ends = [photograph(name, 32) for name in ("brick", "grass")]
    onoff = plx.models.OnOff(31, pretrained=True)
    adam = plx.Solver(plx.amsgrad(0.01))
    lbfgs = plx.Solver(plx.lbfgs(30))
    texture_model = plx.models.PortillaSimoncelli((64, 64), n_scales=3)
    problems = {
        "Gaussian": (plx.Metamer(image, plx.models.Gaussian(7)), adam),
        "OnOff": (plx.Metamer(image, onoff), adam),
        "texture": (plx.Metamer(image, texture_model), lbfgs),
        "mad": (plx.MADCompetition(image, plx.metric.mse, plx.metric.ssim_distance, "min"), adam),
        "geodesic": (plx.Geodesic(*ends, onoff, n_steps=5), adam),
    }
    counts = {}
    for name, (problem, solver) in problems.items():
        state = plx.init(problem, solver, key=KEY)
        leaves, treedef = jax.tree.flatten((problem, solver, state))
        is_array = [hasattr(leaf, "dtype") for leaf in leaves]

        def step(arrays: list, leaves=leaves, treedef=treedef, is_array=is_array) -> list:
            rest = iter(arrays)
            whole = [next(rest) if i else leaf for leaf, i in zip(leaves, is_array, strict=True)]
            return jax.tree.leaves(plx.step(*jax.tree.unflatten(treedef, whole)))

        arrays = [leaf for leaf, i in zip(leaves, is_array, strict=True) if i]
        counts[name] = sum(1 for _ in equations(jax.make_jaxpr(step)(arrays).jaxpr))
    return counts


def equations(jaxpr):
    """The equations of a program and of all programs inside of it."""
    for equation in jaxpr.eqns:
        inner = [
            getattr(value, "jaxpr", value)
            for value in jax.tree.leaves(
                list(equation.params.values()), is_leaf=lambda v: hasattr(v, "eqns")
            )
            if hasattr(getattr(value, "jaxpr", value), "eqns")
        ]
        # A call is no equation of its own: how often a program is cut into functions is not asked.
        if not inner:
            yield equation
        for program in inner:
            yield from equations(program)


def collect() -> dict[str, np.ndarray]:
    """All that is frozen."""
    counts = count_equations()
    jax.config.update("jax_enable_x64", True)
    arrays = {f"equations/{name}": np.asarray(count) for name, count in counts.items()}
    for name, run in runs().items():
        arrays |= describe(name, run())
        print(name, arrays[f"{name}/losses"][:, -1], flush=True)
    for name, result in competitions().items():
        arrays |= describe(name, result)
        print(name, arrays[f"{name}/losses"][:, -1], flush=True)
    for name in TEXTURES:
        groups = [group_errors(texture(name, seed, size=64, n_scales=3)) for seed in range(SEEDS)]
        arrays[f"seeds {name}/groups"] = np.stack(groups)
    return arrays


def compare(frozen: dict[str, np.ndarray], found: dict[str, np.ndarray]) -> bool:
    """Print where two collections differ; whether the later is as good."""
    passed = True
    for name in frozen:
        kind = name.rsplit("/", 1)[1]
        old, new = frozen[name], found[name]
        if name.startswith("equations/"):
            print(f"{name}: {old} -> {new}")
            passed &= bool(new <= old)
        elif kind == "losses":
            passed &= compare_losses(name, old, new)
        elif kind == "image":
            same = old.shape == new.shape
            print(f"{name}: up to {np.max(np.abs(old - new)) if same else np.inf:.2g} apart")
        elif name.startswith("seeds"):
            # The best and the worst of the seeds that were frozen are the spread.
            worse = new.mean(0) - old.mean(0) - (old.max(0) - old.min(0))
            print(f"{name}: worse by more than the spread in {int(np.sum(worse > 0))} groups")
            passed &= not np.any(worse > 0)
        else:
            print(f"{name}: errors times {np.min(new / old):.3f} to {np.max(new / old):.3f}")
    return passed


def compare_losses(name: str, old: np.ndarray, new: np.ndarray) -> bool:
    """Print how far the first losses are apart."""
    first_old, first_new = old[:, :NUM_LOSSES], new[:, :NUM_LOSSES]
    if first_old.shape != first_new.shape:
        print(f"{name}: {old.shape} -> {new.shape}")
        return False
    apart = np.nanmax(np.abs(first_old - first_new) / np.abs(first_old))
    equal = np.array_equal(old, new, equal_nan=True)
    print(f"{name}: {'bit for bit' if equal else f'the first {NUM_LOSSES} {apart:.2g} apart'}")
    return bool(apart <= TOLERANCE)


def main() -> None:
    """Save or compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["save", "compare"])
    found_wanted = parser.parse_args().command
    found = collect()
    if found_wanted == "save":
        np.savez_compressed(FILE, **found)
        return
    with np.load(FILE) as file:
        frozen = dict(file)
    if not compare(frozen, found):
        sys.exit("The two differ by more than they may.")


if __name__ == "__main__":
    main()
