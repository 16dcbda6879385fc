"""The command line: ``python -m plenoptax metamer brick``."""

import argparse
import io
import json
import logging
import os
import pathlib
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import pooch
from jaxtyping import Array

from . import data, models, plot
from ._writing import write_atomically
from .data import load_images
from .data._save import encode_image
from .solve import Status
from .synthesis import metamer, Report, Result


# Each with the shortest side in pixels of an image that it takes: the seven shifts of the texture
# statistics need as many samples in the lowpass residual, which has one for every 16 pixels.
_MODELS = {
    "portilla-simoncelli": (lambda image: models.PortillaSimoncelli(image.shape[-2:]), 6 * 16 + 1),
    "gaussian": (lambda image: models.Gaussian((31, 31)), 1),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: Those of the command line by default.

    Returns:
        The exit code: 0, or 2 if the arguments are of no use, with one line that says why; or 130
        if it was interrupted while there was nothing to write yet, or while it wrote.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    _use_compilation_cache()
    # What tifffile logs of a damaged file would stand beside the one line that says so.
    logging.getLogger("tifffile").addHandler(logging.NullHandler())
    try:
        _metamer(options)
    except (ValueError, TypeError, OSError) as error:
        print(f"plenoptax: {error}".splitlines()[0], file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("plenoptax: interrupted; nothing was written", file=sys.stderr)
        return 130
    return 0


class _Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, as all errors here are said."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"plenoptax: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="plenoptax", description=__doc__)
    version = f"%(prog)s {metadata.version('plenoptax')}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser(
        "metamer",
        help="make an image that a model cannot tell from a target",
        description="Write the metamer of an image, a figure of how it came about (OUT-status.png) "
        "and the numbers (OUT.json).",
    )
    command.add_argument("image", help=f"an image file, or one of {', '.join(data.PHOTOGRAPHS)}")
    command.add_argument(
        "--model",
        choices=sorted(_MODELS),
        default="portilla-simoncelli",
        help="what the metamer has in common with the image: the statistics of its texture, or "
        "what a Gaussian blur leaves of it (%(default)s)",
    )
    command.add_argument("--steps", type=_count, default=500, help="at most so many (%(default)s)")
    command.add_argument("--seed", type=_seed, default=0, help="of the initial noise (%(default)s)")
    command.add_argument(
        "--out",
        type=pathlib.Path,
        default=pathlib.Path("metamer.png"),
        help="the file of the metamer, a PNG (%(default)s)",
    )
    return parser


def _count(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, such as 1000") from None
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return number


def _seed(text: str) -> int:
    number = _count(text)
    # Without 64-bit types, JAX drops the higher bits: two seeds would give the same noise.
    if number >= 2**32:
        raise argparse.ArgumentTypeError(f"{text} is above {2**32 - 1}, the largest seed")
    return number


def _use_compilation_cache() -> None:
    """Keep compiled programs between runs, unless the user has said where, or not to."""
    if jax.config.jax_compilation_cache_dir is None:  # pyright: ignore[reportAttributeAccessIssue]
        jax.config.update("jax_compilation_cache_dir", str(pooch.os_cache("plenoptax") / "jax"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


def _metamer(options: argparse.Namespace) -> None:
    out = _check_out(options.out, pathlib.Path(options.image))
    image = _read(options.image)
    build, smallest = _MODELS[options.model]
    height, width = image.shape[-2:]
    if min(height, width) < smallest:
        raise ValueError(
            f"{options.image} has {height} by {width} pixels, but {options.model} needs at least "
            f"{smallest} along each side: give a larger image, or --model gaussian"
        )
    result = metamer(image, build(image), key=jax.random.key(options.seed), max_steps=options.steps)
    report: Any = result.report()
    written = _write(result, out, _facts(result, report, options))
    for caution in report.cautions:
        print(caution)
    if result.status == Status.interrupted:
        print("Interrupted: this is the metamer so far.")
    print(f"loss {result.trace.losses[-1]:.6g} after {len(result.trace)} steps; wrote {written}")


def _check_out(out: pathlib.Path, image: pathlib.Path) -> pathlib.Path:
    if out.suffix.lower() != ".png":
        raise ValueError(f"the output is a .png file, not {out.name!r}")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"the folder {str(out.parent)!r} does not exist")
    if not os.access(out.parent, os.W_OK):
        raise PermissionError(f"the folder {str(out.parent)!r} cannot be written to")
    for path in _outputs(out):
        if path.is_dir():
            raise IsADirectoryError(f"{str(path)!r} is a folder")
        if path.exists() and image.exists() and path.samefile(image):
            raise FileExistsError(
                f"{str(path)!r} is the image itself, which would be lost: give another --out"
            )
    return out


def _outputs(out: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path, pathlib.Path]:
    """The files of the image, of the figure and of the numbers."""
    return out, out.with_name(f"{out.stem}-status.png"), out.with_suffix(".json")


def _read(name: str) -> Array:
    if name in data.PHOTOGRAPHS and not pathlib.Path(name).exists():
        image = data.get(name, as_gray=False)
    elif pathlib.Path(name).is_file():
        image = load_images(name, as_gray=False)
    else:
        raise FileNotFoundError(
            f"{name!r} is neither an image file nor one of {', '.join(data.PHOTOGRAPHS)}"
        )
    if bool(jnp.all(image == image[:1])):
        return image[:1]
    print(
        f"{name} is in color, and each channel would be measured alone: its gray version is used, "
        "as plx.load_images(..., as_gray=True) gives it."
    )
    is_file = pathlib.Path(name).is_file()
    return load_images(name) if is_file else data.get(name, as_gray=True)


def _facts(result: Result, report: Report, options: argparse.Namespace) -> dict[str, Any]:
    trace = result.trace
    return {
        "image": options.image,
        "model": options.model,
        "seed": options.seed,
        "status": Status[result.status],
        "success": report.success,
        "criterion": report.criterion,
        "cautions": report.cautions,
        "steps": len(trace),
        "losses": trace.losses.tolist(),
        "penalties": trace.penalties.tolist(),
        "terms": {name: term.tolist() for name, term in trace.terms.items() if term.ndim == 1},
        "provenance": trace.provenance,
    }


def _write(result: Result, out: pathlib.Path, facts: dict[str, Any]) -> str:
    """Write the three files, all or none."""
    image, status, numbers = _outputs(out)
    figure = io.BytesIO()
    plot.synthesis_status(result).savefig(figure, format="png")
    contents = {
        image: encode_image(image, result.image, clip=True),
        status: figure.getvalue(),
        numbers: json.dumps(facts, indent=1).encode(),
    }
    write_atomically(contents)
    return f"{image}, {status}, {numbers}"
