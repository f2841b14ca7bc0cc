"""Gradients of Python's functions, captures, and what passes through callbacks."""

import gc
import threading
import weakref

import numpy as np
import pytest

import mollify as ml

FUNCTIONS = [
    lambda x: ml.sum(ml.exp(x) * x),
    lambda x: ml.sum(x**3.0 / (1 + x * x)),
    lambda x: ml.norm(ml.tanh(x[:2]) - x[2:]),
    lambda x: ml.logsumexp(ml.concat([x, -x])),
    lambda x: ml.sum(ml.smoothing.relu_smoothed(x, 0.3) * ml.normal_cdf(x)),
    lambda x: ml.sum(ml.matmul(x[:, None], x[None])) + ml.sum(ml.where(x > 0, x * x, -x)),
]


def difference(f, x, h=1e-6):
    steps = h * np.eye(len(x))
    return np.array([(f(ml.tensor(x + s)).item() - f(ml.tensor(x - s)).item()) / (2 * h) for s in steps])


@pytest.mark.parametrize("f", FUNCTIONS)
def test_against_finite_differences(f, rng):
    x = rng.normal(size=4)
    gradient = ml.grad(f)(x)
    np.testing.assert_allclose(gradient, difference(f, x), rtol=1e-6, atol=1e-7)
    value, again = ml.value_and_grad(f)(x)
    assert value.item() == f(ml.tensor(x)).item() and np.array_equal(again, gradient)
    v = rng.normal(size=4)
    second = np.array([difference(lambda t: ml.grad(f)(t)[i], x) for i in range(4)])
    np.testing.assert_allclose(ml.hessian(f, x), second, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ml.hvp(f, x, v), second @ v, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ml.grad(lambda t: ml.sum(ml.grad(f)(t) * v))(x), second @ v, rtol=1e-5, atol=1e-6)


def test_jacobian_products(rng):
    f = lambda x: ml.stack([ml.sum(x * x), x[0] * x[1], ml.exp(x[2])])  # noqa: E731
    x, v = rng.normal(size=3), rng.normal(size=3)
    jacobian = np.array([2 * x, [x[1], x[0], 0], [0, 0, np.exp(x[2])]])
    np.testing.assert_allclose(ml.jacobian(f, x), jacobian, rtol=1e-12)
    value, product = ml.vjp(f, x, v)
    np.testing.assert_allclose(product, v @ jacobian, rtol=1e-12)
    np.testing.assert_allclose(ml.jvp(f, x, v)[1], jacobian @ v, rtol=1e-12)
    assert np.array_equal(value, f(ml.tensor(x)))


def test_arguments():
    f = lambda a, b, scale=1.0: ml.sum(a * b) * scale  # noqa: E731
    a, b = ml.tensor([1.0, 2.0]), ml.tensor([3.0, 5.0])
    da, db = ml.grad(f)(a, b)
    assert da.tolist() == [3, 5] and db.tolist() == [1, 2]
    assert ml.grad(f, argnums=1)(a, b, scale=2.0).tolist() == [2, 4]
    (only,) = ml.grad(f, argnums=(0,))(a, b)
    assert only.tolist() == [3, 5]
    labels = ml.tensor([0, 1], "i32")
    loss = lambda x, y: (ml.sum(ml.cross_entropy(x, y)), {"rows": len(x)}, x)  # noqa: E731
    (value, more, x), gradient = ml.value_and_grad(loss, argnums=0)(ml.zeros((2, 3)), labels)
    assert more == {"rows": 2} and gradient.shape == (2, 3) and value.item() == pytest.approx(2 * np.log(3))
    with pytest.raises(ml.DTypeError, match="argument 1"):
        ml.grad(f)(a, 2.0)
    with pytest.raises(ml.DTypeError, match="returned"):
        ml.grad(lambda x: 1.0)(a)
    with pytest.raises(ml.ShapeError, match="single number"):
        ml.grad(lambda x: x)(a)
    with pytest.raises(ml.ArgumentError):
        ml.grad(f, argnums=2)(a, b)


def test_recording():
    seen = []

    def f(x):
        seen.append((ml.is_recording(), x.needs_grad))
        with ml.no_grad():
            assert not ml.is_recording() and not (x * 2).needs_grad
            with ml.no_grad():
                pass
            assert not ml.is_recording()
        assert (x * 2).needs_grad and not x.detach().needs_grad
        return ml.sum(x)

    ml.grad(f)(ml.ones(2))
    assert seen == [(True, True)]
    with pytest.raises(ml.GraphError, match="overwritten|history"):
        ml.grad(lambda x: x.__iadd__(1))(ml.ones(1))
    x = ml.variable(ml.tensor([2.0]))
    y = x * x * x
    (first,) = ml.vjp_of([y], [ml.ones(1)], [x], create_graph=True)
    (second,) = ml.vjp_of([first], [ml.ones(1)], [x])
    assert first.detach().item() == 12 and second.item() == 12


