"""The command line: ``python -m plenoptax metamer brick``."""

import argparse
import dataclasses
import io
import json
import logging
import os
import pathlib
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import pooch
from jaxtyping import Array

from . import data, metric, models, plot
from ._writing import check_writable, write_atomically
from .data import load_images
from .data._save import encode_image
from .solve import Status
from .synthesis import eigendistortions, mad_competition_set, metamer, metamer_ctf, Result


# The shortest side in pixels of an image for the texture model: the seven shifts of its statistics
# need as many samples in the lowpass residual, which has one for every 16 pixels.
_SMALLEST_TEXTURE = 6 * 16 + 1

_MODELS: dict[str, tuple[Callable[[Array], Any], int]] = {
    "portilla-simoncelli": (
        lambda image: models.PortillaSimoncelli(image.shape[-2:]),
        _SMALLEST_TEXTURE,
    ),
    "gaussian": (lambda image: models.Gaussian((31, 31)), 1),
    "on-off": (lambda image: models.OnOff((31, 31), pretrained=True), 16),
}

_METRICS = {
    "mse": metric.mse,
    "ssim": metric.ssim_distance,
    "ms-ssim": metric.ms_ssim_distance,
    "nlpd": metric.nlpd,
}

# Methods of two images, by their function.
_IN_PYTHON = {
    "geodesic": "plenoptax.geodesic(first, second, model)",
    "conditional-geodesic": "plenoptax.conditional_geodesic(geodesic, constraint)",
}


