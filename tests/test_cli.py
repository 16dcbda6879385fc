import errno
import json
import logging
import os
import pathlib
import signal
import subprocess
import sys

import equinox as eqx
import imageio.v3 as iio
import jax
import jax.numpy as jnp
import numpy as np
import pooch
import pytest
from jax.experimental.compilation_cache.compilation_cache import reset_cache

import plenoptax as plx
from plenoptax import cli
from plenoptax.cli import main
from plenoptax.solve import _run


ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def compilation_cache(tmp_path):
    """Where compiled programs go, so that the user's own folder is left alone."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "cache"))
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    # JAX holds on to the folder that it used first, also for the tests that come after these.
    reset_cache()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with an image in it."""
    folder = tmp_path / "work"
    folder.mkdir()
    plx.data.save_image(folder / "brick.png", plx.data.brick()[:, :64, :64])
    monkeypatch.chdir(folder)
    return folder


def run(*arguments):
    try:
        return main(["metamer", *arguments])
    except SystemExit as error:
        return error.code


def files_of(folder):
    return {path.name for path in folder.iterdir()}


def contents_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


GAUSSIAN = ("--model", "gaussian", "--steps", "3")


def test_metamer_writes_the_image_the_figure_and_the_numbers(folder, capsys):
    assert run("brick.png", *GAUSSIAN, "--seed", "4", "--out", "blurred.png") == 0
    written = {"blurred.png", "blurred-status.png", "blurred.json"}
    assert files_of(folder) == written | {"brick.png"}
    image = plx.load_images("blurred.png")
    assert image.shape == (1, 64, 64)
    assert plx.load_images("blurred-status.png").shape[1] > 100
    facts = json.loads((folder / "blurred.json").read_text())
    assert facts["steps"] == 3
    assert len(facts["losses"]) == len(facts["penalties"]) == 4
    assert facts["losses"][-1] < facts["losses"][0]
    assert facts["model"] == "gaussian"
    assert facts["seed"] == 4
    assert facts["success"] is None
    assert "no null" in facts["criterion"]
    assert "step" in facts["status"]
    assert set(facts["provenance"]["versions"]) >= {"plenoptax", "jax"}
    said = capsys.readouterr().out
    assert "3 steps" in said
    assert all(name in said for name in written)


def test_the_image_is_that_of_the_function(folder):
    assert run("brick.png", *GAUSSIAN, "--seed", "4") == 0
    result = plx.metamer(
        plx.load_images("brick.png"),
        plx.models.Gaussian((31, 31)),
        key=jax.random.key(4),
        max_steps=3,
        progress=False,
    )
    written = plx.load_images("metamer.png")
    np.testing.assert_allclose(written, np.clip(result.image, 0, 1), atol=1 / 255)
    facts = json.loads((folder / "metamer.json").read_text())
    np.testing.assert_allclose(facts["losses"], result.trace.losses, rtol=1e-5)


@pytest.fixture
def texture(folder):
    """The name of an image that is large enough for the default model."""
    plx.data.save_image(folder / "texture.png", plx.data.brick()[:, :128, :128])
    return "texture.png"


def test_the_defaults_are_those_that_are_documented(texture, monkeypatch):
    asked = {}

    def metamer(image, model, **options):
        asked.update(options, model=model)
        raise ValueError("That is enough.")

    monkeypatch.setattr(cli, "metamer", metamer)
    assert run(texture) == 2
    assert asked.pop("key") == jax.random.key(0)
    assert isinstance(asked.pop("model"), plx.models.PortillaSimoncelli)
    assert asked == {"max_steps": 500}


def test_a_texture_by_the_default_model(folder, texture):
    before = files_of(folder)
    assert run(texture, "--steps", "2") == 0
    assert files_of(folder) - before == {"metamer.png", "metamer-status.png", "metamer.json"}
    assert plx.load_images("metamer.png").shape == (1, 128, 128)
    facts = json.loads((folder / "metamer.json").read_text())
    assert (facts["model"], facts["seed"]) == ("portilla-simoncelli", 0)
    assert facts["losses"][0] > facts["losses"][1] > facts["losses"][2] > 0
    # Judged against unrelated photographs, as other models are not.
    assert facts["success"] is False


