"""Exceptions: their classes, their texts, and interrupts."""

import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import mollify as ml


def test_classes():
    assert issubclass(ml.ShapeError, (ml.Error, ValueError)) and issubclass(ml.ShapeError, ml.Error)
    for ours, base in [
        (ml.ShapeError, ValueError),
        (ml.DTypeError, TypeError),
        (ml.DeviceError, RuntimeError),
        (ml.GraphError, RuntimeError),
        (ml.ArgumentError, ValueError),
        (ml.OutOfMemoryError, MemoryError),
        (ml.FormatError, ValueError),
        (ml.MissingDataError, FileNotFoundError),
    ]:
        assert issubclass(ours, ml.Error) and issubclass(ours, base)


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda: ml.matmul(ml.ones((2, 3)), ml.ones((2, 3))), ml.ShapeError, "matmul: "),
        (lambda: ml.ones(2) + ml.ones(3), ml.ShapeError, "add: shapes [2] and [3] given"),
        (lambda: ml.exp(ml.ones(2, "i32")), ml.DTypeError, "exp: "),
        (lambda: ml.exp(1.0), ml.DTypeError, "number alone"),
        (lambda: ml.zeros((1,) * 7), ml.ShapeError, "shape: 7 axes given; at most 6 can be"),
        (lambda: ml.zeros(-1), ml.ShapeError, "extents are at least 0"),
        (lambda: ml.zeros(2, "f16"), ml.ArgumentError, "dtype: 'f16' given; there are f32, f64"),
        (lambda: ml.zeros(2, device="tpu"), ml.ArgumentError, "device: 'tpu' given; there are cpu, cuda"),
        (lambda: ml.sum(ml.ones(2), 3), ml.ShapeError, "sum: axis 3 given"),
        (lambda: ml.cast(ml.full(1, 300), "u8"), ml.ArgumentError, "cast"),
        (lambda: ml.nn.make("cnn9", (28, 28, 1), 10), ml.ArgumentError, "cnn3"),
        (lambda: ml.nn.activation("rely"), ml.ArgumentError, "relu"),
        (lambda: ml.nn.read_npy("/none.npy"), ml.FormatError, "/none.npy"),
        (lambda: ml.datasets.load("mnist", "/nowhere"), ml.MissingDataError, "nowhere"),
        (lambda: ml.einsum("ij"), ml.ArgumentError, "einsum"),
        (lambda: ml.concat([ml.ones(1), "a"]), ml.DTypeError, "str"),
        (lambda: ml.reshape(ml.ones(6), (-1, 4)), ml.ShapeError, "reshape"),
        (lambda: ml.full((2**40, 2**30), 0), ml.ShapeError, "more elements than can be addressed"),
        (lambda: ml.full(2**43, 0, "f64"), ml.OutOfMemoryError, "memory: "),
    ],
)
def test_texts(call, error, text, monkeypatch, tmp_path):
    monkeypatch.delenv("MOLLIFY_DATA", raising=False)  # no dataset is found
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error) as caught:
        call()
    assert text in str(caught.value)
    assert type(caught.value) is error


def test_missing_devices():
    if ml.cuda_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ml.DeviceError, match="cuda"):
        ml.to(ml.ones(1), "cuda")


def interrupted(code):
    """Runs the code, sends Ctrl-C once it has said that it begins, and returns how it ended."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "begin\n"
    try:
        process.wait(0.3)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=20)
    return process.returncode, error


@pytest.mark.parametrize(
    "work",
    [
        "ml.smoothing.certify(ml.smoothing.NoisyClassifier(lambda x: n(w, x), 0.5), x, trials=10**9)",
        "ml.smoothing.attack('plus', lambda x: n(w, x), x, y, ml.smoothing.Threat(1e-6), restarts=10**6, steps=10**6)",
        "ml.smoothing.smooth_by_sampling(lambda t: ml.sum(t), x, 0.5, samples=10**9)",
        "[o.step(w, lambda t: ml.nn.mean_cross_entropy(n(t, x), y)) for _ in range(10**9)]",
    ],
)
def test_ctrl_c_ends_long_calls(work):
    status, error = interrupted(
        f"""
        import mollify as ml
        n = ml.nn.make("linear", (8, 8, 1), 10)
        w, x = n.initial_weights(), ml.rand((4, 8, 8, 1), 0)
        y = ml.argmax(n(w, x))
        o = ml.optim.adam(1e-3)
        print("begin", flush=True)
        {work}
        """
    )
    assert "KeyboardInterrupt" in error
    assert status in (-signal.SIGINT, 130)
