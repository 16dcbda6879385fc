import functools
from collections.abc import Callable, Iterable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._compiled import compiled, Options, options_here
from .._function import AbstractFunction
from .._precision import refuse_half
from .._progress import ProgressBar
from .._rules import checked, COUNT
from .._tree import flatten_real
from ._noise import AbstractNoise
from ._subspace import AbstractSubspace


def compiled_with_operator(function: Callable) -> Callable:
    """Compile a function of an operator and arrays.

    The operator is flattened once. `equinox.filter_jit` flattens it at each call, which takes
    longer than a product with a small operator.
    """

    @functools.cache
    def compile_with(options: Options) -> Callable:
        def run(rest: Any, arrays: Iterable, *arguments: Any, **named: Any) -> Any:
            (structure, leaves), arrays = rest, iter(arrays)
            leaves = [next(arrays) if leaf is None else leaf for leaf in leaves]
            return function(jax.tree.unflatten(structure, leaves), *arguments, **named)

        run.__name__ = function.__name__
        return jax.jit(run, static_argnums=0, compiler_options=dict(options) or None)

    @functools.wraps(function)
    def call(operator: "LinearMap", *arguments: Any, **named: Any) -> Any:
        rest, arrays = operator._parts
        # For a transpose, the image is the output.
        is_transposed = isinstance(operator.function, _Transpose)
        size = operator.output_size if is_transposed else operator.input_size
        options = options_here((arrays, arguments, named), size)
        return compile_with(options)(rest, arrays, *arguments, **named)

    return call


class LinearMap(AbstractFunction):
    """A linear map between flat vectors, given by its products with blocks of vectors.

    ``linearize`` makes it. Its products reuse one linearization, and are compiled once for all
    points of the same shape. ``J.T`` is the transpose. ``J @ A`` applies A, a map or a subspace,
    and then J.

    Attributes:
        function: A linear function from one vector to one vector; a pytree with its arrays as
            leaves.
        input_size: The length of the input vectors, ``n``.
        output_size: The length of the output vectors, ``m``.
        dtype: The dtype of both.
        response: The value of the function at the point of linearization, or None.

    Raises:
        TypeError: If the dtype, or that of the vectors of a product, is half precision.

    Example:
        >>> import jax.numpy as jnp, plenoptax as plx
        >>> cube = plx.linalg.linearize(lambda x: x**3, jnp.asarray([1.0, 2.0]))
        >>> cube(jnp.eye(2)).tolist()
        [[3.0, 0.0], [0.0, 12.0]]
        >>> first = plx.linalg.mask(jnp.asarray([True, False]))
        >>> (cube @ first).T(jnp.eye(2)).tolist()
        [[3.0], [0.0]]
    """

    function: Callable
    input_size: int = eqx.field(static=True)
    output_size: int = eqx.field(static=True)
    dtype: jnp.dtype = eqx.field(static=True)
    response: Float[Array, " response"] | None = None

    def __check_init__(self) -> None:
        refuse_half("The vectors of a linear map", self.dtype)

    @compiled_with_operator
    def __call__(self, vectors: Float[Array, "k n"]) -> Float[Array, "k m"]:
        """Multiply a block of vectors, one per row: ``J v``."""
        refuse_half("The vectors of a linear map", vectors.dtype)
        return jax.vmap(self.function)(vectors)

    @functools.cached_property
    def T(self) -> "LinearMap":
        """The transpose."""
        function = _Transpose(self.function, self.input_size, self.dtype)
        return LinearMap(function, self.output_size, self.input_size, self.dtype)

    def __matmul__(self, inner: "LinearMap | AbstractSubspace") -> "LinearMap":
        """Compose this map with another one applied first, or restrict it to a subspace.

        Raises:
            ValueError: If the output length of `inner` differs from the input length of this map.
        """
        is_map = isinstance(inner, LinearMap)
        function, size = (inner.function, inner.input_size) if is_map else (inner, inner.size)
        found = eqx.filter_eval_shape(function, jax.ShapeDtypeStruct((size,), self.dtype))
        if found.size != self.input_size:
            raise ValueError(
                f"The {type(inner).__name__} applied first must give {self.input_size} values, got "
                f"the shape {found.shape}. Give a mask or window the shape of the input."
            )
        function = _After(self.function, function)
        return LinearMap(function, size, self.output_size, self.dtype, self.response)

    def transpose(self, vectors: Float[Array, "k m"]) -> Float[Array, "k n"]:
        """Multiply a block of vectors by the transpose: ``J^T u``."""
        return self.T(vectors)

    def fisher(self, vectors: Float[Array, "k n"]) -> Float[Array, "k n"]:
        """Compute ``J^T J v``: with the Fisher information, if the map includes the noise."""
        return self.T(self(vectors))

    @functools.cached_property
    def _parts(self) -> tuple[Any, list[Array]]:
        """The structure with the leaves that are not arrays (hashable), and the arrays."""
        leaves, structure = jax.tree.flatten(self)
        arrays = [leaf for leaf in leaves if eqx.is_array(leaf)]
        rest = tuple(None if eqx.is_array(leaf) else leaf for leaf in leaves)
        return (structure, rest), arrays

    @checked(block=COUNT)
    def dense(self, block: int = 64, *, progress: bool = False) -> Float[Array, "m n"]:
        """Return the map as a matrix, computed by rows or by columns, whichever are fewer.

        Args:
            block: The number of products to compute at a time.
            progress: Whether to show a progress bar.
        """
        by_rows = self.output_size < self.input_size
        size = self.output_size if by_rows else self.input_size
        multiply = self.T if by_rows else self
        starts = range(0, size, min(block, size))
        width = min(block, size)
        # Unit vectors past the last one are zero, so that all blocks share one compiled product.
        blocks = []
        with ProgressBar(size, "product", visible=progress) as bar:
            for start in starts:
                products = multiply(jnp.eye(width, size, start, dtype=self.dtype))[: size - start]
                # JAX returns before it has computed, so the bar would run ahead of the products.
                blocks.append(jax.block_until_ready(products) if progress else products)
                bar.update(len(products), {})
        return jnp.concatenate(blocks) if by_rows else jnp.concatenate(blocks).T


