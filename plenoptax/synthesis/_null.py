"""Representations of unrelated images, the baseline for similarity."""

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from .._answers import answer, name_of
from .._archive import Archive, DamagedFileError, look_up, write_archive
from .._axes import as_shape
from .._compiled import call_compiled
from .._rules import checked, SIZES
from .._traces import digest_program, trace
from .._tree import flatten_real, is_array
from .._types import PyTree
from .._writing import cache_folder
from ..data import load_images


# Fewer images are no sample of anything.
_FEWEST = 8

# The largest of fewer correlations says little about what unrelated images reach.
_FEWEST_FOR_SUCCESS = 200

_ARRAYS = ("mean", "standard_deviation", "z_scores", "sources")


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Null:
    """A null: a model's representations of unrelated images, the baseline for similarity.

    `plenoptax.null` makes one from your images. Print it for a description.

    Attributes:
        mean: The mean over images.
        standard_deviation: The standard deviation over images.
        z_scores: The representations minus the mean, over the standard deviation.
        sources: The photograph that each image comes from. Only images of different photographs are
            unrelated.
        name: A description of the images.
        digest: The SHA-256 hash of the images; empty if they come with a model.
    """

    mean: Float[np.ndarray, " number"]
    standard_deviation: Float[np.ndarray, " number"]
    z_scores: Float[np.ndarray, "image number"]
    sources: Int[np.ndarray, " image"]
    name: str
    digest: str = ""

    @property
    def num_unrelated(self) -> int:
        """The number of photographs, which is that of images no two of which are related."""
        return len(np.unique(self.sources))

    @property
    def num_pairs(self) -> int:
        """The number of pairs of unrelated images."""
        _, counts = np.unique(self.sources, return_counts=True)
        return int(len(self.sources) ** 2 - np.sum(counts**2)) // 2

    @property
    def is_large_enough(self) -> bool:
        """Whether a synthesis that beats all pairs succeeds; otherwise this is unknown."""
        return self.num_unrelated >= _FEWEST_FOR_SUCCESS

    def __str__(self) -> str:
        of = f" of {self.num_unrelated} photographs"
        text = (
            f"{self.name}: {len(self.sources)} images"
            f"{of if self.num_unrelated < len(self.sources) else ''}, {self.num_pairs} pairs of "
            "unrelated images"
        )
        return f"{text}, SHA-256 {self.digest[:12]}" if self.digest else text

    def __repr__(self) -> str:
        return f"Null({self})"


@checked(image_shape=SIZES)
def null(
    images: ArrayLike | str | os.PathLike,
    model: Callable,
    *,
    sources: Sequence[Hashable] | None = None,
    name: str | None = None,
    image_shape: tuple[int, int] | None = None,
    as_gray: bool = True,
    linear: bool = False,
) -> Null:
    """Measure a null, the baseline for similarity: how alike unrelated images are to a model.

    `plenoptax.Result.report` says that a synthesis succeeded if its image is closer to the target
    than any two of at least 200 unrelated images. Use images of the kind that your claim is about,
    of the size of your target.

    Args:
        images: At least 8 images that the model takes, along the first axis; or a folder of image
            files. The representations of a folder are kept in the cache folder of the operating
            system, or in the one that the environment variable ``PLENOPTAX_CACHE_DIR`` names, and
            found again by a hash of files, model and options.
        model: The model. Its representations of all images must have the same size.
        sources: For each image of an array, the photograph that it is cut from, such as a number or
            a file name. Crops of one photograph are not unrelated. By default each image is a
            photograph of its own, as each file of a folder is.
        name: What the images are, for reports. By default ``"your images"``, or the name of the
            folder.
        image_shape: The height and width of the crop from the center of each file, by default the
            entire image. Only for a folder.
        as_gray: Whether files are read in gray, as in `plenoptax.load_images`. Only for a folder.
        linear: Whether files are read as linear light, as in `plenoptax.load_images`. Only for a
            folder.

    Returns:
        The null, for `plenoptax.Result.report`.

    Raises:
        ValueError: If there are fewer than 8 images, all are of one photograph, two are equal, a
            representation is not finite, or `sources` has another length; if a file of a folder
            cannot be read or is smaller than `image_shape`; or if an option for folders comes with
            an array.

    References:
        Feather et al. (2023), Nature Neuroscience 26, 2017-2034, for nulls of unrelated images.

    Example:
        >>> import jax, plenoptax as plx
        >>> images = jax.random.uniform(jax.random.key(0), (10, 1, 16, 16))
        >>> null = plx.null(images, plx.models.Gaussian(3), name="white noise")
        >>> null.num_pairs
        45
        >>> null.is_large_enough
        False
    """
    if isinstance(images, str | os.PathLike):
        if sources is not None:
            raise ValueError(
                "sources must be None for a folder, whose files are different photographs, got "
                f"{len(sources)} sources. Load the images and give them as an array."
            )
        size = None if image_shape is None else as_shape(image_shape)
        return _null_of_folder(Path(images), model, name, size, as_gray, linear)
    if image_shape is not None or linear or not as_gray:
        raise ValueError(
            "image_shape, as_gray and linear must be left alone for an array of images, got "
            f"{image_shape}, {as_gray} and {linear}. They say how files of a folder are read."
        )
    return _null_of_array(np.asarray(images), model, name, sources)


