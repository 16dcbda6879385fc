"""The interface of texture models: statistics in named groups, one after another in one vector."""

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Shaped

from .._axes import advise_on_axes
from .._function import AbstractFunction
from .._types import Key
from ._naive import advise_on_rank
from ._portilla_simoncelli_layout import check_scales, check_size, Group, Label, scale_labels


class AbstractStatisticGroups(AbstractFunction):
    """A model whose statistics are named groups at several scales.

    Attributes:
        n_scales: Number of scales.
    """

    n_scales: eqx.AbstractVar[int]

    @abc.abstractmethod
    def _groups(self) -> dict[str, Group]:
        """Return the groups by name, in the order of the representation."""

    @property
    def scales(self) -> list[Label]:
        """Labels of the scales, pixels and residuals, from coarse to fine; scale 0 is finest."""
        return scale_labels(self.n_scales)

    @property
    def statistic_groups(self) -> tuple[str, ...]:
        """The name of the group of each statistic."""
        groups = self._groups().items()
        return tuple(name for name, group in groups for _ in range(group.kept.sum()))

    @property
    def statistic_scales(self) -> tuple[Label, ...]:
        """The label of each statistic, one of ``scales``.

        Correlations between scales have the label of the finer one.
        """
        groups = self._groups().values()
        return tuple(group.labels[at] for group in groups for at in np.nonzero(group.kept)[-1])


