"""The class Tensor: making, reading, indexing, operators, printing."""

import copy
import pickle

import numpy as np
import pytest

import mollify as ml


def test_of_lists():
    x = ml.tensor([[1, 2, 3], [4, 5, 6]])
    assert (x.shape, x.dtype, x.device, x.ndim, x.size, len(x)) == ((2, 3), "f32", "cpu", 2, 6, 2)
    assert x.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert ml.tensor(2.5).item() == 2.5 and ml.tensor(3, "i32").item() == 3
    assert isinstance(ml.tensor(3, "i32").item(), int)
    assert ml.tensor([[]]).shape == (1, 0)
    with pytest.raises(ml.ShapeError, match="lists of 2 and 1 at depth 1"):
        ml.tensor([[1, 2], [3]])
    with pytest.raises(ml.ArgumentError, match="cast"):
        ml.tensor([1.0, 300.0], "u8")


def test_of_arrays_copies():
    a = np.arange(6.0).reshape(2, 3)
    x = ml.tensor(a)
    a[0, 0] = 9
    assert x.dtype == "f64" and x[0, 0].item() == 0
    assert ml.tensor(a, "f32").dtype == "f32"
    places = ml.tensor(np.array([3, -1, 2**31 - 1]), "i32")  # of int64
    assert places.tolist() == [3, -1, 2**31 - 1]
    assert ml.tensor(np.array([[1, 2]], np.uint16)[:, ::-1], "f64").tolist() == [[2, 1]]
    with pytest.raises(ml.ArgumentError):
        ml.tensor(np.array([2**31]), "i32")
    with pytest.raises(ml.ArgumentError, match="2\\^53"):
        ml.tensor(np.array([2**60]), "f64")
    x = ml.tensor([1.0])
    y = ml.tensor(x)
    y += 1
    assert x.item() == 1


def test_indexing(rng):
    a = rng.normal(size=(4, 5, 6))
    x = ml.from_dlpack(a)
    keys = [
        0, -1, (1, 2), (slice(1, 3), -2), (slice(None, None, -1),), (slice(None), slice(4, 0, -2), 1), Ellipsis, (..., 0),
        (0, ...), (1, ..., 2), None, (slice(None), None, 1), (..., None), (None, 0, None, slice(2)), slice(10, 20),
        np.int64(2), [0, 2, -1], (slice(None), [1, 1]), np.array([3, 0]),
    ]  # fmt: skip
    for key in keys:
        assert np.array_equal(x[key], a[key]), key
    assert np.array_equal(x[ml.tensor([2, 0], "i32")], a[[2, 0]])
    assert np.array_equal(x[x > 0.3], a[a > 0.3])
    assert np.array_equal(x[a > 0.3], a[a > 0.3])
    assert np.array_equal(x[[True, False, True, False]], a[[True, False, True, False]])
    assert np.array_equal(np.stack([row for row in x]), a)
    for key in [4, -5, (0, 5), (0, 0, 0, 0)]:
        with pytest.raises((IndexError, ml.ShapeError)):
            x[key]
    with pytest.raises(IndexError, match="needs -4 to 3"):
        x[4]
    with pytest.raises(ml.DTypeError, match="index"):
        x["a"]


def test_assignment():
    x = ml.zeros((3, 4))
    x[1] = 2
    x[:, ::2] = np.float32([[5, 6]])
    x[0, 1:3] = ml.tensor([7, 8])
    assert x.tolist() == [[5, 7, 8, 0], [5, 2, 6, 2], [5, 0, 6, 0]]
    x[x > 5] = -1
    assert x.tolist() == [[5, -1, -1, 0], [5, 2, -1, 2], [5, 0, -1, 0]]
    column = x[None, :, 1]  # a view
    column *= 10.0
    x[..., 3] = 0
    assert x.tolist() == [[5, -10, -1, 0], [5, 20, -1, 0], [5, 0, -1, 0]]
    y = x
    y += 1
    y *= 2.0
    assert y is x and x[2, 1].item() == 2
    big = ml.randn((200, 200), 0)
    big[big < 0] = np.zeros(200, np.float32)  # while other threads may run
    assert ml.min(big).item() == 0
    with pytest.raises(ml.ArgumentError, match="where"):
        x[[0, 1]] = 1
    with pytest.raises(ml.ShapeError):
        x[0] = ml.zeros(3)


def test_operators():
    x, a = ml.tensor([1.0, -2.0, 4.0]), np.float32([1, -2, 4])
    assert np.array_equal(1 - x, 1 - a) and np.array_equal(-x + 2 * x / 4, -a + 2 * a / 4)
    assert np.array_equal(abs(x), abs(a)) and np.array_equal(+x, a)
    for result in (a + x, x + a, a * x, np.float32(2) * x, np.int64(2) - x):  # arrays leave it to tensors
        assert isinstance(result, ml.Tensor)
    assert (x == a).tolist() == [1, 1, 1] and (x < 2).dtype == "u8"
    assert (x != 1).tolist() == [0, 1, 1] and (2 > x).tolist() == [1, 1, 0]
    assert (x * np.float32(2)).dtype == "f32" and (x * np.int64(2)).tolist() == [2, -4, 8]
    assert (x * np.float64(2)).dtype == "f32" and np.array_equal(np.float32(2) * x, 2 * a)
    i = ml.tensor([1, 2], "i32")
    assert (i + 1).dtype == "i32" and (i + 1).tolist() == [2, 3]
    with pytest.raises(ml.ArgumentError):
        i + 0.5
    with pytest.raises(ml.DTypeError, match="f32"):
        x + ml.tensor([1.0, 1, 1], "f64")
    with pytest.raises(ml.ShapeError, match=r"\[3\] and \[2\]"):
        x + ml.zeros(2)
    with pytest.raises(TypeError):
        x + "a"
    with pytest.raises(TypeError):
        hash(x)


def test_numbers():
    assert float(ml.tensor(2.5)) == 2.5 and int(ml.tensor([7.9])) == 7 and bool(ml.tensor([1])) is True
    assert [10, 20, 30][ml.tensor(2, "i32")] == 30
    with pytest.raises(ml.ArgumentError, match="any"):
        bool(ml.zeros(2))
    with pytest.raises(ml.ShapeError):
        float(ml.zeros(2))
    with pytest.raises(TypeError):
        [1][ml.tensor(0.0)]
    with pytest.raises(ml.ShapeError):
        len(ml.tensor(1))


def test_printing():
    x = ml.tensor([[1, 2.5], [-3, 4]])
    assert str(x) == str(np.float32([[1, 2.5], [-3, 4]]))
    assert repr(x) == "Tensor([[ 1.   2.5]\n        [-3.   4. ]], f32)"
    assert "1000" in str(ml.arange(1001)) and "..." in str(ml.arange(2001))


def test_copies():
    x = ml.tensor([[1, 2], [3, 4]])[:, 1]
    for y in (copy.copy(x), copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert y.tolist() == [2, 4] and y.dtype == x.dtype
    y = copy.deepcopy(x)
    y += 1
    assert x.tolist() == [2, 4]


def test_settings():
    threads = ml.num_threads()
    ml.set_num_threads(1)
    assert ml.num_threads() == 1
    ml.set_num_threads(threads)
    assert ml.products() == "own" and ml.precision() == "fp32"
    with pytest.raises(ml.ArgumentError, match="there are own, openblas"):
        ml.set_products("mine")
    before = ml.memory_statistics()["live_bytes"]
    x = ml.zeros(1000)
    assert ml.memory_statistics()["live_bytes"] == before + 4000
    del x
    assert ml.memory_statistics()["live_bytes"] == before
