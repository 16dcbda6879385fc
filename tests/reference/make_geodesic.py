"""Write geodesic.npz, geodesics of plenoptic 1.2.0 in float64: ``python make_geodesic.py``."""

import warnings
from pathlib import Path

import numpy as np
import plenoptic as po
import torch


N_STEPS = 6
NUM_ITERATIONS = 15


class Model(torch.nn.Module):
    """Squares and hyperbolic tangents of weighted sums, which is easily written twice."""

    def __init__(self, weights):
        super().__init__()
        self.weights = torch.as_tensor(weights)

    def forward(self, images):
        sums = images.flatten(1) @ self.weights.T
        return torch.cat([sums**2, torch.tanh(sums)], dim=1)[:, None, None]


def main():
    rng = np.random.default_rng(9)
    image_a, image_b = rng.random((2, 1, 2, 5, 6))
    weights = rng.normal(size=(20, 60)) / 5
    time = np.linspace(0, 1, N_STEPS + 1).reshape(-1, 1, 1, 1)
    start = (1 - time) * image_a + time * image_b
    start[1:-1] += 0.2 * rng.normal(size=start[1:-1].shape)

    ends = torch.as_tensor(image_a), torch.as_tensor(image_b)
    by_default = po.synth.Geodesic(*ends, Model(weights).eval(), n_steps=N_STEPS)
    by_default.synthesize(max_iter=NUM_ITERATIONS, stop_criterion=0.0)

    problem = po.synth.Geodesic(*ends, Model(weights).eval(), n_steps=N_STEPS)
    problem.setup(optimizer=torch.optim.Adam, optimizer_kwargs={"lr": 0.01, "amsgrad": False})
    problem._geodesic.data = torch.tensor(start[1:-1])
    loss = problem.objective_function()
    (gradient,) = torch.autograd.grad(loss, problem._geodesic)
    found = {
        "loss": loss.item(),
        "gradient": gradient.numpy(),
        "jerkiness": problem.calculate_jerkiness().detach().numpy(),
    }
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        problem.synthesize(max_iter=NUM_ITERATIONS, store_progress=1)
    (said,) = [str(one.message) for one in caught if "stop_criterion" in str(one.message)]
    np.savez_compressed(
        Path(__file__).with_name("geodesic.npz"),
        image_a=image_a[0],
        image_b=image_b[0],
        weights=weights,
        start=start,
        stop_criterion=float(said.split()[-1]),
        losses_by_default=np.asarray(by_default.losses),
        end=problem.geodesic.detach().numpy(),
        losses=np.asarray(problem.losses),
        pixel_change_norm=np.asarray(problem.pixel_change_norm),
        step_energy=problem.step_energy.numpy(),
        deviation_from_line=problem.dev_from_line.numpy(),
        **found,
    )


if __name__ == "__main__":
    main()