class AbstractTextureStatistics(AbstractStatisticGroups):
    """A model whose representation consists of named groups of texture statistics.

    Attributes:
        n_scales: Number of scales.
        spatial_corr_width: Number of shifts of the autocorrelations along each axis.
        weights: A factor for each statistic, or None.
    """

    n_scales: eqx.AbstractVar[int]
    spatial_corr_width: eqx.AbstractVar[int]
    weights: eqx.AbstractVar[Float[Array, " statistic"] | None]

    @abc.abstractmethod
    def _plotters(self) -> tuple[Callable, Callable]:
        """Return the functions that plot all statistics and that compute the stems of the plot."""

    @property
    def num_statistics(self) -> int:
        """Number of statistics."""
        return len(self.statistic_groups)

    def remove_scales(
        self,
        representation: Shaped[Array, "*batch statistic"],
        scales_to_keep: Sequence[Label],
    ) -> Shaped[Array, "*batch kept"]:
        """Select the statistics of some scales.

        Args:
            representation: All statistics, on the last axis.
            scales_to_keep: Any of ``self.scales``.

        Returns:
            These statistics, in the order of the representation, as ``__call__`` returns them for
            these scales.

        Raises:
            ValueError: If a label is unknown, or statistics are missing.
        """
        labels = check_scales(scales_to_keep, self.scales)
        representation = self._check_length(representation)
        kept = [index for index, label in enumerate(self.statistic_scales) if label in labels]
        return representation[..., np.array(kept, int)]

    def convert_to_dict(self, representation: ArrayLike) -> dict[str, Shaped[Array, "..."]]:
        """Arrange statistics by name.

        Args:
            representation: All statistics, on the last axis. Leading axes, such as that of the
                channels, are kept.

        Returns:
            For each group an array of the shape given above, after the leading axes. Entries that
            are not part of the representation are NaN.

        Raises:
            ValueError: If statistics are missing, as after ``remove_scales``.
        """
        # NumPy arranges its own arrays: JAX would compile a program for each group.
        xp = np if isinstance(representation, np.ndarray) else jnp
        representation = xp.asarray(self._check_length(representation))
        missing = xp.full((*representation.shape[:-1], 1), np.nan, representation.dtype)
        padded = xp.concatenate([representation, missing], axis=-1)
        result, start = {}, 0
        for name, group in self._groups().items():
            indices = np.full(group.kept.shape, self.num_statistics)
            indices[group.kept] = start + np.arange(group.kept.sum())
            result[name] = jnp.asarray(padded[..., indices])
            start += group.kept.sum()
        return result

    def convert_to_tensor(
        self, representation_dict: Mapping[str, ArrayLike]
    ) -> Shaped[Array, "*batch statistic"]:
        """Put statistics in one array, the inverse of ``convert_to_dict``.

        Args:
            representation_dict: An array for each group, all with the same leading axes. The order
                of the groups does not matter. Entries that are not part of the representation are
                ignored.

        Raises:
            ValueError: If a group is missing or unknown, or has another shape.
        """
        groups = self._groups()
        if set(representation_dict) != set(groups):
            raise ValueError(
                f"representation_dict must have the keys {list(groups)}, got "
                f"{list(representation_dict)}."
            )
        parts = []
        for name, group in groups.items():
            values = jnp.asarray(representation_dict[name])
            batch = values.shape[: max(values.ndim - group.kept.ndim, 0)]
            if values.shape != (*batch, *group.kept.shape):
                raise ValueError(
                    f"The last axes of {name!r} must have the shape {group.kept.shape}, got "
                    f"{values.shape}."
                )
            flat = values.reshape(*batch, group.kept.size)
            parts.append(flat[..., np.flatnonzero(group.kept)])
        return jnp.concatenate(parts, axis=-1)

    def initial_image(self, image: Array, *, key: Key) -> Array:
        """Draw faint noise around the mean of each channel of a target."""
        noise = jax.random.uniform(key, image.shape, image.dtype)
        mean = jnp.mean(image, axis=(-2, -1), keepdims=True)
        return jnp.clip(mean + 0.1 * (noise - 0.5), 0, 1)

    def plot_representation(self, data: Any, **options: Any) -> Any:
        """Plot statistics, or the difference of two sets, group by group, and return the axes.

        Args:
            data: The statistics. Statistics of only some scales are plotted in a single axes.
            **options: ``ax``, ``figsize``, ``ylim``, ``batch_idx`` and ``title`` as in
                `plenoptax.plot.plot_representation`.
        """
        from .. import plot

        if np.shape(data)[-1:] != (self.num_statistics,):
            return plot.plot_representation(data=data, **options)
        plot_all, _ = self._plotters()
        return plot_all(self, data, **options)[1]

    def update_plot(self, axes: Any, data: Any, **options: Any) -> list[Any]:
        """Replace the statistics shown in the axes of `plot_representation`.

        Args:
            axes: The axes to update.
            data: The new statistics.
            **options: ``batch_idx`` and ``rescale_ylim`` as in `plenoptax.plot.update_plot`.
        """
        from .. import plot

        if np.shape(data)[-1:] == (self.num_statistics,):
            _, stems = self._plotters()
            data = stems(self, data, options.pop("batch_idx", 0))
        return plot.update_plot(axes, data, **options)

    def _check_call(
        self, image: Shaped[Array, "..."], scales: Sequence[Label] | None
    ) -> tuple[Label, ...]:
        """Reject an image of the wrong rank, dtype or size; return the labels in a fixed order."""
        if image.ndim != 3 or image.dtype not in (jnp.float32, jnp.float64):
            advice = " Convert integers with plenoptax.load_images or division by 255."
            if image.ndim != 3:
                advice = advise_on_axes(image.shape) or advise_on_rank(image.shape)
            raise ValueError(
                "The image must have the shape (channel, height, width) and be in float32 or "
                f"float64, got {image.dtype} of shape {image.shape}.{advice}"
            )
        advice, (_, height, width) = advise_on_axes(image.shape), image.shape
        check_size((height, width), self.n_scales, self.spatial_corr_width, advice)
        labels = tuple(self.scales) if scales is None else check_scales(scales, self.scales)
        # All orders of the labels share one compiled function.
        return tuple(label for label in self.scales if label in labels)

    def _weigh(
        self, representation: Float[Array, "*channel kept"], labels: tuple[Label, ...]
    ) -> Float[Array, "*channel kept"]:
        """Multiply the statistics of some scales by their weights."""
        if self.weights is None:
            return representation
        weights = self.remove_scales(jnp.asarray(self.weights, representation.dtype), labels)
        return weights.reshape(*[1] * (representation.ndim - 1), -1) * representation

    def _as_weights(
        self, weights: ArrayLike | Mapping[str, ArrayLike]
    ) -> Float[Array, " statistic"]:
        dtype = jnp.result_type(float)
        if not isinstance(weights, Mapping):
            vector = jnp.asarray(weights, dtype)
            if vector.shape != (self.num_statistics,):
                raise ValueError(
                    f"weights must have the shape ({self.num_statistics},), one for each "
                    f"statistic, got {vector.shape}. Give a dictionary to weight groups."
                )
            return vector
        groups = self._groups()
        unknown = [name for name in weights if name not in groups]
        if unknown:
            raise ValueError(f"The keys of weights must be among {list(groups)}, got {unknown}.")
        factors = {}
        for name, group in groups.items():
            factor, shape = jnp.asarray(weights.get(name, 1), dtype), group.kept.shape
            try:
                factors[name] = jnp.broadcast_to(factor, shape)
            except ValueError as error:
                raise ValueError(
                    f"The weights of {name!r} must broadcast to the shape {shape}, got the shape "
                    f"{factor.shape}."
                ) from error
        return self.convert_to_tensor(factors)

    def _check_length(self, representation: ArrayLike) -> Array:
        representation = jnp.asarray(representation)
        if representation.ndim == 0 or representation.shape[-1] != self.num_statistics:
            raise ValueError(
                f"The last axis must hold all {self.num_statistics} statistics of this model, got "
                f"an array of shape {representation.shape}. Call the model without scales."
            )
        return representation
