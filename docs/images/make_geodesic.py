"""Make the picture of geodesics: four ways from one image to another.

python docs/images/make_geodesic.py
"""

import pathlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from canvas import Canvas

import plenoptax as plx


SIDE = 64
SHIFT = 5
LINE = 28


class WaveletAmplitudes(eqx.Module):
    """The amplitudes of complex wavelets, as of complex cells; it knows no phase."""

    pyramid: plx.process.SteerablePyramidFreq

    def __call__(self, image):
        bands = self.pyramid(image).values()
        return [jnp.sqrt(jnp.abs(band) ** 2 + 1e-6) for band in bands]


def make_film():
    """An eye that moves to the right by so many pixels, and comes back on the left."""
    eye = plx.process.shrink(plx.data.chelsea(as_gray=True), 2)[:, 10 : 10 + SIDE, :SIDE]
    across = np.fft.fftfreq(SIDE)[None]
    radius = np.hypot(across, across.T)
    # Details that move by half a period or more have no direction of motion.
    passed = np.sqrt(np.cos(np.pi * np.clip(SHIFT * across, -0.5, 0.5)).clip(0))
    passed = passed * np.cos(np.pi * np.clip(radius / 0.6, 0, 0.5)) ** 2
    spectrum = np.fft.fft2(eye[0]) * passed * radius**0.6
    moves = [np.exp(-2j * np.pi * across * pixels) for pixels in np.linspace(0, SHIFT, 9)]
    frames = np.stack([np.fft.ifft2(spectrum * move).real[None] for move in moves])
    return jnp.asarray(plx.process.rescale(frames, 0.05, 0.95), jnp.float32)


def pixel_energy(path):
    """The mean squared step."""
    return float(jnp.mean(jnp.sum(jnp.diff(path, axis=0) ** 2, axis=(1, 2, 3))))


def compute():
    """For each way its frames, and its energies and its distance from the film."""
    film = make_film()
    pyramid = plx.process.SteerablePyramidFreq((SIDE, SIDE), order=3, is_complex=True)
    result = plx.geodesic(
        film[0],
        film[-1],
        WaveletAmplitudes(pyramid),
        n_steps=8,
        initial_sequence="bridge",
        key=jax.random.key(0),
        optimizer=plx.precondition_path(plx.lbfgs()),
        max_steps=150,
        progress=False,
    )
    conditional = plx.conditional_geodesic(result, max_steps=500, progress=False)
    problem, fade = result.problem, result.problem.pixelfade
    paths = {
        "pixel fade": fade,
        "geodesic of the model": result.image,
        "conditional geodesic": conditional.image,
        "film": film,
    }
    computed = {}
    for name, path in paths.items():
        energy = float(problem.energy(path) / problem.energy(fade))
        away = float(jnp.linalg.norm(path - film) / jnp.linalg.norm(fade - film))
        numbers = (energy, pixel_energy(path) / pixel_energy(fade), away)
        print(name, *(f"{number:.3f}" for number in numbers))
        computed[name] = np.asarray(path[:, 0]), numbers
    return computed


def draw(computed):
    """Every other frame, and one line of the image over time."""
    zoom, gap, head, step = 2, 6, 20, 2 * SIDE + 26
    side = zoom * SIDE
    lefts = [2 + i * (side + gap) for i in range(5)] + [2 + 5 * (side + gap) + 28]
    page = Canvas(lefts[-1] + side + 2, head + len(computed) * step)
    for left, words in zip(
        lefts, ("start", "", "halfway", "", "end", "line over time"), strict=True
    ):
        page.text(left + side / 2, 3, words)
    for y, (name, (frames, numbers)) in zip(
        range(head, page.height, step), computed.items(), strict=True
    ):
        for left, frame in zip(lefts, frames[::2], strict=False):
            page.image(left, y, frame, zoom)
        # Nine times are as high as an image, but for the last rows.
        page.image(lefts[-1], y, np.repeat(np.repeat(frames[:, LINE], 14, 0), zoom, 1))
        words = "energy to the model {:.2f}, in pixels {:.2f}; distance from the film {:.2f}"
        page.text(2, y + side + 4, name, ha="left", size=9, weight="bold")
        page.text(lefts[4] + side, y + side + 5, words.format(*numbers), ha="right")
    page.save(pathlib.Path(__file__).with_name("geodesic.png"))


if __name__ == "__main__":
    draw(compute())
