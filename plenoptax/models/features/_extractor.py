import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, final, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..._answers import answer, name_of
from ..._compiled import call_compiled
from ..._function import AbstractFunction
from ..._precision import in_single_precision
from ..._tree import is_array
from ._explain import explain
from ._marks import Layer, names_of, read_layers, trace_network
from ._networks import as_model, marked
from ._rectifiers import pass_gradient


def layer_names(model: Callable, image: Any) -> tuple[str, ...]:
    """List the layers of a network whose responses `FeatureExtractor` can read.

    JAX traces the network and does not evaluate it.

    Args:
        model: The network, as for `FeatureExtractor`.
        image: An input that the network takes, after any transform; only shape and dtype count.

    Returns:
        The names, in the order in which the network computes the layers. The names in the model's
        ``layer_aliases`` are other names of the same layers.

    Raises:
        TypeError: If the model is not callable.
        ValueError: If it has no layers, does not take the image, or is in training mode.

    Example:
        >>> import equinox as eqx
        >>> import jax, jax.numpy as jnp
        >>> first, second = jax.random.split(jax.random.key(0))
        >>> network = eqx.nn.Sequential([
        ...     eqx.nn.Conv2d(3, 8, 3, key=first),
        ...     eqx.nn.Lambda(jax.nn.relu),
        ...     eqx.nn.Conv2d(8, 4, 3, key=second),
        ... ])
        >>> layer_names(network, jnp.zeros((3, 16, 16)))
        ('layers.0', 'layers.1', 'layers.2')
    """
    model = as_model(model)
    return tuple(_layers_in(model, _trace(model, image)[0])[0])


