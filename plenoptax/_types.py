from typing import Any, TypeAlias

from jaxtyping import Array, Float, PRNGKeyArray


Image: TypeAlias = Float[Array, "channel height width"]
Images: TypeAlias = Float[Array, "*batch height width"]
Key: TypeAlias = PRNGKeyArray
Scalar: TypeAlias = Float[Array, ""]
PyTree: TypeAlias = Any
