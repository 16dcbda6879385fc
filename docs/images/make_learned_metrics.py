"""Make the picture of a competition between SSIM and DISTS.

python docs/images/make_learned_metrics.py
"""

import pathlib
import time

import jax
import jax.numpy as jnp
from canvas import Canvas

import plenoptax as plx


SIDE, STEPS, ZOOM, GAP, LABEL = 128, 100, 2, 10, 34


def main():
    dists = plx.metric.DISTS()
    image = jnp.clip(plx.process.shrink(plx.data.grass(), 2), 0, 1)
    noisy = jnp.clip(image + 0.1 * jax.random.normal(jax.random.key(0), image.shape), 0, 1)
    started = time.process_time()
    found = plx.mad_competition_set(
        image,
        plx.metric.ssim_distance,
        dists,
        initial_image=noisy,
        max_steps=STEPS,
        progress=False,
    )
    print(f"{time.process_time() - started:.0f} s of CPU time")
    print(found)
    shown = {
        (1, 1): ("start: noise", noisy),
        (0, 0): ("photograph", image),
        (0, 1): ("same DISTS, SSIM best", found.metric1_min.image),
        (2, 1): ("same DISTS, SSIM worst", found.metric1_max.image),
        (1, 0): ("same SSIM, DISTS best", found.metric2_min.image),
        (1, 2): ("same SSIM, DISTS worst", found.metric2_max.image),
    }
    across, down = ZOOM * SIDE + GAP, ZOOM * SIDE + LABEL
    page = Canvas(3 * across - GAP + 4, 3 * down)
    for (column, row), (title, one) in shown.items():
        x, y = 2 + column * across, row * down
        values = float(plx.metric.ssim_distance(one, image)), float(dists(one, image))
        print(f"{title:24} SSIM {values[0]:.4f}  DISTS {values[1]:.4f}")
        words = f"{title}\nSSIM {values[0]:.3f}, DISTS {values[1]:.3f}"
        page.text(x + ZOOM * SIDE / 2, y + 4, words, size=8)
        page.image(x, y + LABEL, jnp.clip(one[0], 0, 1), ZOOM)
    page.save(pathlib.Path(__file__).with_name("learned_metrics.png"))


if __name__ == "__main__":
    main()