class _After(eqx.Module):
    """One linear function after another."""

    outer: Callable
    inner: Callable

    def __call__(self, vector: Float[Array, " n"]) -> Float[Array, " m"]:
        return self.outer(jnp.ravel(self.inner(vector)))


class _Transpose(eqx.Module):
    """The transpose of a linear function of vectors of one size and type."""

    function: Callable
    size: int = eqx.field(static=True)
    dtype: jnp.dtype = eqx.field(static=True)

    def __call__(self, vector: Float[Array, " m"]) -> Float[Array, " n"]:
        shape = jax.ShapeDtypeStruct((self.size,), self.dtype)
        (product,) = jax.linear_transpose(self.function, shape)(vector)
        return product


def linearize(
    function: Callable,
    x: Float[Array, "*shape"],
    *,
    noise: AbstractNoise | None = None,
    subspace: AbstractSubspace | None = None,
) -> LinearMap:
    """Linearize a function once, for products with its Jacobian and the transpose.

    Args:
        function: A function from an array to an array or a tree of arrays. Complex responses count
            as pairs of real ones.
        x: The point of linearization, in float32 or float64.
        noise: The noise of the response. The map then goes to the coordinates in which this noise
            is standard normal, so that ``fisher`` is the Fisher information. By default independent
            noise of variance 1.
        subspace: Restricts the map J to some directions, ``J @ subspace``: see ``mask``,
            ``window`` and ``complement``.

    Returns:
        The map between flat vectors, from the elements of `x` (or the coordinates of the subspace)
        to all responses.

    Raises:
        ValueError: If the noise does not fit the response, or the subspace `x`.
        TypeError: If `x` is in half precision.

    Example:
        >>> import jax.numpy as jnp, plenoptax as plx
        >>> square = plx.linalg.linearize(lambda x: x**2, jnp.ones((2, 2)))
        >>> square.fisher(jnp.ones((1, 4))).tolist()
        [[4.0, 4.0, 4.0, 4.0]]
    """
    refuse_half("The point of linearization", x.dtype)
    response, linear = _linearize(function, x, noise)
    if noise is not None:
        noise.check(response)
    output = eqx.filter_eval_shape(linear, jax.ShapeDtypeStruct((x.size,), x.dtype))
    operator = LinearMap(linear, x.size, output.size, jnp.dtype(x.dtype), response)
    return operator if subspace is None else operator @ subspace


@compiled(lambda function, x, noise: x.size)
def _linearize(
    function: Callable, x: Float[Array, "*shape"], noise: AbstractNoise | None
) -> tuple[Float[Array, " m"], Callable]:
    response = flatten_real(function(x), x.dtype)

    def coordinates(vector: Float[Array, " n"]) -> Float[Array, " m"]:
        found = flatten_real(function(vector.reshape(x.shape)), x.dtype)
        return found if noise is None else noise.coordinates(found, response)

    return response, jax.linearize(coordinates, x.ravel())[1]


def jacobian(function: Callable, x: Float[Array, "*shape"]) -> Float[Array, "m n"]:
    """Return the Jacobian of a function as a matrix.

    Args:
        function: A function from an array to an array or a tree of arrays, as for ``linearize``.
        x: The point at which to differentiate.

    Example:
        >>> import jax.numpy as jnp, plenoptax as plx
        >>> plx.linalg.jacobian(lambda x: x**2, jnp.asarray([1.0, 3.0])).tolist()
        [[2.0, 0.0], [0.0, 6.0]]
    """
    return linearize(function, x).dense()


def fisher(
    function: Callable, x: Float[Array, "*shape"], *, noise: AbstractNoise | None = None
) -> Callable[[Float[Array, "k n"]], Float[Array, "k n"]]:
    """Return a function that multiplies by the Fisher information ``J^T S^-1 J`` about an input.

    Args:
        function: A function from an array to an array or a tree of arrays, as for ``linearize``.
        x: The input.
        noise: The noise of the response, as for ``linearize``.

    Returns:
        A function of a block of flat vectors, one per row.

    Example:
        >>> import jax.numpy as jnp, plenoptax as plx
        >>> noise = plx.linalg.GaussianNoise(4.0)
        >>> product = plx.linalg.fisher(lambda x: 2 * x, jnp.ones(3), noise=noise)
        >>> product(jnp.ones((1, 3))).tolist()
        [[1.0, 1.0, 1.0]]
    """
    return linearize(function, x, noise=noise).fisher


def fisher_matrix(
    function: Callable, x: Float[Array, "*shape"], *, noise: AbstractNoise | None = None
) -> Float[Array, "n n"]:
    """Return the Fisher information of the responses about an input, as a matrix.

    Args:
        function: A function from an array to an array or a tree of arrays, as for ``linearize``.
        x: The input, of a few thousand elements at most.
        noise: The noise of the response, as for ``linearize``.

    Example:
        >>> import jax.numpy as jnp, plenoptax as plx
        >>> plx.linalg.fisher_matrix(jnp.sum, jnp.ones(2)).tolist()
        [[1.0, 1.0], [1.0, 1.0]]
    """
    matrix = linearize(function, x, noise=noise).dense()
    return jnp.matmul(matrix.T, matrix, precision=jax.lax.Precision.HIGHEST)