def test_no_steps_write_the_initial_image(folder):
    assert run("brick.png", "--model", "gaussian", "--steps", "0") == 0
    assert len(json.loads((folder / "metamer.json").read_text())["losses"]) == 1


def test_a_photograph_goes_by_its_name(folder):
    assert run("gravel", *GAUSSIAN) == 0
    assert plx.load_images("metamer.png").shape == (1, 256, 256)


def test_the_smallest_image_of_the_default_model_is_named(folder, capsys, monkeypatch):
    def metamer(image, model, **options):
        raise ValueError(f"That is enough of {image.shape}.")

    monkeypatch.setattr(cli, "metamer", metamer)
    plx.data.save_image(folder / "enough.png", plx.data.brick()[:, :97, :128])
    assert run("enough.png") == 2
    assert capsys.readouterr().err == "plenoptax: That is enough of (1, 97, 128).\n"
    plx.data.save_image(folder / "small.png", plx.data.brick()[:, :128, :96])
    assert run("small.png") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert all(reason in line for reason in ("128 by 96", "at least 97", "--model gaussian"))
    # The limit is that of the model, not a stricter one.
    with pytest.raises(ValueError, match="96"):
        plx.models.PortillaSimoncelli((128, 96))


def test_the_smallest_image_does_for_the_other_model(folder):
    plx.data.save_image(folder / "pixel.png", plx.data.brick()[:, :1, :1])
    assert run("pixel.png", *GAUSSIAN) == 0
    assert plx.load_images("metamer.png").shape == (1, 1, 1)


def test_doubts_about_a_run_are_said_and_written(folder, capsys):
    # The start is the target, to the eye: a loss far below the tolerance of the stop rule.
    start = jax.random.uniform(jax.random.key(0), (1, 1, 1))
    plx.data.save_image(folder / "pixel.png", start)
    assert run("pixel.png", "--model", "gaussian", "--steps", "60") == 0
    facts = json.loads((folder / "metamer.json").read_text())
    assert facts["steps"] == 51
    assert facts["success"] is False
    assert "visually the target" in facts["criterion"]
    (caution,) = facts["cautions"]
    assert "RelativeLossChange" in caution
    assert caution in capsys.readouterr().out


def test_the_extension_may_be_in_capitals(folder):
    assert run("brick.png", *GAUSSIAN, "--out", "A.PNG") == 0
    assert files_of(folder) == {"brick.png", "A.PNG", "A-status.png", "A.json"}
    assert (folder / "A.PNG").read_bytes().startswith(b"\x89PNG")


def test_the_largest_seed_is_taken(folder):
    assert run("brick.png", *GAUSSIAN, "--seed", "4294967295") == 0
    assert json.loads((folder / "metamer.json").read_text())["seed"] == 4294967295


def test_color_becomes_gray_with_a_notice(folder, capsys):
    plx.data.save_image("astronaut.png", plx.data.astronaut()[:, :64, :64])
    assert run("astronaut.png", *GAUSSIAN) == 0
    assert "plx.load_images(..., as_gray=True)" in capsys.readouterr().out
    assert iio.imread("metamer.png").shape == (64, 64)
    assert run("brick.png", *GAUSSIAN) == 0
    assert "gray" not in capsys.readouterr().out


def test_the_type_of_a_file_is_what_is_in_it(folder):
    (folder / "brick.png").rename(folder / "brick")
    assert run("brick", *GAUSSIAN) == 0
    assert plx.load_images("metamer.png").shape == (1, 64, 64)


def write_text(folder):
    (folder / "image.png").write_text("This is no image.\n")


