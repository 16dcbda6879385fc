"""One of two processes that share a batch.

python -m tests.synthesis.processes INDEX ADDRESS FOLDER STEPS
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np

import plenoptax as plx


# Before the processes know each other, nothing may start a backend.
def model(image):
    """Return the differences of neighbors, without the mean."""
    return jnp.diff(image, axis=-1)


def make_images():
    """Four images of which each process gets two."""
    brick = np.asarray(plx.data.brick())
    return np.stack([brick[:, i : i + 16, i : i + 16] for i in range(4)])


def compare_eigendistortions(images, own):
    """The eigendistortions of the images of this process are those of each image alone."""
    found = plx.eigendistortions(images, jnp.tanh, batch=True)
    assert len(found) == 2
    for image, one in zip(own, found, strict=True):
        alone = plx.eigendistortions(jnp.asarray(image), jnp.tanh, progress=False)
        np.testing.assert_array_equal(one.image, image)
        np.testing.assert_allclose(one.eigenvalues, alone.eigenvalues, rtol=1e-5)


def main(index, address, folder, num_steps):
    """Synthesize the elements of this process, and save them."""
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, 2, int(index))
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()), ("batch",))
    spread, copied = (
        jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(name))
        for name in ("batch", None)
    )
    whole = make_images()
    images = jax.make_array_from_callback(whole.shape, spread, lambda part: whole[part])
    named = {"key": jax.random.key(1), "max_steps": int(num_steps)}
    result = plx.metamer(images, model, batch=True, checkpoint=folder + "/run.npz", **named)
    assert len(result) == 2
    np.testing.assert_array_equal(result.problem.indices, [2 * int(index), 2 * int(index) + 1])
    if num_steps == "3":
        compare_eigendistortions(images, whole[2 * int(index) :][:2])
    image = jax.make_array_from_callback(whole[0].shape, copied, lambda _: whole[0])
    seeds = plx.metamer(image, model, num_seeds=4, progress=False, **named)
    plx.io.save(folder + "/seeds.npz", seeds)


if __name__ == "__main__":
    main(*sys.argv[1:])
