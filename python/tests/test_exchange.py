"""Memory that is shared with other libraries: the same addresses, the right lifetimes, nothing leaked."""

import array
import gc
import weakref

import numpy as np
import pytest

import mollify as ml

DTYPES = [(np.float32, "f32"), (np.float64, "f64"), (np.int32, "i32"), (np.uint8, "u8")]


def address(a):
    return np.asarray(a).__array_interface__["data"][0]


def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


@pytest.mark.parametrize("theirs, ours", DTYPES)
def test_arrays_are_seen_in_place(theirs, ours):
    a = np.arange(24).astype(theirs).reshape(2, 3, 4)
    for b in (a, a[1], a[:, ::-1, 1:3], a.T, a[::2, 0], a[:0], np.broadcast_to(a[0, 0], (5, 4)), a[1, 2, 3 : 4].reshape(())):
        x = ml.from_dlpack(b)
        assert x.dtype == ours and x.shape == b.shape
        assert np.array_equal(x, b)
        if b.size:
            assert address(x) == address(b)
    x = ml.from_dlpack(a)
    ml.assign(x, x * 0 + 1 if ours != "u8" else ml.ones(a.shape, "u8"))
    assert a[0, 0, 0] == 1
    a[0, 0, 1] = 7
    assert x[0, 0, 1].item() == 7


def test_tensors_are_arrays():
    x = ml.zeros((2, 3))
    for a in (np.asarray(x), x.numpy(), np.from_dlpack(x), np.array(memoryview(x), copy=False)):
        assert a.dtype == np.float32 and a.shape == (2, 3)
        a += 1
    assert x.tolist() == [[4, 4, 4]] * 2
    assert np.asarray(x[:, 1]).strides == (12,)
    assert np.asarray(x, dtype=np.float64).dtype == np.float64
    assert np.array(x) is not x and address(np.array(x, copy=True)) != address(x)
    assert np.from_dlpack(x[::-1, 1:]).tolist() == [[4, 4]] * 2


def test_the_same_memory_lent_twice():
    a = np.arange(5.0)
    forward, backward = ml.from_dlpack(a), ml.from_dlpack(a[::-1])
    ml.assign(forward, backward)
    assert a.tolist() == [4, 3, 2, 1, 0]
    forward += backward
    assert a.tolist() == [4] * 5


def test_bools_and_other_buffers():
    mask = np.array([True, False])
    assert ml.from_dlpack(mask).dtype == "u8"
    assert ml.from_dlpack(array.array("d", [1, 2])).tolist() == [1, 2]
    assert ml.from_dlpack(memoryview(b"ab")).tolist() == [97, 98]
    assert ml.from_dlpack(b"ab").read_only


def test_reading_only():
    a = np.arange(3.0)
    a.flags.writeable = False
    x = ml.from_dlpack(a)
    assert x.read_only and ml.sum(x).item() == 3
    with pytest.raises(ml.ArgumentError, match="reading only"):
        x += 1
    with pytest.raises(ml.ArgumentError, match="reading only"):
        x[0] = 1
    assert not np.asarray(x).flags.writeable  # the way back keeps it
    assert not np.from_dlpack(x).flags.writeable
    assert not np.asarray(ml.expand(ml.zeros(1), (4,))).flags.writeable  # one number at four places
    with pytest.raises(BufferError):
        x.__dlpack__()  # before version 1 nothing can say so
    y = ml.tensor(x)
    y += 1
    assert not y.read_only
    update = ml.capture(lambda t: ml.assign(t, t * 2.0))
    for _ in range(3):
        with pytest.raises(ml.ArgumentError, match="reading only"):
            update(x)


def test_owners_live_as_long_as_views():
    class Owner(np.ndarray):
        pass

    a = np.arange(5.0).view(Owner)
    gone = weakref.ref(a)
    x = ml.from_dlpack(a)
    y = x[1:3]
    del a, x
    gc.collect()
    assert gone() is not None and y.tolist() == [1, 2]
    del y
    gc.collect()
    assert gone() is None

    live = ml.memory_statistics()["live_bytes"]
    x = ml.zeros(1000)
    for way in (np.asarray, np.from_dlpack, memoryview, lambda t: ml.from_dlpack(np.asarray(t))):
        view = way(x)
        del x
        gc.collect()
        assert ml.memory_statistics()["live_bytes"] == live + 4000
        x = ml.from_dlpack(view)
        del view
    del x
    gc.collect()
    assert ml.memory_statistics()["live_bytes"] == live

    unused = ml.zeros(1000).__dlpack__()  # a capsule that nobody takes
    assert ml.memory_statistics()["live_bytes"] == live + 4000
    del unused
    assert ml.memory_statistics()["live_bytes"] == live


def test_refused():
    with pytest.raises(ml.DTypeError, match="int64 given; needs float32, float64, int32 or uint8"):
        ml.from_dlpack(np.arange(3))
    with pytest.raises(ml.DTypeError, match=r"float16.*astype\('float32'\)"):
        ml.exp(np.zeros(3, np.float16))
    with pytest.raises(ml.DTypeError, match="big-endian float32"):
        ml.from_dlpack(np.zeros(3, ">f4"))
    with pytest.raises(ml.DTypeError, match="complex"):
        ml.from_dlpack(np.zeros(3, np.complex64))
    with pytest.raises(ml.ShapeError, match="7 axes given; at most 6"):
        ml.from_dlpack(np.zeros((1,) * 7))
    bytes_ = np.zeros(17, np.uint8)
    with pytest.raises(ml.ArgumentError, match="multiple of 4 bytes.*requirements"):
        ml.from_dlpack(bytes_[1:].view(np.float32))
    records = np.zeros(3, [("a", np.float64), ("b", np.uint8)])
    with pytest.raises(ml.ArgumentError, match="ascontiguousarray"):
        ml.from_dlpack(records["a"])
    with pytest.raises(ml.DTypeError, match="object"):
        ml.from_dlpack(object())
    with pytest.raises(ml.DeviceError):
        ml.zeros(3).__dlpack__(dl_device=(2, 0))
    with pytest.raises(ml.GraphError, match="detach"):
        ml.grad(lambda x: ml.sum(ml.from_dlpack(np.asarray(x))))(ml.ones(3))
    with pytest.raises(BufferError, match="history"):
        ml.grad(lambda x: ml.sum(ml.from_dlpack(memoryview(x))))(ml.ones(3))


def test_a_million_conversions_leak_nothing():
    a, x = np.zeros(4, np.float32), ml.zeros(4)
    ways = [
        lambda: ml.from_dlpack(a),
        lambda: np.from_dlpack(x),
        lambda: np.asarray(x),
        lambda: ml.from_dlpack(np.asarray(x)[1:]),
        lambda: x.__dlpack__(max_version=(1, 0)),
    ]

    def rounds(count):
        for way in ways:
            for _ in range(count):
                way()

    rounds(1000)
    live, resident = ml.memory_statistics()["live_bytes"], resident_bytes()
    rounds(1_000_000 // len(ways))
    assert ml.memory_statistics()["live_bytes"] == live
    assert resident_bytes() - resident < 1 << 20
