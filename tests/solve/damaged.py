"""Saved files with damage, and what the readers make of them."""

import contextlib
import io
import json
import pathlib
import random
import zipfile

import jax
import jax.numpy as jnp
import numpy as np

import plenoptax as plx
from plenoptax import _archive


IMAGE = slice(None), slice(None, 12), slice(None, 12)
NAMED = {"key": jax.random.key(0), "max_steps": 2, "progress": False}


def make_results():
    """A result of each kind of file."""
    brick, model = plx.data.brick()[IMAGE], plx.models.Gaussian(3)
    record = plx.Record(every=1, best=True)
    return {
        "metamer": plx.metamer(brick, model, record=record, **NAMED),
        "batch": plx.metamer(brick, model, num_seeds=2, optimizer=plx.lbfgs(2), **NAMED),
        "part": make_part(brick, model),
        "eigendistortions": plx.eigendistortions(brick, model, k=2, progress=False),
    }


def make_part(brick, model):
    """The result of some elements of a batch."""
    images = jnp.stack([brick, brick[:, ::-1], brick[:, :, ::-1]])
    problem = plx.batch(lambda image: plx.Metamer(image, model), images).take(np.asarray([2, 0]))
    solver = plx.Solver(plx.lbfgs(2))
    state = plx.init(problem, solver, key=NAMED["key"])
    return plx.Result(problem, *plx.run(problem, solver, state, 2), solver)


class Readers:
    """All that reads a file of a result.

    Attributes:
        failures: The error of each reader that was neither a result nor one of ours.
        num_accepted: How often a reader took a file.
    """

    def __init__(self, result):
        self._result = result
        self.failures, self.num_accepted = [], 0
        self._readers = {"load_result": plx.io.load_result, "examine": _examine}
        if isinstance(result, plx.Result):
            problem, solver, state = result.problem, result.solver, result.state
            self._readers |= {
                "load_trace": plx.io.load_trace,
                "load": lambda path: plx.io.load(path, like=state, problem=problem),
                "resume": lambda path: plx.io.load_result(path, problem, solver),
            }
        else:
            self._readers["load"] = plx.Eigendistortions.load

    def try_all(self, path, name, *, is_by_hand):
        """Read a damaged file by every reader.

        What is taken must be what was saved, unless the file was made by hand, with a right digest.
        """
        for reader, read in self._readers.items():
            try:
                found = read(path)
            except ValueError as error:
                if str(path) not in str(error):
                    self.failures.append(f"{name}: {reader} does not name the file: {error}")
            except Exception as error:
                self.failures.append(f"{name}: {reader} raised {type(error).__name__}: {error}")
            else:
                self.num_accepted += 1
                if not is_by_hand and not self._is_whole(reader, found):
                    self.failures.append(f"{name}: {reader} took other values")

    def _is_whole(self, reader, found):
        result = self._result
        if reader == "examine" or not isinstance(result, plx.Result):
            wanted = found if reader == "examine" else result
        elif reader == "load_result":
            found, wanted = (found.image, found.trace), (result.image, result.trace)
        elif reader == "resume":
            found, wanted = (found.state, found.trace), (result.state, result.trace)
        else:
            wanted = {"load": result.state, "load_trace": result.trace}[reader]
        return _leaves(found) == _leaves(wanted)


def _examine(path):
    with contextlib.redirect_stdout(io.StringIO()):
        return plx.io.examine_saved_synthesis(path)


def _leaves(tree):
    pairs = jax.tree.leaves(
        jax.tree.map(lambda x: vars(x) if isinstance(x, plx.Trace) else x, tree)
    )
    return [np.asarray(leaf).tobytes() for leaf in pairs if hasattr(leaf, "dtype")]


def damage_bytes(content, draw):
    """Change, cut or repeat a part of a file, as a disk or a transfer does."""
    content, length = bytearray(content), len(content)
    start = draw.randrange(length)
    size = min(2 ** draw.randrange(12), length - start)
    kind = draw.choice(("flip", "set", "cut", "drop", "repeat", "zero"))
    if kind == "flip":
        content[start] ^= 1 << draw.randrange(8)
    elif kind == "set":
        content[start : start + size] = draw.randbytes(size)
    elif kind == "cut":
        del content[start:]
    elif kind == "drop":
        del content[start : start + size]
    elif kind == "repeat":
        content[start:start] = content[start : start + size]
    else:
        content[start : start + size] = bytes(size)
    return bytes(content), kind


