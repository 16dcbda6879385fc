import json
import logging
import signal

import imageio.v3 as iio
import jax
import numpy as np
import pooch
import pytest
from jax.experimental.compilation_cache.compilation_cache import reset_cache

import plenoptax as plx
from plenoptax import cli
from plenoptax.cli import main
from plenoptax.solve import _run


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


def test_a_failure_to_write_changes_no_file(folder, capsys, monkeypatch):
    assert run("brick.png", *GAUSSIAN) == 0
    before = contents_of(folder)

    def fail(result):
        raise OSError("No space left on device")

    monkeypatch.setattr(plx.plot, "synthesis_status", fail)
    capsys.readouterr()
    assert run("brick.png", *GAUSSIAN, "--seed", "1") == 2
    said = capsys.readouterr()
    bar, line = said.err.rsplit("\n", 2)[:2]
    assert line == "plenoptax: No space left on device"
    assert "plenoptax" not in bar
    assert said.out == ""
    assert contents_of(folder) == before


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
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(_run.ProgressBar, "update", interrupt)
    assert run("brick.png", "--model", "gaussian", "--steps", "1000") == 0
    assert "Interrupted" in capsys.readouterr().out
    assert files_of(folder) == {"brick.png", "metamer.png", "metamer-status.png", "metamer.json"}
    facts = json.loads((folder / "metamer.json").read_text())
    assert 0 < facts["steps"] < 1000
    assert "nterrupt" in facts["status"]


def test_ctrl_c_while_writing_changes_no_file(folder, monkeypatch):
    assert run("brick.png", *GAUSSIAN) == 0
    before = contents_of(folder)

    def interrupt(result):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(plx.plot, "synthesis_status", interrupt)
    assert run("brick.png", *GAUSSIAN, "--seed", "1") == 130
    assert contents_of(folder) == before


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
    _, *entries = capsys.readouterr().out.split("\n  --")
    assert [(entry.split()[0], entry.split()[-1]) for entry in entries] == [
        ("model", "(portilla-simoncelli)"),
        ("steps", "(500)"),
        ("seed", "(0)"),
        ("out", "(metamer.png)"),
    ]


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