def null_of_model(model: Callable, target: PyTree) -> Null | None:
    """Return a model's own null; None if it has none, or one of another size than the target."""
    own = answer(model, "null_statistics", lambda: None)()
    if own is None or own.mean.size != flatten(target).size:
        return None
    return Null(
        own.mean,
        own.standard_deviation,
        own.z_scores,
        own.sources,
        f"images that come with {name_of(model)}",
    )


def as_null(images: "Null | Array | str | os.PathLike", model: Callable, target: PyTree) -> Null:
    """Return a null as it is, or that of images or a folder; check that it fits the target."""
    found = images if isinstance(images, Null) else null(images, model)
    wanted = flatten(target).size
    if found.mean.size != wanted:
        raise ValueError(
            f"The representations of null must have {wanted} values as that of the target, got "
            f"{found.mean.size}. Make it with the model of this result and images of the size of "
            "the target, with as many channels."
        )
    return found


def flatten(representation: PyTree) -> Float[np.ndarray, " number"]:
    """Return the values of a representation as one vector in float64."""
    return np.asarray(flatten_real(representation, jnp.result_type(float)), np.float64)


def _null_of_array(
    images: Float[np.ndarray, "image *shape"],
    model: Callable,
    name: str | None,
    sources: Sequence[Hashable] | None,
) -> Null:
    if sources is None:
        sources = range(len(images))
    if len(sources) != len(images):
        raise ValueError(
            f"sources must name the photograph of each of the {len(images)} images, got "
            f"{len(sources)} names."
        )
    numbers = {source: number for number, source in enumerate(dict.fromkeys(sources))}
    indices = np.asarray([numbers[source] for source in sources])
    digests = [hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest() for image in images]
    _check_images(len(numbers), digests, [f"number {i}" for i in range(len(images))])
    _check_model(model, images[0])
    shape = " x ".join(map(str, images.shape[1:]))
    found = _measure(images, model, indices, hashlib.sha256(b"".join(digests)).hexdigest())
    return dataclasses.replace(found, name=f"{name or 'your images'}, shape {shape}")


def _null_of_folder(
    folder: Path,
    model: Callable,
    name: str | None,
    image_shape: tuple[int, int] | None,
    as_gray: bool,
    linear: bool,
) -> Null:
    if not folder.is_dir():
        raise ValueError(
            f"images must be an array of images or a folder of image files, got {folder}, which is "
            "no folder."
        )
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name[0] != ".")
    digests = [hashlib.sha256(path.read_bytes()).digest() for path in files]
    _check_images(len(files), digests, [path.name for path in files])
    digest = hashlib.sha256(b"".join(digests)).hexdigest()
    light = "linear light" if linear else "coded as in the files"
    first = _read(files[:1], image_shape, as_gray, linear)[0]
    _check_model(model, first)
    shape = " x ".join(map(str, first.shape))
    text = f"{name or folder.name}, shape {shape}, {'gray' if as_gray else 'color'}, {light}"
    cached = _cache_of(digest, model, first, linear)
    found = _load(cached)
    if found is None:
        images = _read(files, image_shape, as_gray, linear)
        found = _measure(images, model, np.arange(len(files)), digest)
        _store(cached, found)
    return dataclasses.replace(found, name=text)


