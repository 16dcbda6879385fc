"""The names of plenoptic that plenoptax does not have, with their replacements."""

# Names of the package.
NAMES = {
    "Eigendistortion": "plenoptax.eigendistortions(image, model), which returns the result",
    "remove_grad": "the model as it is: parameters of JAX models carry no gradients",
    "set_seed": "the argument key=jax.random.key(seed)",
    "synth": "plenoptax itself, such as plenoptax.metamer",
    "simul": "plenoptax.models and plenoptax.process",
    "tools": "plenoptax.process, plenoptax.data and plenoptax.validate",
}

# Arguments of functions.
ARGUMENTS = {
    "change_scale_criterion_iters": "ctf_iters_to_check",
    "max_iter": "max_steps",
    "metamer": "the result, the first argument",
    "optimizer_kwargs": "optimizer=, an optax optimizer with these arguments",
    "scheduler": "a schedule of optax as learning rate, such as optax.adam(schedule)",
    "scheduler_kwargs": "a schedule of optax as learning rate, such as optax.adam(schedule)",
    "stop_criterion": "solver=plx.Solver(optimizer, stop=plx.stop.LossChange(...))",
    "stop_iters_to_check": "solver=plx.Solver(optimizer, stop=plx.stop.LossChange(...))",
    "store_progress": "record",
    "synthesis_object": "the result, the first argument",
}

# Attributes of synthesis objects, which problems do not have: results have them.
ATTRIBUTES = {
    "examine_saved_synthesis": "plenoptax.io.examine_saved_synthesis",
    "geodesic": "result.image",
    "get_progress": "result.trace.get_progress",
    "gradient_norm": "result.trace.gradient_norm",
    "load": "plenoptax.io.load_result",
    "losses": "result.trace.losses",
    "mad_image": "result.image",
    "metamer": "result.image",
    "penalties": "result.trace.penalties",
    "pixel_change_norm": "result.trace.pixel_change_norm",
    "save": "plenoptax.io.save",
    "saved_metamer": "result.trace.images",
    "setup": "plenoptax.metamer or a similar function, or plenoptax.init and plenoptax.Solver",
    "store_progress": "the argument record",
    "synthesize": "plenoptax.metamer or a similar function, or plenoptax.run",
    "to": "jax.device_put, or an image of another dtype",
}
