from typing import Any, TypeAlias

from jaxtyping import Array, Float, PRNGKeyArray


# `jax.Device` is not a class to type checkers.
Device: TypeAlias = Any
Image: TypeAlias = Float[Array, "channel height width"]
Images: TypeAlias = Float[Array, "*batch height width"]
Key: TypeAlias = PRNGKeyArray
Scalar: TypeAlias = Float[Array, ""]
PyTree: TypeAlias = Any