@final
class FeatureExtractor(AbstractFunction):
    """The responses of some layers of a network, as a model.

    The network may be an Equinox module, a Flax NNX module, a bound Flax linen module
    (``module.bind(variables)``), or any function or module of JAX that marks values with
    ``jax.ad_checkpoint.checkpoint_name``. Marks are the layers, if there are any; otherwise the
    submodules are, each under its path, such as ``"layers.3"``. `layer_names` lists them. A layer
    that is called again has the name ``"layers.3_1"``. If the network takes more arguments than the
    image, give a partial function, such as ``equinox.Partial(network, state=state)`` or
    ``functools.partial(module.bind(variables), train=False)``.

    The representation is a dictionary with the response of each layer, in the shape that the layer
    has in the network. So losses compare all values, and reports and figures show each layer. What
    the network computes after the last of the layers is not part of the program. The parameters
    are leaves, and are converted to the precision of the image.

    A report judges each layer by the criteria of Feather et al.: Pearson's and Spearman's
    correlation of the responses, and their signal-to-noise ratio, against pairs of unrelated
    images. If the network has a classifier (``has_classifier``, as those of
    `plenoptax.models.networks`), the image must have the class of the target, too.

    Attributes:
        compares_raw: True: reports compare responses as they are, and not z-scores.
        model: The network. A Flax module is stored as its variables and its structure.
        layers: The names of the layers.
        transform: A function of the image that is applied before the network, or None.
        relu_gradient: ``"exact"`` or ``"identity"``.

    References:
        Feather, Leclerc, Madry and McDermott (2023), Model metamers reveal divergent invariances
        between biological and artificial neural networks, Nature Neuroscience 26, 2017-2034: the
        criteria, and the identity as the gradient of the last rectifier.

    Example:
        >>> import jax, plenoptax as plx
        >>> network = plx.models.networks.AlexNet(key=jax.random.key(0), classifier=False)
        >>> model = FeatureExtractor(network, ["relu1", "relu2"])
        >>> image = plx.data.astronaut()[:, :64, :64]
        >>> {name: response.shape for name, response in model(image).items()}
        {'relu1': (64, 15, 15), 'relu2': (192, 7, 7)}
    """

    compares_raw: ClassVar[bool] = True
    model: Callable
    layers: tuple[str, ...] = eqx.field(static=True)
    transform: Callable | None
    relu_gradient: str = eqx.field(static=True)

    def __init__(
        self,
        model: Callable,
        layers: str | Sequence[str],
        transform: Callable | None = None,
        *,
        relu_gradient: Literal["exact", "identity"] = "exact",
    ):
        """Choose the layers.

        Args:
            model: The network, in evaluation mode.
            layers: The name of a layer, or several. The first call checks them, because only the
                program of the network says which layers it has.
            transform: A function of the image to apply before the network: the normalization of the
                pixel values and, if the network needs it, the order of the axes, such as
                ``lambda image: jnp.moveaxis(image, 0, -1)[None]``. Crop and resize outside, so that
                all pixels of the synthesized image matter. By default nothing.
            relu_gradient: ``"identity"`` passes the gradient through the rectifier (ReLU or ReLU6)
                that ends each of the layers as if it were the identity; the values stay the same.
                Otherwise a unit that is 0 has no gradient, and a synthesis cannot make it respond.

        Raises:
            TypeError: If the network or the transform is not callable, or a name is not a string.
            ValueError: If no layer or one layer twice is given, ``relu_gradient`` is unknown, the
                network is in training mode, or a linen module is not bound to its variables.
        """
        layers = (layers,) if isinstance(layers, str) else tuple(layers)
        if not all(isinstance(name, str) for name in layers):
            raise TypeError(f"layers must be a name or several names, got {layers}.")
        if not layers or len(set(layers)) < len(layers):
            raise ValueError(f"layers must be one or several different names, got {layers}.")
        if relu_gradient not in ("exact", "identity"):
            raise ValueError(f"relu_gradient must be 'exact' or 'identity', got {relu_gradient!r}.")
        if not (transform is None or callable(transform)):
            raise TypeError(f"transform must be a function, got {type(transform).__name__}.")
        self.model = as_model(model)
        self.layers = layers
        self.transform = transform
        self.relu_gradient = relu_gradient

    @in_single_precision("image")
    def __call__(self, image: Float[Array, "..."]) -> dict[str, Float[Array, "..."]]:
        """Return the response of each layer.

        Args:
            image: An image that the transform, or else the network, takes.

        Raises:
            ValueError: If a layer is missing or lies in a loop or a conditional, the network does
                not take the image, or with ``relu_gradient="identity"`` a layer does not end in a
                rectifier.
        """
        seen = image if self.transform is None else self.transform(image)
        traced, arguments = _trace(self.model, seen)
        names = _find_layers(self.model, self.layers, traced)
        wanted, found = set(names.values()), {}
        for layer in read_layers(traced, arguments):
            if layer.name in wanted:
                found[layer.name] = self._response(layer)
            if len(found) == len(wanted):
                break
        return {given: found[name] for given, name in names.items()}

    def _response(self, layer: Layer) -> Array:
        if self.relu_gradient == "exact":
            return layer.value
        if layer.before is None:
            raise ValueError(
                'With relu_gradient="identity" each layer must end in a rectifier (ReLU or ReLU6), '
                f"got {layer.name!r}, which does not. Give the layer of the rectifier itself, or "
                'relu_gradient="exact".'
            )
        return pass_gradient(layer.value, layer.before())

    def classify(self, image: Float[Array, "..."]) -> int | None:
        """Return the class that the whole network gives an image; None without a classifier.

        Args:
            image: An image that the transform, or else the network, takes.
        """
        if not answer(self.model, "has_classifier", False):
            return None
        seen = image if self.transform is None else self.transform(image)
        return int(np.argmax(np.asarray(call_compiled(self.model, seen))))

    def convert_to_dict(self, representation: Mapping[str, Any]) -> dict[str, Any]:
        """Return the responses by layer, in the order of ``layers``.

        JAX sorts the keys of a dictionary that a compiled function returns. No call of the network
        is needed: ``convert_to_dict(jax.eval_shape(model, image))`` has the shapes.

        Args:
            representation: The responses of the layers, or their shapes.
        """
        return {name: representation[name] for name in self.layers}

    def plot_representation(self, data: Any, **options: Any) -> Any:
        """Plot the mean over channels and the mean of each channel, layer by layer.

        Args:
            data: The responses of the layers, or differences of responses.
            **options: ``ax``, ``figsize``, ``ylim``, ``batch_idx`` and ``title`` as in
                `plenoptax.plot.plot_representation`.
        """
        from ... import plot

        means = self._means(data, options.pop("batch_idx", 0))
        return plot.plot_representation(data=means, **options)

    def update_plot(self, axes: Any, data: Any, **options: Any) -> list[Any]:
        """Replace the responses shown in the axes of `plot_representation`.

        Args:
            axes: The axes to update.
            data: The new responses.
            **options: ``batch_idx`` and ``rescale_ylim`` as in `plenoptax.plot.update_plot`.
        """
        from ... import plot

        return plot.update_plot(axes, self._means(data, options.pop("batch_idx", 0)), **options)

    def _means(self, data: Any, batch_idx: int) -> dict[str, np.ndarray]:
        """Return what figures show of each layer, by title."""
        is_last = answer(self.model, "channels_last", False)
        means = {}
        for name in self.layers:
            response = np.asarray(data[name])
            if response.ndim > 3:
                response = response[batch_idx if len(response) > 1 else 0]
            if response.ndim == 3:
                response = np.moveaxis(response, -1, 0) if is_last else response
                means[f"{name}, mean over channels"] = response.mean(0)[None]
                response = response.mean((1, 2))
            means[f"{name}, channels"] = response
        return means


