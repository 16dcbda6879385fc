"""Write mad.npz, plenoptic 2.1.1's MAD competition in float64: ``python make_mad.py``."""

import contextlib
import io
from pathlib import Path

import numpy as np
import plenoptic as po
import torch


NUM_STEPS = 20
WEIGHT = 300.0


def ssim_distance(image, other):
    return 1 - po.metric.ssim(image, other, weighted=True, pad="reflect").mean()


def main():
    rng = np.random.default_rng(8)
    image = 0.1 + 0.8 * rng.random((1, 1, 20, 16)).cumsum(-1) / 16
    start = image + 0.1 * rng.standard_normal(image.shape)
    other = start + 0.05 * rng.standard_normal(image.shape)
    values = {}
    for minmax in ("min", "max"):
        mad = po.MADCompetition(
            torch.as_tensor(image), ssim_distance, po.metric.mse, minmax, WEIGHT
        )
        mad.setup(optimizer=torch.optim.Adam, optimizer_kwargs={"lr": 0.01})
        # plenoptic draws its start and takes no other.
        mad._mad_image.data = torch.tensor(start)
        mad._reference_metric_target = po.metric.mse(torch.as_tensor(image), mad._mad_image).item()
        point = torch.as_tensor(other).requires_grad_()
        objective = mad.objective_function(point)
        values[f"{minmax}_objective"] = objective.item()
        values[f"{minmax}_gradient"] = torch.autograd.grad(objective, point)[0].numpy()[0]
        with contextlib.redirect_stderr(io.StringIO()):
            mad.synthesize(NUM_STEPS, stop_criterion=0)
        values[f"{minmax}_losses"] = mad.losses.numpy()
        values[f"{minmax}_image"] = mad.mad_image.detach().numpy()[0]
        values[f"{minmax}_optimized"] = mad.optimized_metric_loss.numpy()
        values[f"{minmax}_reference"] = mad.reference_metric_loss.numpy()
    path = Path(__file__).with_name("mad.npz")
    np.savez_compressed(
        path, image=image[0], start=start[0], other=other[0], weight=WEIGHT, **values
    )


if __name__ == "__main__":
    main()
