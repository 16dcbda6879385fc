import json

import jax
import numpy as np
import pooch
import pytest

import plenoptax as plx
from plenoptax.cli import main


@pytest.fixture(autouse=True)
def compilation_cache(tmp_path):
    """Where compiled programs go, so that the user's own folder is left alone."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "cache"))
    yield
    for name, value in before.items():
        jax.config.update(name, value)


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


def test_no_steps_write_the_initial_image(folder):
    assert run("brick.png", "--model", "gaussian", "--steps", "0") == 0
    assert len(json.loads((folder / "metamer.json").read_text())["losses"]) == 1


def test_a_photograph_goes_by_its_name(folder):
    assert run("gravel", *GAUSSIAN) == 0
    assert plx.load_images("metamer.png").shape == (1, 256, 256)


def test_color_becomes_gray_with_a_notice(folder, capsys):
    plx.data.save_image("astronaut.png", plx.data.astronaut()[:, :64, :64])
    assert run("astronaut.png", *GAUSSIAN) == 0
    assert "gray" in capsys.readouterr().out
    assert plx.load_images("metamer.png", as_gray=False).shape == (3, 64, 64)
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
        (write_too_small, ("image.png",), "50"),
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


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("brick.png", "--model", "retina"), "retina"),
        (("brick.png", "--steps", "-1"), "-1"),
        (("brick.png", "--steps", "many"), "many"),
        (("brick.png", "--seed", "0.5"), "0.5"),
        (("brick.png", "--speed", "5"), "--speed"),
        ((), "image"),
    ],
)
def test_wrong_arguments_are_named(folder, capsys, arguments, reason):
    assert run(*arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line
    assert files_of(folder) == {"brick.png"}


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