@dataclasses.dataclass(frozen=True)
class _Made:
    """What a method made of one image.

    Attributes:
        images: The images to write, by the end of their names.
        facts: The numbers to write.
        draw: Draws the figure.
        lines: What to print.
        is_interrupted: Whether the user interrupted the method.
    """

    images: dict[str, Array]
    facts: dict[str, Any]
    draw: Callable[[], Any]
    lines: list[str]
    is_interrupted: bool = False


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: Those of the command line by default.

    Returns:
        The exit code: 0; 1 if the results are written but their figure or their summary is not; 2
        if the arguments cannot be used, with one line that says why; or 130 if the command was
        interrupted before it had anything to write.
    """
    options = _parser().parse_args(arguments)
    _use_compilation_cache()
    # Messages that tifffile logs about a damaged file would precede the one line that says so.
    logging.getLogger("tifffile").addHandler(logging.NullHandler())
    written: list[str] = []
    try:
        return _run(options, written)
    except (ValueError, TypeError, OSError) as error:
        _say(f"plenoptax: {error}".splitlines()[0], sys.stderr)
        return 2
    except KeyboardInterrupt:
        what = f"wrote {', '.join(written)}" if written else "nothing was written"
        _say(f"plenoptax: interrupted; {what}", sys.stderr)
        return 130


def _run(options: argparse.Namespace, written: list[str]) -> int:
    """Run the method for each image; add the names of written files to `written`."""
    outputs = _check_outputs(options)
    images = [_read(name) for name in options.images]
    for name, image in zip(options.images, images, strict=True):
        _check_size(name, image, options.model)
    code = 0
    for name, image, out in zip(options.images, images, outputs, strict=True):
        made = options.method(image, options)
        facts = {"image": name, "model": options.model, "seed": options.seed, **made.facts}
        files = {
            **{path: encode_image(path, made.images[end], clip=True) for end, path in _images(options, out).items()},
            out.with_suffix(".json"): json.dumps(facts, indent=1).encode(),
        }
        write_atomically(files)
        names = [str(path) for path in files]
        written += names
        for line in made.lines[:-1]:
            code = max(code, _say(line))
        if made.is_interrupted:
            _say("Interrupted: this is the result so far, without a figure.")
            return max(code, _say(f"{made.lines[-1]}; wrote {', '.join(names)}"))
        figure = _figure(out)
        if _draw(made, figure):
            names.append(str(figure))
        else:
            code = 1
        code = max(code, _say(f"{made.lines[-1]}; wrote {', '.join(names)}"))
    return code


def _draw(made: _Made, path: pathlib.Path) -> bool:
    """Draw the figure and write it; where that fails, say so and return False."""
    content = io.BytesIO()
    try:
        made.draw().savefig(content, format="png")
        write_atomically({path: content.getbuffer()})
    except KeyboardInterrupt:
        _say(f"plenoptax: interrupted; the figure {path} was not drawn", sys.stderr)
        return False
    # The results are written: whatever is wrong with their figure must not hide that.
    except Exception as error:
        _say(f"plenoptax: the figure {path} was not drawn: {error}".splitlines()[0], sys.stderr)
        return False
    return True


def _say(text: str, stream: Any = None) -> int:
    """Print a line; return 1 if it could not be printed whole, else 0."""
    stream = sys.stdout if stream is None else stream
    try:
        try:
            print(text, file=stream, flush=True)
        except UnicodeEncodeError:
            print(text.encode("ascii", "backslashreplace").decode(), file=stream, flush=True)
    except OSError:
        # Closed or full. Python would fail once more when it ends and writes what is left.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        return 1
    return 0


class _Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, like all errors here."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"plenoptax: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="plenoptax",
        description="Make stimuli that show what a model of vision sees and what it is blind to.",
    )
    version = f"%(prog)s {metadata.version('plenoptax')}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(dest="command", required=True)
    command = _add(commands, "metamer", _metamer, "make an image that a model cannot tell from it")
    _add_model(command, "portilla-simoncelli", "the representation that both images share")
    _add_steps(command, 500)
    _add(commands, "metamer-ctf", _metamer_ctf, "make a texture metamer from coarse to fine")
    _add_steps(commands.choices["metamer-ctf"], 500)
    command = _add(
        commands, "eigendistortions", _eigendistortions, "find the most and least visible changes"
    )
    _add_model(command, "on-off", "the model that sees the changes")
    command = _add(commands, "mad", _mad, "let two metrics compete, in four images")
    command.add_argument(
        "--metric",
        nargs=2,
        choices=sorted(_METRICS),
        default=("ssim", "mse"),
        metavar=("FIRST", "SECOND"),
        help=f"the two metrics, of {', '.join(sorted(_METRICS))} (ssim mse)",
    )
    _add_steps(command, 500)
    for name, call in _IN_PYTHON.items():
        text = f"takes two images: call {call} in Python"
        commands.add_parser(name, help=text).set_defaults(call=call)
    return parser


def _add(commands: Any, name: str, method: Callable[..., _Made], text: str) -> Any:
    """Add the command of a method of one image, with the arguments that all share."""
    command = commands.add_parser(
        name,
        help=text,
        description=f"Write the result of each image as PNG, a figure of it (OUT-status.png) and its "
        "numbers (OUT.json).",
    )
    command.set_defaults(method=method, model=None, steps=None)
    photographs = ", ".join(data.PHOTOGRAPHS)
    command.add_argument(
        "images", nargs="+", metavar="image", help=f"an image file, or one of {photographs}"
    )
    command.add_argument("--seed", type=_seed, default=0, help="of the random start (%(default)s)")
    command.add_argument(
        "--out",
        help=f"the file of the result, a PNG, or for several images a folder, where files are named "
        f"after the images ({name}.png)",
    )
    return command


def _add_model(command: Any, default: str, text: str) -> None:
    command.add_argument(
        "--model", choices=sorted(_MODELS), default=default, help=f"{text} (%(default)s)"
    )


def _add_steps(command: Any, default: int) -> None:
    command.add_argument(
        "--steps", type=_count, default=default, help="the largest number of steps (%(default)s)"
    )


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
    """Keep compiled programs between runs, unless the user has chosen a folder or none."""
    if jax.config.jax_compilation_cache_dir is None:  # pyright: ignore[reportAttributeAccessIssue]
        jax.config.update("jax_compilation_cache_dir", str(pooch.os_cache("plenoptax") / "jax"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
