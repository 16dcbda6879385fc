"""Models of three scales whose representations are means over blocks of 16 x 16 images."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp


class Bands(eqx.Module):
    """Without remove_scales, as a user's model would be."""

    scales = ("coarse", "middle", "fine")

    def __call__(self, image, scales=None):
        pooled = {
            label: image.reshape(1, n, 16 // n, n, 16 // n).mean((2, 4)).ravel()
            for label, n in zip(self.scales, (2, 4, 16), strict=True)
        }
        return jnp.concatenate([pooled[s] for s in self.scales if scales is None or s in scales])


class SelectableBands(Bands):
    ends: ClassVar = {"coarse": (0, 4), "middle": (4, 20), "fine": (20, 276)}

    def remove_scales(self, representation, scales_to_keep):
        parts = [representation[slice(*self.ends[s])] for s in self.scales if s in scales_to_keep]
        return jnp.concatenate(parts)
