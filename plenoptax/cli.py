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

# The methods of two images.
_IN_PYTHON = {
    "geodesic": "takes two images: call plenoptax.geodesic(first, second, model) in Python",
    "conditional-geodesic": "takes a geodesic: call plenoptax.conditional_geodesic in Python",
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
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command in _IN_PYTHON:
        parser.error(f"{options.command} {_IN_PYTHON[options.command]}")
    _use_compilation_cache()
    # Messages that tifffile logs about a damaged file would precede the one line that says so.
    logging.getLogger("tifffile").addHandler(logging.NullHandler())
    written: list[str] = []
    try:
        return _run(options, written)
    except (ValueError, TypeError, OSError) as error:
        text = str(error)
        if isinstance(error, OSError) and error.filename:
            text = f"{error.filename!r} cannot be used: {error.strerror}"
        _say(f"plenoptax: {text}".splitlines()[0], sys.stderr)
        return 2
    except KeyboardInterrupt:
        what = f"wrote {', '.join(written)}" if written else "nothing was written"
        _say(f"plenoptax: interrupted; {what}", sys.stderr)
        return 130


def _run(options: argparse.Namespace, written: list[str]) -> int:
    """Run the method for each image; add the names of written files to `written`."""
    outputs = _check_outputs(options)
    images = [_read(name, options) for name in options.images]
    code = 0
    for name, image, out in zip(options.images, images, outputs, strict=True):
        made = options.method(image, options)
        facts = {"image": name, "model": options.model, "seed": options.seed, **made.facts}
        # The figure comes later: its failure must not lose a result.
        names = _write(made, facts, options, out)
        written += names
        if made.is_interrupted:
            made.lines.insert(0, "Interrupted: this is the result so far, without a figure.")
        elif _draw(made, _figure(out)):
            names.append(str(_figure(out)))
        else:
            code = 1
        *cautions, summary = made.lines
        code = max(code, *map(_say, [*cautions, f"{summary}; wrote {', '.join(names)}"]))
        if made.is_interrupted:
            break
    return code


def _write(
    made: _Made, facts: dict[str, Any], options: argparse.Namespace, out: pathlib.Path
) -> list[str]:
    """Write the images and the numbers, all or none; return the names of the files."""
    files: dict[pathlib.Path, bytes] = {
        path: encode_image(path, made.images[end], clip=True)
        for path, end in _images(options, out).items()
    }
    files[out.with_suffix(".json")] = json.dumps(facts, indent=1).encode()
    write_atomically(files)
    return [str(path) for path in files]


def _draw(made: _Made, path: pathlib.Path) -> bool:
    """Draw the figure and write it; where that fails, say so and return False."""
    content = io.BytesIO()
    try:
        made.draw().savefig(content, format="png")
        write_atomically({path: content.getvalue()})
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
    command = _add(
        commands,
        "metamer",
        _metamer,
        "make an image that a model cannot distinguish from the given one",
    )
    _add_model(command, "portilla-simoncelli", "the representation that both images share")
    _add_steps(command, 500)
    command = _add(commands, "metamer-ctf", _metamer_ctf, "make a texture from coarse to fine")
    command.set_defaults(smallest=_SMALLEST_TEXTURE)
    _add_steps(command, 500)
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
    for name, text in _IN_PYTHON.items():
        commands.add_parser(name, help=text).add_argument("image", nargs="*")
    return parser


def _add(commands: Any, name: str, method: Callable[..., _Made], text: str) -> Any:
    """Add the command of a method of one image, with the arguments that all share."""
    command = commands.add_parser(
        name,
        help=text,
        description="For each image, write the result as PNG, a figure of it (OUT-status.png) and "
        "its numbers (OUT.json).",
    )
    command.set_defaults(method=method, model=None, smallest=1)
    photographs = ", ".join(data.PHOTOGRAPHS)
    command.add_argument(
        "images", nargs="+", metavar="image", help=f"an image file, or one of {photographs}"
    )
    command.add_argument("--seed", type=_seed, default=0, help="of the random start (%(default)s)")
    command.add_argument(
        "--out",
        help="the file of the result, a PNG; for several images the folder of the results, which "
        f"are named after the images ({name}.png)",
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


def _check_outputs(options: argparse.Namespace) -> list[pathlib.Path]:
    """Return the file of the result of each image, after checking that all can be written."""
    outputs = _outputs(options)
    inputs = [path for path in map(pathlib.Path, options.images) if path.exists()]
    seen: set[pathlib.Path] = set()
    for out in outputs:
        if out.suffix.lower() != ".png":
            raise ValueError(f"--out must be a .png file or an existing folder, got {str(out)!r}.")
        for path in [*_images(options, out), _figure(out), out.with_suffix(".json")]:
            check_writable(path)
            if path in seen:
                raise ValueError(
                    f"The images must have different names, got two that give {str(path)!r}."
                )
            if path.exists() and any(path.samefile(image) for image in inputs):
                raise FileExistsError(
                    f"{str(path)!r} is the image itself, which would be lost: give another --out"
                )
            seen.add(path)
    return outputs


def _outputs(options: argparse.Namespace) -> list[pathlib.Path]:
    if options.out == "":
        raise ValueError("--out must be the name of a file or a folder, got ''.")
    given = None if options.out is None else pathlib.Path(options.out)
    is_folder = given is not None and (given.is_dir() or str(options.out).endswith(os.sep))
    if len(options.images) == 1 and not is_folder:
        return [pathlib.Path(f"{options.command}.png") if given is None else given]
    if given is not None and not is_folder:
        raise ValueError(f"--out must be a folder for several images, got {options.out!r}.")
    folder = pathlib.Path() if given is None else given
    return [folder / f"{pathlib.Path(name).stem}.png" for name in options.images]


def _images(options: argparse.Namespace, out: pathlib.Path) -> dict[pathlib.Path, str]:
    """The files of the images that a method makes, each with the end of its name."""
    return {out.with_name(f"{out.stem}{end}{out.suffix}"): end for end in _ends(options)}


def _ends(options: argparse.Namespace) -> list[str]:
    if options.command == "mad":
        return [f"-{name}-{end}" for name in options.metric for end in ("min", "max")]
    return ["-most", "-least"] if options.command == "eigendistortions" else [""]


def _figure(out: pathlib.Path) -> pathlib.Path:
    return out.with_name(f"{out.stem}-status.png")


def _read(name: str, options: argparse.Namespace) -> Array:
    """Read an image in gray, and check that it is large enough."""
    image = _read_gray(name)
    height, width = image.shape[-2:]
    _, smallest = _MODELS.get(options.model, (None, options.smallest))
    if min(height, width) < smallest:
        raise ValueError(
            f"{name} must have at least {smallest} pixels along each side, got {height} by "
            f"{width}. Give a larger image, or --model gaussian."
        )
    return image


def _read_gray(name: str) -> Array:
    is_file = pathlib.Path(name).is_file()
    if name in data.PHOTOGRAPHS and not pathlib.Path(name).exists():
        image = data.get(name, as_gray=False)
    elif is_file:
        image = load_images(name, as_gray=False)
    else:
        raise FileNotFoundError(
            f"{name!r} is neither an image file nor one of {', '.join(data.PHOTOGRAPHS)}"
        )
    if bool(jnp.all(image == image[:1])):
        return image[:1]
    _say(
        f"{name} is in color, and these models measure each channel separately. Its gray version "
        "is used, as plx.load_images(..., as_gray=True) returns it."
    )
    return load_images(name) if is_file else data.get(name, as_gray=True)


def _metamer(image: Array, options: argparse.Namespace) -> _Made:
    build, _ = _MODELS[options.model]
    result = metamer(image, build(image), key=jax.random.key(options.seed), max_steps=options.steps)
    return _made_of(result)


def _metamer_ctf(image: Array, options: argparse.Namespace) -> _Made:
    model = models.PortillaSimoncelli(image.shape[-2:])
    named = {"key": jax.random.key(options.seed), "max_steps": options.steps}
    return _made_of(metamer_ctf(image, model, **named))


def _made_of(result: Result) -> _Made:
    """The parts of a metamer. A user who interrupts it does not wait for its report."""
    trace, is_interrupted = result.trace, bool(result.status == Status.interrupted)
    report: Any = None
    try:
        report = None if is_interrupted else result.report()
    except KeyboardInterrupt:
        is_interrupted = True
    facts = _run_facts(result) | {
        "success": None if report is None else report.success,
        "criterion": None if report is None else report.criterion,
        "cautions": [] if report is None else report.cautions,
        "stages": "" if report is None else report.stages,
    }
    # Without them, the small loss of an early stage looks like a finished synthesis.
    stages = [f"stages: {facts['stages']}"] if facts["stages"] else []
    summary = f"loss {trace.losses[-1]:.6g} after {len(trace)} steps"
    return _Made(
        {"": result.image},
        facts,
        lambda: plot.synthesis_status(result),
        [*facts["cautions"], *stages, summary],
        is_interrupted,
    )


def _eigendistortions(image: Array, options: argparse.Namespace) -> _Made:
    build, _ = _MODELS[options.model]
    found: Any = eigendistortions(image, build(image), key=jax.random.key(options.seed))
    report = found.report()
    changes = found.eigendistortions[jnp.array([0, -1])]
    # The most and the least visible change, around mid-gray and at full contrast.
    shown = 0.5 + 0.5 * changes / jnp.max(jnp.abs(changes), axis=(1, 2, 3), keepdims=True)
    facts = {
        "status": report.status,
        "eigenvalues": found.eigenvalues.tolist(),
        "eigenindex": found.eigenindex.tolist(),
        "provenance": found.provenance,
    }
    values = ", ".join(f"{value:.4g}" for value in found.eigenvalues)
    return _Made(
        dict(zip(("-most", "-least"), shown, strict=True)),
        facts,
        lambda: plot.eigendistortion_imshow_all(found),
        [f"eigenvalues {values}"],
    )


def _mad(image: Array, options: argparse.Namespace) -> _Made:
    first, second = options.metric
    results = mad_competition_set(
        image,
        _METRICS[first],
        _METRICS[second],
        key=jax.random.key(options.seed),
        max_steps=options.steps,
    )
    named = {
        f"-{first}-min": results.metric1_min,
        f"-{first}-max": results.metric1_max,
        f"-{second}-min": results.metric2_min,
        f"-{second}-max": results.metric2_max,
    }
    changes = [
        f"{end[1:]} {abs(one.trace.losses[0]):.4g} -> {abs(one.trace.losses[-1]):.4g}"
        for end, one in named.items()
    ]
    return _Made(
        {end: one.image for end, one in named.items()},
        {"metrics": [first, second], **{end[1:]: _run_facts(one) for end, one in named.items()}},
        lambda: plot.mad_imshow_all(*results, first, second),
        [", ".join(changes)],
        any(bool(one.status == Status.interrupted) for one in results),
    )


def _run_facts(result: Result) -> dict[str, Any]:
    """The numbers of one synthesis."""
    trace = result.trace
    return {
        "status": Status[result.status],
        "steps": len(trace),
        "losses": trace.losses.tolist(),
        "penalties": trace.penalties.tolist(),
        "terms": {name: term.tolist() for name, term in trace.terms.items() if term.ndim == 1},
        "provenance": trace.provenance,
    }
