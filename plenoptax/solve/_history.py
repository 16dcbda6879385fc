from typing import Any

import jax
import numpy as np

from ._state import Info
from ._trace import Trace


class History:
    """What the steps of a run left behind, on the host, for each element of a batch by itself.

    A run of one problem is a batch of one element here.
    """

    def __init__(self, size: int):
        self._infos: list[list[Info]] = [[] for _ in range(size)]
        self._images: list[list[np.ndarray]] = [[] for _ in range(size)]
        self._image_steps: list[list[int]] = [[] for _ in range(size)]
        self._newest: dict[str, Any] = {}

    def append(self, infos: Info, elements: np.ndarray, counts: np.ndarray) -> None:
        """Take in the reports of a chunk.

        Args:
            infos: Leaves have the axes step and element.
            elements: Which element of the batch each column belongs to.
            counts: How many of the steps each element took before it stopped.
        """
        for column, (element, count) in enumerate(zip(elements, counts, strict=True)):
            if count:
                rows = jax.tree.map(lambda x, c=column, n=count: x[:n, c], infos)
                self._infos[element].append(rows)
        self._newest = {
            "loss": infos.loss[-1],
            "learning_rate": infos.learning_rate[-1],
            "gradient_norm": infos.gradient_norm[-1],
            "pixel_change_norm": infos.pixel_change_norm[-1],
            **{name: term[-1] for name, term in infos.terms.items() if term.ndim == 2},
        }

    def append_image(self, element: int, image: np.ndarray, step: int) -> None:
        """Take in the image that an element's step `step` of this run is about to evaluate."""
        self._images[element].append(image)
        self._image_steps[element].append(step)

    def newest(self) -> dict[str, Any]:
        """What a progress bar shows of the newest step."""
        return self._newest

    def count(self, element: int) -> int:
        """How many steps an element has taken in this run."""
        return sum(len(rows.accepted) for rows in self._infos[element])

    def trace(
        self,
        element: int,
        last: Info,
        *,
        image_shape: tuple[int, ...],
        best: tuple[np.ndarray, float] | None,
        provenance: dict[str, Any],
    ) -> Trace:
        """The trace of one element.

        Args:
            element: Which one.
            last: The report of the returned image.
            image_shape: That of one image.
            best: The image of the smallest loss and its loss, if they were recorded.
            provenance: See `Trace`.
        """
        last_row = jax.tree.map(lambda x: np.asarray(x)[None], last)
        no_rows = jax.tree.map(lambda x: x[:0], last_row)
        steps = [no_rows, *self._infos[element]]
        infos = jax.tree.map(lambda *rows: np.concatenate(rows), *steps)
        values = jax.tree.map(lambda rows, row: np.concatenate([rows, row]), infos, last_row)
        images = self._images[element]
        return Trace(
            losses=values.loss,
            penalties=values.penalty,
            gradient_norm=infos.gradient_norm,
            pixel_change_norm=infos.pixel_change_norm,
            learning_rate=infos.learning_rate,
            accepted=infos.accepted,
            num_evaluations=infos.num_evaluations,
            terms=values.terms,
            images=np.stack(images) if images else np.zeros((0, *image_shape), np.float32),
            image_steps=np.asarray(self._image_steps[element], np.int64),
            best_image=None if best is None else best[0],
            best_loss=np.inf if best is None else float(best[1]),
            provenance=provenance,
        )