def _trace(model: Callable, image: Any) -> tuple[Any, list[Any]]:
    """Trace a network in the precision of an image, with its submodules marked."""
    dtype = image.dtype
    if jnp.issubdtype(dtype, jnp.floating):
        model = jax.tree.map(lambda leaf: _as_precision(leaf, dtype), model)
    network = marked(model)
    try:
        return trace_network(network, image)
    except Exception as error:
        explain(network, jax.ShapeDtypeStruct(image.shape, dtype), error)
        error.add_note(f"The network was given an image of shape {image.shape}.")
        raise


def _as_precision(leaf: Any, dtype: jnp.dtype) -> Any:
    is_real = is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.floating)
    return jnp.asarray(leaf, dtype) if is_real else leaf


def _find_layers(model: Callable, layers: Sequence[str], traced: Any) -> dict[str, str]:
    """Return the name of each layer in the network, by the name that the user gave."""
    aliases = answer(model, "layer_aliases", dict)()
    names, hidden = _layers_in(model, traced)
    found = {given: given if given in names else aliases.get(given, given) for given in layers}
    for given, name in found.items():
        if name in hidden:
            raise ValueError(
                "A layer must not lie in a loop, a conditional or a function with its own "
                f"derivative, got {given!r}, which the network computes in a {hidden[name]}. Write "
                "the loop in Python, or mark a value outside of it."
            )
        if name not in names:
            absent = answer(model, "absent_layers", dict)()
            if given in absent:
                raise ValueError(
                    f"layers must be names of layers that the network computes, got {given!r}. "
                    f"{absent[given]}"
                )
            known = [*names, *aliases]
            nearest = difflib.get_close_matches(given, known, n=3, cutoff=0.4)
            nearness = f"The nearest are {', '.join(nearest)}; all are" if nearest else "They are"
            raise ValueError(
                f"layers must be names of layers that the network computes, got {given!r}. "
                f"{nearness} {', '.join(known)}."
            )
    return found


def _layers_in(model: Callable, traced: Any) -> tuple[list[str], dict[str, str]]:
    names, hidden = names_of(traced)
    if not names and not hidden:
        raise ValueError(
            "The network must have layers to read: submodules of Equinox or Flax, or values marked "
            f"by jax.ad_checkpoint.checkpoint_name, got {name_of(model)} with neither. Give the "
            "module itself instead of a function of it, or mark values in the function."
        )
    return names, hidden
