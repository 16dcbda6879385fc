import importlib.resources

from jaxtyping import Array, Float

from ._load import load_images


# Whether each photograph is in color.
_IN_COLOR = {
    "astronaut": True,
    "brick": False,
    "camera": False,
    "chelsea": True,
    "grass": False,
    "gravel": False,
}

PHOTOGRAPHS = tuple(_IN_COLOR)


def get(item_name: str, as_gray: bool | None = None) -> Float[Array, "channel 256 256"]:
    """Load one of the photographs of this package by its name.

    They are in the public domain or CC0; ``photographs/README.md`` names their sources.

    Args:
        item_name: The name: ``"astronaut"``, ``"brick"``, ``"camera"``, ``"chelsea"``, ``"grass"``
            or ``"gravel"``.
        as_gray: True gives one channel and False three, as in ``load_images``. None does not change
            the photograph: three channels for the astronaut and Chelsea, one for the others.

    Returns:
        The photograph in [0, 1].

    Raises:
        ValueError: If the name is unknown.

    Example:
        >>> import plenoptax as plx
        >>> plx.data.get("chelsea").shape
        (3, 256, 256)
        >>> plx.data.get("chelsea", as_gray=True).shape
        (1, 256, 256)
    """
    if item_name not in PHOTOGRAPHS:
        raise ValueError(f"item_name must be one of {', '.join(PHOTOGRAPHS)}, got {item_name!r}.")
    if as_gray is None:
        as_gray = not _IN_COLOR[item_name]
    file = importlib.resources.files("plenoptax.data") / "photographs" / f"{item_name}.png"
    with importlib.resources.as_file(file) as path:
        return load_images(path, as_gray)


def astronaut(as_gray: bool = False) -> Float[Array, "channel 256 256"]:
    """Load a portrait of Eileen Collins (NASA, public domain), in color; see ``get``.

    Example:
        >>> import plenoptax as plx
        >>> plx.data.astronaut().shape
        (3, 256, 256)
    """
    return get("astronaut", as_gray)


def brick(as_gray: bool = True) -> Float[Array, "channel 256 256"]:
    """Load a brick wall (CC0Textures, CC0), a periodic texture; see ``get``.

    Example:
        >>> import plenoptax as plx
        >>> plx.data.brick().shape
        (1, 256, 256)
    """
    return get("brick", as_gray)


def camera(as_gray: bool = True) -> Float[Array, "channel 256 256"]:
    """Load a man with a camera (Lav Varshney, CC0), a scene; see ``get``.

    Example:
        >>> import plenoptax as plx
        >>> plx.data.camera().shape
        (1, 256, 256)
    """
    return get("camera", as_gray)


def chelsea(as_gray: bool = False) -> Float[Array, "channel 256 256"]:
    """Load the face of a cat (Stéfan van der Walt, CC0), in color; see ``get``.

    Example:
        >>> import plenoptax as plx
        >>> plx.data.chelsea(as_gray=True).shape
        (1, 256, 256)
    """
    return get("chelsea", as_gray)


def grass(as_gray: bool = True) -> Float[Array, "channel 256 256"]:
    """Load grass (linolafett, CC0), an irregular texture; see ``get``.

    Example:
        >>> import plenoptax as plx
        >>> plx.data.grass().shape
        (1, 256, 256)
    """
    return get("grass", as_gray)


def gravel(as_gray: bool = True) -> Float[Array, "channel 256 256"]:
    """Load gravel (CC0Textures, CC0), a texture of many stones; see ``get``.

    Example:
        >>> import plenoptax as plx
        >>> plx.data.gravel().shape
        (1, 256, 256)
    """
    return get("gravel", as_gray)