class Mine(Exception):
    pass


def raising(x):
    raise Mine("as it was", x.shape)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: ml.grad(raising)(x),
        lambda x: ml.vjp(raising, x, x),
        lambda x: ml.hvp(raising, x, x),
        lambda x: ml.jacobian(raising, x),
        lambda x: ml.capture(raising)(x),
        lambda x: ml.optim.adam(0.1).step(x, raising),
        lambda x: ml.optim.sgd(lambda step: raising(x)).step(x, ml.sum),
        lambda x: ml.smoothing.smooth_by_sampling(raising, x, 0.1),
        lambda x: ml.nn.bounds.Graph(raising, 3),
        lambda x: ml.smoothing.certify(ml.smoothing.NoisyClassifier(raising, 0.1), x[None]),
    ],
)
def test_exceptions_pass_unchanged(call):
    gc.collect()
    x = ml.ones(3)
    live = ml.memory_statistics()["live_bytes"]
    with pytest.raises(Mine) as caught:
        call(x)
    assert caught.value.args[0] == "as it was"
    assert any(entry.name == "raising" for entry in caught.traceback)
    del caught
    gc.collect()
    assert ml.memory_statistics()["live_bytes"] == live
    assert ml.is_recording() and ml.grad(ml.sum)(x).tolist() == [1, 1, 1]


def test_capture():
    calls = []

    def f(x, y):
        calls.append(x.shape)
        return ml.sin(x) * y, ml.sum(x)

    captured = ml.capture(f)
    for scale in (1.0, 2.0, 3.0, 4.0):
        x, y = ml.arange(5) * scale, ml.ones(5)
        found = captured(x, y)
        assert isinstance(found, tuple) and all(np.array_equal(a, b) for a, b in zip(found, f(x, y)))
    assert len(calls) == 2 + 4  # as it is, captured; and four for comparison
    assert captured.plans()[0]["inputs"] == [(5,), (5,)]
    captured(ml.ones(3), ml.ones(3))
    w = ml.zeros(3)
    add = ml.capture(lambda t, by: ml.assign(t, t + by))
    for _ in range(4):
        assert add(w, np.float32([1, 2, 3])) == ()
    assert w.tolist() == [4, 8, 12]
    with pytest.raises(ml.GraphError, match="item|value|data"):
        reads = ml.capture(lambda t: t * t.item())
        for _ in range(2):
            reads(ml.tensor(2.0))
    gradient = ml.capture(ml.grad(lambda t: ml.sum(t * t)))
    for _ in range(3):
        assert gradient(ml.tensor([1.0, 2.0])).tolist() == [2, 4]


def test_captured_methods_are_collected():
    class Model:
        def __init__(self):
            self.run = ml.capture(self.forward)

        def forward(self, x):
            return x * 2.0

    model = Model()
    model.run(ml.ones(2))
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_eight_threads_at_once():
    f = lambda x, w: ml.sum(ml.tanh(ml.matmul(x, w)))  # noqa: E731
    captured = ml.capture(lambda x: ml.exp(x) + x)
    xs = [ml.randn((64, 64), seed) for seed in range(8)]
    w = ml.randn((64, 64), 99)
    small = ml.tensor([1.0, 2.0])
    wanted = [(np.array(ml.grad(f)(x, w)[1]), np.array(ml.exp(x) + x)) for x in xs]
    failures = []

    def work(i):
        try:
            for _ in range(50):
                assert np.array_equal(ml.grad(f)(xs[i], w)[1], wanted[i][0])
                assert np.array_equal(captured(xs[i]), wanted[i][1])
                assert np.array_equal(ml.from_dlpack(np.asarray(xs[i])), xs[i])
                with ml.no_grad():
                    assert not ml.is_recording()
                assert ml.is_recording()
                assert (small + small * 2).tolist() == [3, 6]
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()
    assert failures == []


def test_kernels_run_without_the_interpreters_lock():
    x = ml.randn((1500, 1500), 0, "f64")
    begun, done, ticks = threading.Event(), threading.Event(), 0

    def work():
        begun.set()
        ml.matmul(x, x)  # one call, of a tenth of a second and more
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    begun.wait()
    while not done.is_set():
        ticks += 1
    thread.join()
    assert ticks > 1000
