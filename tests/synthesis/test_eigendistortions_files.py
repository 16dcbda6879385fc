import dataclasses
import re
import zipfile

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import plenoptax as plx

from .eigen import crop


MODEL = plx.models.Gaussian(7)


def find(image, method="block_lanczos", model=MODEL, **options):
    return plx.eigendistortions(
        image, model, method=method, k=2, progress=False, key=jax.random.key(3), **options
    )


@pytest.fixture(scope="module")
def unfinished():
    return find(crop(16), max_products=20)


@pytest.mark.parametrize("method", ["block_lanczos", "power", "randomized_svd", "exact", "auto"])
def test_eigendistortions_survive_a_file(tmp_path, method):
    options = {"which": "top"} if method == "randomized_svd" else {}
    found = find(crop(10), method, max_iter=3, **options)
    found.save(tmp_path / "found.npz")
    again = plx.Eigendistortions.load(tmp_path / "found.npz")
    assert eqx.tree_equal(again, found)
    assert type(again.eigenvalues) is np.ndarray
    assert str(again.report()) == str(found.report())
    assert [file.name for file in tmp_path.iterdir()] == ["found.npz"]


def test_a_search_goes_on_from_a_file_as_if_it_had_never_stopped(tmp_path, unfinished):
    unfinished.save(tmp_path / "found.npz")
    loaded = plx.Eigendistortions.load(tmp_path / "found.npz")
    resumed, whole = find(crop(16), resume=loaded), find(crop(16))
    assert unfinished.num_products < resumed.num_products == whole.num_products
    np.testing.assert_array_equal(resumed.eigendistortions, whole.eigendistortions)
    np.testing.assert_array_equal(resumed.eigenvalues, whole.eigenvalues)
    assert resumed.provenance["wall_time"] > unfinished.provenance["wall_time"]


def test_another_search_is_not_resumed(unfinished, getkey):
    other = jax.random.uniform(getkey(), (1, 16, 16))
    with pytest.raises(ValueError, match="another image"):
        find(other, resume=unfinished)
    # A linear model has one Jacobian for all images: only the model tells.
    wider = plx.models.Gaussian(7, std=1.0)
    for resume in (unfinished, unfinished.state):
        with pytest.raises(ValueError, match="same image, model, noise and subspace"):
            find(crop(16), model=wider, resume=resume)
    with pytest.raises(ValueError, match="same image, model, noise and subspace"):
        find(crop(16), noise=plx.linalg.GaussianNoise(4.0), resume=unfinished)


def test_files_in_float64_are_not_cut_down(tmp_path):
    with jax.enable_x64(True):
        found = find(crop(10).astype(jnp.float64), "exact")
        found.save(tmp_path / "found.npz")
        assert eqx.tree_equal(plx.Eigendistortions.load(tmp_path / "found.npz"), found)
    with pytest.raises(ValueError, match=r"float64.*jax_enable_x64"):
        plx.Eigendistortions.load(tmp_path / "found.npz")


def test_every_array_of_a_file_is_checked(tmp_path, unfinished):
    path = tmp_path / "found.npz"
    unfinished.save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    names = [name for name in members if not name.startswith("plenoptax")]
    assert {"eigendistortions.npy", "state.basis.npy"} < set(names)
    for name in names:
        for content in (None, members[name][:-1], members["eigenindex.npy"]):
            if content == members[name]:
                continue
            with zipfile.ZipFile(path, "w") as archive:
                for other, old in members.items():
                    new = content if other == name else old
                    if new is not None:
                        archive.writestr(other, new)
            with pytest.raises(ValueError, match=re.escape(name.removesuffix(".npy"))):
                plx.Eigendistortions.load(path)


def test_files_of_other_things_are_refused(tmp_path, unfinished, capsys):
    problem = plx.Metamer(crop(16), MODEL)
    state = plx.init(problem, plx.lbfgs(), key=jax.random.key(0))
    plx.io.save(tmp_path / "state.npz", state)
    with pytest.raises(ValueError, match="got 'synthesis'"):
        plx.Eigendistortions.load(tmp_path / "state.npz")
    unfinished.save(tmp_path / "found.npz")
    with pytest.raises(ValueError, match="must hold the state of a synthesis"):
        plx.io.load(tmp_path / "found.npz", like=state)
    with pytest.raises(ValueError, match="got Eigendistortions"):
        plx.io.load_trace(tmp_path / "found.npz")
    with pytest.raises(FileNotFoundError, match="folder"):
        unfinished.save(tmp_path / "none" / "found.npz")
    plx.io.examine_saved_synthesis(tmp_path / "found.npz")
    printed = capsys.readouterr().out
    assert re.search(r"^ +model +Gaussian$", printed, re.MULTILINE)
    assert re.search(r"^ +num_products +\d+$", printed, re.MULTILINE)
    assert re.search(r"^ +state\.basis +float32\[128, 256\]$", printed, re.MULTILINE)


def test_reports_tell_what_was_found_and_how(unfinished):
    report = unfinished.report()
    assert report.status["top"] == plx.linalg.EigenStatus[unfinished.status["top"]]
    # A change of norm 1 has the root mean square 1/16 over an image of 16 x 16.
    seen = report.eigenvalues[:2]
    np.testing.assert_allclose(report.thresholds[:2], 1 / (16 * np.sqrt(seen)), rtol=1e-5)
    assert "berardino2017eigen" in report.bibtex
    facts = report.provenance
    assert facts["model"] == "Gaussian"
    assert facts["method"] == "block_lanczos"
    assert facts["key"] == [0, 3]
    assert {"jax", "plenoptax"} <= set(facts["versions"])
    for text in ("Gaussian", f"{unfinished.num_products} products", "[0, 3]", "at least"):
        assert text in str(report)


def test_thresholds_of_invisible_changes_are_bounds():
    image = crop(6)

    def blind(image):
        return image.at[:, :3].set(0.0)

    found = plx.eigendistortions(image, blind, noise=plx.linalg.GaussianNoise(0.25), progress=False)
    report = found.report()
    assert report.is_bound.tolist() == [False, True]
    assert report.thresholds[0] == pytest.approx(0.5 / 6, rel=1e-5)
    assert report.thresholds[1] == pytest.approx(1 / (6 * found.floor**0.5), rel=1e-5)
    assert "> " in str(report).splitlines()[-1]
    assert "GaussianNoise(covariance=0.25" in str(report)
    assert report.provenance["model"] == "blind"


def test_what_cannot_be_resumed_is_saved_small(tmp_path, unfinished):
    unfinished.save(tmp_path / "whole.npz")
    dataclasses.replace(unfinished, state=None).save(tmp_path / "small.npz")
    small = plx.Eigendistortions.load(tmp_path / "small.npz")
    assert small.state is None
    sizes = [(tmp_path / name).stat().st_size for name in ("small.npz", "whole.npz")]
    assert sizes[0] < 0.1 * sizes[1]