def write_half_an_image(folder):
    whole = (folder / "brick.png").read_bytes()
    (folder / "image.png").write_bytes(whole[: len(whole) // 2])


def write_nothing(folder):
    (folder / "image.png").touch()


def write_too_small(folder):
    plx.data.save_image(folder / "image.png", plx.data.brick()[:, :50, :63])


def make_folder(folder):
    (folder / "image.png").mkdir()


@pytest.mark.parametrize(
    ("prepare", "arguments", "reason"),
    [
        (None, ("image.png",), "image.png"),
        (None, ("stones",), "gravel"),
        (write_text, ("image.png",), "image.png"),
        (write_half_an_image, ("image.png",), "image.png"),
        (write_nothing, ("image.png",), "image.png"),
        (make_folder, ("image.png",), "image.png"),
        (write_too_small, ("image.png",), "50 by 63"),
        (None, ("brick.png", *GAUSSIAN, "--out", "metamer.jpg"), "metamer.jpg"),
        (None, ("brick.png", *GAUSSIAN, "--out", "metamer"), ".png"),
        (None, ("brick.png", *GAUSSIAN, "--out", "nowhere/metamer.png"), "nowhere"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(folder, capsys, prepare, arguments, reason):
    if prepare is not None:
        prepare(folder)
    before = files_of(folder)
    assert run(*arguments) == 2
    said = capsys.readouterr()
    assert len(said.err.splitlines()) == 1
    assert reason in said.err
    assert said.out == ""
    assert files_of(folder) == before


def test_a_full_disk_changes_no_file(folder, capsys, monkeypatch):
    assert run("brick.png", *GAUSSIAN) == 0
    before = contents_of(folder)

    def fail(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    capsys.readouterr()
    assert run("brick.png", *GAUSSIAN, "--seed", "1") == 2
    said = capsys.readouterr()
    line = said.err.splitlines()[-1]
    assert line == "plenoptax: 'metamer.png' cannot be used: No space left on device"
    assert said.out == ""
    assert contents_of(folder) == before


def test_a_metamer_is_not_lost_to_its_figure(folder, capsys, monkeypatch):
    def fail(result):
        raise RuntimeError("No colors left.")

    monkeypatch.setattr(plx.plot, "synthesis_status", fail)
    assert run("brick.png", *GAUSSIAN) == 1
    assert files_of(folder) == {"brick.png", "metamer.png", "metamer.json"}
    said = capsys.readouterr()
    line = said.err.splitlines()[-1]
    assert line == "plenoptax: the figure metamer-status.png was not drawn: No colors left."
    assert said.out.endswith("wrote metamer.png, metamer.json\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
@pytest.mark.parametrize("output", ["full", "closed", "ascii"])
def test_a_metamer_is_not_lost_to_the_standard_output(folder, output):
    (folder / "brick.png").rename(folder / "brück.png")
    redirect = {"full": ">/dev/full", "closed": ">&-", "ascii": ">out.txt"}[output]
    command = f"{sys.executable} -m plenoptax metamer brück.png --model gaussian --steps 1"
    ended = subprocess.run(
        ["sh", "-c", f"{command} --out bild-ü.png {redirect}"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == {"full": 1, "closed": 0, "ascii": 0}[output], ended.stderr
    assert "Traceback" not in ended.stderr
    assert "Exception" not in ended.stderr
    assert {"bild-ü.png", "bild-ü.json", "bild-ü-status.png"} <= files_of(folder)
    if output == "ascii":
        assert "wrote bild-\\xfc.png" in (folder / "out.txt").read_text()


def test_several_images_are_written_under_their_names(folder, capsys):
    (folder / "out").mkdir()
    assert run("brick", "grass", *GAUSSIAN, "--out", f"out{os.sep}") == 0
    names = {
        f"{name}{end}" for name in ("brick", "grass") for end in (".png", "-status.png", ".json")
    }
    assert files_of(folder / "out") == names
    assert json.loads((folder / "out" / "grass.json").read_text())["image"] == "grass"
    assert capsys.readouterr().out.count("wrote") == 2
    before = contents_of(folder / "out")
    for arguments, reason in (
        (("brick", "grass", "--out", "one.png"), "must be a folder"),
        (("brick.png", "grass"), "'brick.png'"),
        (("brick", "brick", "--out", "out"), "different names"),
        (("brick", "grass", "--out", f"none{os.sep}"), "none"),
    ):
        assert run(*arguments, *GAUSSIAN) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert reason in line
    assert contents_of(folder / "out") == before


def test_eigendistortions_are_those_of_the_function(folder, capsys):
    assert main(["eigendistortions", "brick.png", "--model", "gaussian"]) == 0
    names = {"", "-status", "-most", "-least"}
    written = {f"eigendistortions{end}.png" for end in names - {""}} | {"eigendistortions.json"}
    assert files_of(folder) == written | {"brick.png"}
    image, model = plx.load_images("brick.png"), plx.models.Gaussian((31, 31))
    found = plx.eigendistortions(image, model, key=jax.random.key(0), progress=False)
    facts = json.loads((folder / "eigendistortions.json").read_text())
    np.testing.assert_allclose(facts["eigenvalues"][0], found.eigenvalues[0], rtol=1e-5)
    most = found.eigendistortions[0]
    shown = plx.load_images("eigendistortions-most.png")
    np.testing.assert_allclose(2 * shown - 1, most / abs(most).max(), atol=2 / 255)
    assert "eigenvalues" in capsys.readouterr().out


def test_two_metrics_compete_in_four_images(folder, capsys):
    assert main(["mad", "brick.png", "--metric", "ssim", "mse", "--steps", "2"]) == 0
    four = {f"mad-{metric}-{end}.png" for metric in ("ssim", "mse") for end in ("min", "max")}
    assert files_of(folder) == four | {"mad-status.png", "mad.json", "brick.png"}
    facts = json.loads((folder / "mad.json").read_text())
    terms = facts["ssim-min"]["terms"]
    assert facts["metrics"] == ["ssim", "mse"]
    assert terms["optimized_metric"][-1] < terms["optimized_metric"][0]
    assert "ssim-min" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["geodesic", "conditional-geodesic"])
def test_methods_of_two_images_name_their_function(command, capsys):
    with pytest.raises(SystemExit) as exit:
        main([command, "brick", "grass"])
    assert exit.value.code == 2
    assert f"plenoptax.{command.replace('-', '_')}" in capsys.readouterr().err


IMPORTED = """
import runpy, signal, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
runpy.run_module("plenoptax", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("name", ["plenoptax.cli", "jax", "equinox", "plenoptax.synthesis"])
def test_ctrl_c_while_importing_is_one_line(name):
    ended = subprocess.run(
        [sys.executable, "-c", IMPORTED, name],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stderr) == (
        130,
        "plenoptax: interrupted; nothing was written\n",
    )


def test_the_bar_is_written_twice_where_nobody_watches(folder, capsys, monkeypatch):
    assert run("brick.png", "--model", "gaussian", "--steps", "40") == 0
    said = capsys.readouterr()
    assert said.err.count("\r") == 2
    # The last number of the bar is that of the summary.
    assert f"{float(said.out.split()[1]):.4e}" in said.err
    monkeypatch.setenv("TQDM_DISABLE", "1")
    ended = subprocess.run(
        [sys.executable, "-m", "plenoptax", "metamer", "brick.png", *GAUSSIAN],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("name", ["metamer.png", "metamer-status.png", "metamer.json"])
def test_a_folder_in_the_place_of_a_file_is_seen_before_the_synthesis(
    folder, capsys, monkeypatch, name
):
    (folder / name).mkdir()
    monkeypatch.setattr(cli, "metamer", None)
    assert run("brick.png", *GAUSSIAN) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert name in line
    assert files_of(folder) == {"brick.png", name}


@pytest.mark.parametrize("name", ["metamer.png", "metamer-status.png", "metamer.json"])
def test_the_image_itself_is_not_overwritten(folder, capsys, name):
    (folder / "brick.png").rename(folder / name)
    (folder / "link").symlink_to(name)
    before = contents_of(folder)
    for image in (name, str(folder / name), "link"):
        assert run(image, *GAUSSIAN) == 2
        said = capsys.readouterr()
        (line,) = said.err.splitlines()
        assert repr(name) in line
        assert "--out" in line
        assert said.out == ""
        assert contents_of(folder) == before


def test_ctrl_c_before_running_says_so_in_one_line(folder, capsys, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "metamer", interrupt)
    before = contents_of(folder)
    assert run("brick.png", *GAUSSIAN) == 130
    assert capsys.readouterr().err == "plenoptax: interrupted; nothing was written\n"
    assert contents_of(folder) == before


def test_ctrl_c_while_running_writes_the_metamer_so_far(folder, capsys, monkeypatch):
    def interrupt(bar, num_steps, newest):
        if num_steps:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(_run.ProgressBar, "update", interrupt)
    assert run("brick.png", "--model", "gaussian", "--steps", "1000") == 0
    assert "Interrupted" in capsys.readouterr().out
    # A figure takes seconds.
    assert files_of(folder) == {"brick.png", "metamer.png", "metamer.json"}
    facts = json.loads((folder / "metamer.json").read_text())
    assert 0 < facts["steps"] < 1000
    assert "nterrupt" in facts["status"]


def test_ctrl_c_while_it_is_judged_keeps_the_metamer(folder, capsys, monkeypatch):
    def interrupt(result):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(plx.Result, "report", interrupt)
    assert run("brick.png", *GAUSSIAN) == 0
    assert "Interrupted" in capsys.readouterr().out
    assert files_of(folder) == {"brick.png", "metamer.png", "metamer.json"}
    assert json.loads((folder / "metamer.json").read_text())["success"] is None


def test_ctrl_c_while_drawing_keeps_the_metamer(folder, capsys, monkeypatch):
    def interrupt(result):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(plx.plot, "synthesis_status", interrupt)
    assert run("brick.png", *GAUSSIAN, "--seed", "1") == 1
    assert files_of(folder) == {"brick.png", "metamer.png", "metamer.json"}
    assert "was not drawn" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("brick.png", "--model", "retina"), "retina"),
        (("brick.png", "--steps", "-1"), "-1"),
        (("brick.png", "--steps", "many"), "many"),
        (("brick.png", "--steps", "1e3"), "'1e3' is not a whole number"),
        (("brick.png", "--seed", "0.5"), "'0.5' is not a whole number"),
        (("brick.png", "--seed", "-1"), "--seed: -1 is negative"),
        (("brick.png", "--seed", "4294967296"), "4294967295"),
        (("brick.png", "--seed", "99999999999999999999"), "4294967295"),
        (("brick.png", "--speed", "5"), "--speed"),
        ((), "image"),
    ],
)
def test_wrong_arguments_are_named(folder, capsys, arguments, reason):
    assert run(*arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line
    assert files_of(folder) == {"brick.png"}


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as exit:
        main(["--version"])
    assert exit.value.code == 0
    assert capsys.readouterr().out == f"plenoptax {plx.__version__}\n"


def test_the_help_tells_every_default(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    assert run("--help") == 0
    text = capsys.readouterr().out
    _, *entries = text.split("\n  --")
    assert [(entry.split()[0], entry.split()[-1]) for entry in entries] == [
        ("seed", "(0)"),
        ("out", "(metamer.png)"),
        ("model", "(portilla-simoncelli)"),
        ("steps", "(500)"),
    ]
    assert "`" not in text


def test_compiled_programs_are_kept_where_the_system_keeps_such_things(
    folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "system" / project)
    jax.config.update("jax_compilation_cache_dir", None)
    assert run("brick.png", *GAUSSIAN) == 0
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "system" / "plenoptax" / "jax")


def test_a_compilation_cache_of_the_user_is_used(folder, tmp_path):
    assert run("brick.png", *GAUSSIAN) == 0
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "cache")


def test_an_image_file_that_cannot_be_read_is_said_in_one_line(folder, capsys, monkeypatch):
    # As outside of pytest, which takes what is logged.
    for name in ("", "tifffile"):
        monkeypatch.setattr(logging.getLogger(name), "handlers", [])
    # Its tags are to begin at byte 1000.
    (folder / "cut.tif").write_bytes(b"II*\0\xe8\3\0\0" + bytes(40))
    (folder / "scan.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    for name in ("cut.tif", "scan.heic"):
        assert run(name) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"plenoptax: {name} cannot be read: ")
        assert error.count("\n") == 1


class Bands(eqx.Module):
    """A model of two scales."""

    scales = ("coarse", "fine")

    def __call__(self, image, scales=scales):
        coarse = image.reshape(1, 8, 2, 8, 2).mean((2, 4))
        return jnp.concatenate([{"coarse": coarse, "fine": image}[s].ravel() for s in scales])


def test_stages_that_never_began_are_named_beside_the_small_loss():
    image = plx.data.brick()[:, :16, :16]
    result = plx.metamer_ctf(image, Bands(), key=jax.random.key(0), max_steps=2, progress=False)
    made = cli._made_of(result)
    assert made.facts["stages"] == "under way coarse (2 steps); never begun all"
    assert made.lines[-2:] == [
        "stages: under way coarse (2 steps); never begun all",
        f"loss {result.trace.losses[-1]:.6g} after 2 steps",
    ]
    assert (
        "stages"
        not in cli._made_of(
            plx.metamer(
                image, plx.models.Gaussian(3), key=jax.random.key(0), max_steps=2, progress=False
            )
        ).lines[-2:][0]
    )


COMMANDS = ("metamer", "metamer-ctf", "eigendistortions", "mad")
BAD = [
    (),
    ("",),
    ("none.png",),
    ("stones",),
    ("notes.txt",),
    ("empty.png",),
    ("half.png",),
    ("folder",),
    ("nan.tif",),
    ("a\0b",),
    ("x" * 300,),
    ("brick.png", "none.png"),
    ("brick.png", "--seed"),
    ("brick.png", "--seed", "-1"),
    ("brick.png", "--seed", "1.5"),
    ("brick.png", "--seed", "one"),
    ("brick.png", "--seed", ""),
    ("brick.png", "--seed", "99999999999999999999"),
    ("brick.png", "--steps", "-1"),
    ("brick.png", "--steps", "2.5"),
    ("brick.png", "--steps", "1e3"),
    ("brick.png", "--steps", "nan"),
    ("brick.png", "--steps", ""),
    ("brick.png", "--out"),
    ("brick.png", "--out", ""),
    ("brick.png", "--out", "metamer.jpg"),
    ("brick.png", "--out", "metamer"),
    ("brick.png", "--out", "none/metamer.png"),
    ("brick.png", "--out", "notes.txt/metamer.png"),
    ("brick.png", "--out", f"{'x' * 300}.png"),
    ("brick.png", "--out", "a\0b.png"),
    ("brick.png", "--model", "retina"),
    ("brick.png", "--metric", "ssim"),
    ("brick.png", "--metric", "ssim", "beauty"),
    ("brick.png", "--metric", "ssim", "mse", "nlpd"),
    ("brick.png", "--speed", "5"),
    ("brick.png", "brick.png", "--out", "one.png"),
    ("brick", "brick", "--out", "folder"),
]


@pytest.mark.parametrize("arguments", BAD, ids=lambda arguments: " ".join(arguments)[:40])
@pytest.mark.parametrize("command", COMMANDS)
def test_bad_command_lines_end_with_one_line(folder, capsys, command, arguments):
    (folder / "folder").mkdir()
    (folder / "notes.txt").write_text("No image.\n")
    (folder / "empty.png").touch()
    whole = (folder / "brick.png").read_bytes()
    (folder / "half.png").write_bytes(whole[: len(whole) // 2])
    iio.imwrite(folder / "nan.tif", np.full((128, 128), np.nan, np.float32))
    before = contents_of(folder / "folder") | {path.name: 0 for path in folder.iterdir()}
    try:
        code = main([command, *arguments])
    except SystemExit as error:
        code = error.code
    said = capsys.readouterr()
    assert code == 2
    (line,) = said.err.splitlines()
    assert line.startswith("plenoptax: ")
    assert len(line) > len("plenoptax: ")
    assert said.out == ""
    assert contents_of(folder / "folder") | {path.name: 0 for path in folder.iterdir()} == before
