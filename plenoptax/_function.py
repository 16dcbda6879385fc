"""The base of models, metrics, losses and other functions that have parameters."""

import equinox as eqx


class AbstractFunction(eqx.Module):
    """A function whose parameters may be arrays.

    ``jax.jit`` finds its programs by the hash of a function, and arrays have no hash.
    ``equinox.filter_jit`` makes them arguments of the program. The hash of this class says so.
    """

    def __hash__(self) -> int:
        """Return the hash of the fields.

        Raises:
            TypeError: If fields are arrays.
        """
        try:
            return super().__hash__()
        except TypeError as error:
            raise TypeError(
                "The function that jax.jit compiles must have a hash, got a "
                f"{type(self).__name__}, whose parameters are arrays. Use "
                "equinox.filter_jit(function), or jax.jit(lambda image: function(image)), which "
                "compiles the parameters as constants."
            ) from error
