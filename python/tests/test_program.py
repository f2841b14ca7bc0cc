"""The program that comes with the package, and its types."""

import importlib.util
import pathlib
import subprocess
import sys

import pytest

import mollify as ml

folder = pathlib.Path(ml.__file__).parent


def test_the_command_line():
    if not (folder / "mollify").exists():
        pytest.skip("the package was built without the program")
    run = subprocess.run([sys.executable, "-m", "mollify", "info"], capture_output=True, text=True)
    assert run.returncode == 0 and "mollify" in run.stdout
    wrong = subprocess.run([sys.executable, "-m", "mollify", "trian"], capture_output=True, text=True)
    assert wrong.returncode == 2


def test_types_are_installed():
    if not (folder / "_core").exists():
        pytest.skip("the package was built without its stubs")
    stubs = {path.relative_to(folder / "_core").as_posix() for path in (folder / "_core").rglob("*.pyi")}
    assert {"__init__.pyi", "optim.pyi", "smoothing.pyi", "datasets.pyi", "nn/__init__.pyi", "nn/bounds.pyi"} <= stubs
    assert (folder / "py.typed").exists()


def test_onnx_is_loaded_when_it_is_asked_for():
    assert importlib.util.find_spec("mollify._onnx") is not None
    with pytest.raises(ml.Error, match="none.onnx|ONNX"):
        ml.nn.formats.read_onnx("none.onnx")


def test_arrays_of_numpy(tmp_path, rng):
    np = pytest.importorskip("numpy")
    a = rng.normal(size=(2, 3))
    ml.nn.formats.write_npy(tmp_path / "a.npy", a)
    assert np.array_equal(np.load(tmp_path / "a.npy"), a)
    ml.nn.formats.write_npz(tmp_path / "a.npz", {"a": a, "b": ml.ones(2)})
    assert np.array_equal(np.load(tmp_path / "a.npz")["b"], [1, 1])
    assert np.array_equal(ml.nn.formats.read_npz(tmp_path / "a.npz")["a"], a)