def _cache_of(digest: str, model: Callable, image: np.ndarray, linear: bool) -> Path:
    """Return the file in the cache for images with a hash, a model, and one of the images."""
    shape = jax.ShapeDtypeStruct(image.shape, image.dtype)
    # Two functions of one name are different models, and so are two modules with other numbers.
    key = hashlib.sha256(digest_program(trace("model", model, shape)))
    for leaf in filter(is_array, jax.tree.leaves(model)):
        key.update(np.ascontiguousarray(np.asarray(leaf)).tobytes())
    key.update(f"{digest}, {image.shape}, {image.dtype}, {linear}".encode())
    return cache_folder() / "nulls" / f"{key.hexdigest()[:32]}.npz"


def _read(
    files: Sequence[Path], image_shape: tuple[int, int] | None, as_gray: bool, linear: bool
) -> Float[np.ndarray, "image channel height width"]:
    images = []
    for path in files:
        image = load_images(path, as_gray, linear=linear)
        height, width = image_shape or image.shape[-2:]
        if image.shape[-2] < height or image.shape[-1] < width:
            raise ValueError(
                f"Each file must have at least {height} x {width} pixels, got {image.shape[-2]} x "
                f"{image.shape[-1]} in {path}. Choose a smaller image_shape."
            )
        top, left = (image.shape[-2] - height) // 2, (image.shape[-1] - width) // 2
        images.append(np.asarray(image[:, top : top + height, left : left + width]))
        if images[-1].shape != images[0].shape:
            raise ValueError(
                f"The files must have one size, got {images[0].shape[-2:]} in {files[0].name} and "
                f"{images[-1].shape[-2:]} in {path.name}. Give image_shape."
            )
    return np.stack(images)


def _check_model(model: Callable, image: Float[np.ndarray, "*shape"]) -> None:
    """Raise an error if a model does not take an image; evaluate only shapes."""
    try:
        eqx.filter_eval_shape(model, jnp.asarray(image))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"images must be images that the model takes, got the shape {image.shape}. Files of a "
            "folder have one channel, or three with as_gray=False, and the size image_shape. The "
            f"model says: {error}"
        ) from error


def _check_images(num_unrelated: int, digests: Sequence[bytes], names: Sequence[str]) -> None:
    if len(names) < _FEWEST or num_unrelated < 2:
        raise ValueError(
            f"A null must have at least {_FEWEST} images, not all of one photograph, got "
            f"{len(names)} of {num_unrelated}. Give images of {_FEWEST_FOR_SUCCESS} photographs or "
            "more, with which a synthesis can succeed."
        )
    known: dict[bytes, str] = {}
    for digest, name in zip(digests, names, strict=True):
        if digest in known:
            raise ValueError(
                f"The images of a null must differ, got the same image as {known[digest]} and as "
                f"{name}. Leave out one of them."
            )
        known[digest] = name


def _measure(
    images: Float[np.ndarray, "image *shape"],
    model: Callable,
    sources: Int[np.ndarray, " image"],
    digest: str,
) -> Null:
    rows = np.stack([flatten(call_compiled(model, jnp.asarray(image))) for image in images])
    if not np.isfinite(rows).all():
        index = int(np.argmax(~np.isfinite(rows).all(axis=1)))
        raise ValueError(
            f"The representation of each image of a null must be finite, got one of image {index} "
            "that is not. Look at this image."
        )
    mean, deviation = rows.mean(0), rows.std(0, ddof=1)
    z_scores = (rows - mean) / np.where(deviation > 0, deviation, 1)
    return Null(mean, deviation, z_scores, sources, "", digest)


def _store(path: Path, found: Null) -> None:
    """Write a null into the cache, which may be full or read-only."""
    meta = {"kind": "null", "digest": found.digest}
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_archive(path, meta, {name: getattr(found, name) for name in _ARRAYS})


def _load(path: Path) -> Null | None:
    """Read a null from the cache; None if it is not there or damaged."""
    try:
        with Archive(path) as archive, archive.reading():
            arrays = {name: archive.read(name) for name in _ARRAYS}
            digest = look_up(archive.meta, "digest", str)
    except (OSError, DamagedFileError):
        return None
    return Null(**arrays, name="", digest=digest)