def damage_by_hand(path, draw):
    """Rewrite a file with another text or other arrays, and a right digest."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files if not name.startswith("plenoptax.")}
        meta = json.loads(str(file["plenoptax.json"]))
    kinds = {"text": _change_text, "array": _change_array, "members": _change_members}
    kind = draw.choice([*kinds])
    what = kinds[kind](meta, arrays, draw)
    if kind != "text":
        meta.pop("arrays")
    try:
        _archive.write_archive(path, meta, arrays)
    except (TypeError, ValueError):
        # JSON or NumPy cannot write it.
        return None
    return f"{kind} {what}"


def _change_text(meta, arrays, draw):
    """Replace, drop or add a value anywhere in the text."""
    places = []

    def collect(node):
        items = node.items() if isinstance(node, dict) else enumerate(node)
        for name, part in items:
            places.append((node, name))
            if isinstance(part, dict | list):
                collect(part)

    collect({name: part for name, part in meta.items() if name not in ("arrays", "format")})
    node, name = draw.choice(places)
    # The first level of the copy above is not that of the text.
    node = meta if name in meta and node.keys() <= meta.keys() else node
    deep = []
    for _ in range(200):
        deep = [deep]
    value = draw.choice((None, True, -1, 10**30, "x", "", [], {}, deep, {"named": {}}, "float32[]"))
    if isinstance(node, dict) and draw.random() < 0.3:
        del node[name]
        return f"without {name}"
    node[name] = value
    return f"{name} = {str(value)[:20]}"


def _change_array(meta, arrays, draw):
    name = draw.choice(sorted(arrays))
    array = arrays[name]
    change = draw.choice(("dtype", "shape", "size", "nan", "negative", "huge"))
    if change == "dtype":
        arrays[name] = array.astype(draw.choice(("float64", "int8", "complex64", "U4")))
    elif change == "shape":
        arrays[name] = array[None]
    elif change == "size":
        arrays[name] = np.concatenate([np.ravel(array)] * 2)
    elif change == "nan":
        arrays[name] = np.full_like(array, np.nan) if array.dtype.kind == "f" else array
    else:
        arrays[name] = np.full_like(array, -3 if change == "negative" else 10**5 % 127)
    return f"{name} {change}"


def _change_members(meta, arrays, draw):
    name = draw.choice(sorted(arrays))
    change = draw.choice(("drop", "add", "rename", "swap"))
    if change == "swap":
        other = draw.choice(sorted(arrays))
        arrays[name], arrays[other] = arrays[other], arrays[name]
    elif change != "add":
        moved = arrays.pop(name)
        if change == "rename":
            arrays[f"{name}.x"] = moved
    else:
        arrays["added"] = np.zeros(3)
    return f"{change} {name}"


def fuzz(folder, results, count, *, seed):
    """Damage files, by bytes and by hand in turn, and read each by every reader.

    Returns:
        The failures, and how often a reader took a file.
    """
    folder, draw = pathlib.Path(folder), random.Random(seed)
    saved = {}
    for name, result in results.items():
        plx.io.save(folder / f"{name}.npz", result)
        saved[name] = (folder / f"{name}.npz").read_bytes()
    failures, num_accepted = [], 0
    for index in range(count):
        name = [*saved][index % len(saved)]
        path, readers = folder / f"damaged {name}.npz", Readers(results[name])
        path.write_bytes(saved[name])
        is_by_hand = index // len(saved) % 2 == 1
        if is_by_hand:
            kind = damage_by_hand(path, draw)
        else:
            content, kind = damage_bytes(saved[name], draw)
            path.write_bytes(content)
        readers.try_all(path, f"{index} {name} {kind}", is_by_hand=is_by_hand)
        failures += readers.failures
        num_accepted += readers.num_accepted
    return failures, num_accepted


def rewrite_members(path, change):
    """Write a zip archive again with changed members, a list of pairs of name and content."""
    with zipfile.ZipFile(path) as file:
        members = [(info.filename, file.read(info)) for info in file.infolist()]
    with zipfile.ZipFile(path, "w") as file:
        for name, content in change(members):
            file.writestr(name, content)
