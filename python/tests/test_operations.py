"""Operations against NumPy: a row for each, in f32 and f64."""

import math

import numpy as np
import pytest

import mollify as ml
from mollify import smoothing

erf = np.vectorize(math.erf)
phi = lambda x: np.exp(-x * x / 2) / np.sqrt(2 * np.pi)  # noqa: E731
Phi = lambda x: (1 + erf(x / np.sqrt(2))) / 2  # noqa: E731
sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


# name, NumPy's way, range
UNARY = [
    ("floor", np.floor, (-3, 3)),
    ("square", np.square, (-3, 3)),
    ("sqrt", np.sqrt, (0.1, 4)),
    ("exp", np.exp, (-3, 3)),
    ("expm1", np.expm1, (-3, 3)),
    ("log", np.log, (0.1, 4)),
    ("log1p", np.log1p, (-0.5, 4)),
    ("sin", np.sin, (-6, 6)),
    ("cos", np.cos, (-6, 6)),
    ("tanh", np.tanh, (-3, 3)),
    ("abs", np.abs, (-3, 3)),
    ("sign", np.sign, (-3, 3)),
    ("erf", erf, (-3, 3)),
    ("erfc", lambda x: 1 - erf(x), (-2, 1)),
    ("erfcx", lambda x: np.exp(x * x) * (1 - erf(x)), (-2, 1)),
    ("normal_cdf", Phi, (-2, 3)),
    ("normal_pdf", phi, (-3, 3)),
    ("relu", lambda x: np.maximum(x, 0), (-3, 3)),
    ("leaky_relu", lambda x: np.where(x > 0, x, 0.01 * x), (-3, 3)),
    ("sigmoid", sigmoid, (-3, 3)),
    ("logistic_pdf", lambda x: sigmoid(x) * sigmoid(-x), (-3, 3)),
    ("softplus", lambda x: np.log1p(np.exp(x)), (-3, 3)),
    ("log_sigmoid", lambda x: -np.log1p(np.exp(-x)), (-3, 3)),
    ("silu", lambda x: x * sigmoid(x), (-3, 3)),
    ("elu", lambda x: np.where(x > 0, x, np.expm1(x)), (-3, 3)),
    ("gelu", lambda x: x * Phi(x), (-3, 3)),
    ("negative", np.negative, (-3, 3)),
    ("sum", np.sum, (-3, 3)),
    ("mean", np.mean, (-3, 3)),
    ("max", np.max, (-3, 3)),
    ("min", np.min, (-3, 3)),
    ("norm", np.linalg.norm, (-3, 3)),
    ("variance", np.var, (-3, 3)),
    ("standard_deviation", np.std, (-3, 3)),
    ("sum_of_squares", lambda x: np.sum(x * x), (-3, 3)),
    ("logsumexp", lambda x: np.log(np.exp(x).sum(-1)), (-3, 3)),
    ("softmax", softmax, (-3, 3)),
    ("log_softmax", lambda x: np.log(softmax(x)), (-3, 3)),
    ("argmax", lambda x: np.argmax(x, -1), (-3, 3)),
    ("argmin", lambda x: np.argmin(x, -1), (-3, 3)),
    ("flatten", np.ravel, (-3, 3)),
    ("transpose", lambda x: x.T, (-3, 3)),
    ("flip", lambda x: np.flip(x, -1), (-3, 3)),
    ("zeros_like", np.zeros_like, (-3, 3)),
    ("ones_like", np.ones_like, (-3, 3)),
    ("is_nan", np.isnan, (-3, 3)),
    ("any", np.any, (-3, 3)),
    ("all", np.all, (-3, 3)),
    ("logical_not", np.logical_not, (-3, 3)),
    ("packed", np.array, (-3, 3)),
]
BINARY = [
    ("add", np.add),
    ("subtract", np.subtract),
    ("multiply", np.multiply),
    ("divide", np.divide),
    ("pow", np.power),
    ("less", np.less),
    ("less_equal", np.less_equal),
    ("greater", np.greater),
    ("greater_equal", np.greater_equal),
    ("equal", np.equal),
    ("not_equal", np.not_equal),
    ("logical_and", np.logical_and),
    ("logical_or", np.logical_or),
    ("minimum", np.minimum),
    ("maximum", np.maximum),
    ("gate", lambda g, x: np.where(x > 0, g, 0)),
]
# With arguments of their own: label, the library's way, NumPy's.
OTHERS = [
    ("sum axis", lambda x: ml.sum(x, 0), lambda x: x.sum(0)),
    ("sum keep", lambda x: ml.sum(x, (0, 1), keep=True), lambda x: x.sum((0, 1), keepdims=True)),
    ("variance", lambda x: ml.variance(x, 1, correction=1), lambda x: x.var(1, ddof=1)),
    ("prod", lambda x: ml.prod(x, 1), lambda x: x.prod(1)),
    ("cumsum", lambda x: ml.cumsum(x, 1), lambda x: x.cumsum(1)),
    ("cumsum back", lambda x: ml.cumsum(x, 1, reverse=True), lambda x: x[:, ::-1].cumsum(1)[:, ::-1]),
    ("sort", lambda x: ml.sort(x)[0], lambda x: np.sort(x, -1)),
    ("sort places", lambda x: ml.sort(x, 0)[1], lambda x: np.argsort(x, 0)),
    ("top_k", lambda x: ml.top_k(x, 2)[0], lambda x: -np.sort(-x, -1)[:, :2]),
    ("clip", lambda x: ml.clip(x, -1, 0.5), lambda x: np.clip(x, -1, 0.5)),
    ("where", lambda x: ml.where(x > 0, x, 0.0), lambda x: np.where(x > 0, x, 0)),
    ("matmul", lambda x: ml.matmul(x, ml.transpose(x)), lambda x: x @ x.T),
    ("@", lambda x: x @ ml.transpose(x), lambda x: x @ x.T),
    ("dense", lambda x: ml.dense(x, x), lambda x: x @ x.T),
    ("einsum", lambda x: ml.einsum("ik,jk->ij", x, x), lambda x: x @ x.T),
    ("reshape", lambda x: ml.reshape(x, (-1, 2)), lambda x: x.reshape(-1, 2)),
    ("permute", lambda x: ml.permute(x, (1, 0)), lambda x: x.transpose(1, 0)),
    ("expand", lambda x: ml.expand(x, (2, 3, 4)), lambda x: np.broadcast_to(x, (2, 3, 4))),
    ("slice", lambda x: ml.slice(x, 1, 3, 0, -2), lambda x: x[:, 3:0:-2]),
    ("pad", lambda x: ml.pad(x, 0, 1, 2, 5), lambda x: np.pad(x, ((1, 2), (0, 0)), constant_values=5)),
    ("split", lambda x: ml.split(x, [1, 2])[1], lambda x: x[1:]),
    ("concat", lambda x: ml.concat([x, x * 2], 1), lambda x: np.concatenate([x, x * 2], 1)),
    ("stack", lambda x: ml.stack([x, x], 1), lambda x: np.stack([x, x], 1)),
    ("take", lambda x: ml.take(x, ml.tensor([2, 0], "i32")), lambda x: x[[2, 0]]),
    ("gather", lambda x: ml.gather(x, ml.argmax(x)[:, None]), lambda x: x.max(1, keepdims=True)),
    ("sum_to", lambda x: ml.sum_to(x, (1, 4)), lambda x: x.sum(0, keepdims=True)),
    ("cast", lambda x: ml.cast(x, "i32"), lambda x: x.astype(np.int32)),
    ("one_hot", lambda x: ml.one_hot(ml.argmax(x), 4), lambda x: np.eye(4)[x.argmax(1)]),
    ("pad number", lambda x: 2 - x / 4, lambda x: 2 - x / 4),
    ("power", lambda x: (x * x) ** 1.5, lambda x: (x * x) ** 1.5),
    ("number power", lambda x: 2**x, lambda x: 2**x),
    ("masks", lambda x: (x > 0) & (x < 1) | ~(x < 2), lambda x: (x > 0) & (x < 1) | ~(x < 2)),
    ("relu_s", lambda x: smoothing.relu_smoothed(x, 0.5), lambda x: x * Phi(x / 0.5) + 0.5 * phi(x / 0.5)),
    ("sin_s", lambda x: smoothing.sin_smoothed(x, 0.5, omega=2.0), lambda x: np.exp(-0.5) * np.sin(2 * x)),
]


def close(found, wanted, dtype):
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.shape == wanted.shape
    tolerance = 3e-6 if dtype == np.float32 else 3e-14
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=4 * tolerance)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name, reference, domain", UNARY, ids=[row[0] for row in UNARY])
def test_of_one(name, reference, domain, dtype, rng):
    x = rng.uniform(*domain, (3, 4)).astype(dtype)
    close(getattr(ml, name)(x), reference(x.astype(np.float64)), dtype)  # an array is a tensor
    close(getattr(ml, name)(ml.tensor(x)), reference(x.astype(np.float64)), dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name, reference", BINARY, ids=[row[0] for row in BINARY])
def test_of_two(name, reference, dtype, rng):
    a, b = rng.uniform(0.2, 3, (3, 4)).astype(dtype), rng.uniform(0.2, 3, 4).astype(dtype)
    f = getattr(ml, name)
    close(f(ml.tensor(a), b), reference(a.astype(np.float64), b.astype(np.float64)), dtype)
    close(f(ml.tensor(a), 1.5), reference(a.astype(np.float64), 1.5), dtype)
    close(f(1.5, ml.tensor(b)), reference(1.5, b.astype(np.float64)), dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("label, f, reference", OTHERS, ids=[row[0] for row in OTHERS])
def test_with_arguments(label, f, reference, dtype, rng):
    x = rng.uniform(-3, 3, (3, 4)).astype(dtype)
    close(f(ml.tensor(x)), reference(x.astype(np.float64)), dtype)


def test_every_operation_has_a_row():
    """What ops.h declares and Python has; operations that other tests call are named here."""
    rows = {row[0] for row in UNARY} | {row[0] for row in BINARY} | {row[0].split()[0] for row in OTHERS}
    elsewhere = {
        "full", "zeros", "ones", "arange", "linspace", "eye", "to", "assign", "rand", "randn", "uniform", "normal",
        "signs", "uniform_rows", "normal_rows", "normal_sum", "signs_sum", "dropout", "normal_quantile", "scatter_add",
        "cross_entropy", "conv2d", "average_pool2d", "max_pool2d", "batch_norm", "cholesky", "triangular_solve", "solve",
        "eigh", "where",
    }  # fmt: skip
    no_operations = {
        "tensor", "asarray", "from_dlpack", "capture", "grad", "value_and_grad", "vjp", "jvp", "hvp", "jacobian", "hessian",
        "variable", "vjp_of", "is_recording", "num_threads", "set_num_threads", "precision", "set_precision", "products",
        "set_products", "cuda_available", "memory_statistics", "reset_peak_memory", "release_cached_memory",
    }  # fmt: skip
    functions = {n for n, f in vars(ml._core).items() if callable(f) and not isinstance(f, type) and n[0] != "_"}
    assert functions - rows - elsewhere - no_operations == set()


def test_making():
    assert np.array_equal(ml.zeros((2, 3)), np.zeros((2, 3)))
    assert np.array_equal(ml.ones(4, dtype="i32"), np.ones(4))
    assert np.array_equal(ml.full((2,), 7, "f64"), [7, 7])
    assert np.array_equal(ml.arange(5), np.arange(5))
    assert np.array_equal(ml.linspace(0, 1, 5), np.linspace(0, 1, 5))
    assert np.array_equal(ml.eye(3), np.eye(3))
    assert ml.to(ml.ones(2), "cpu").device == "cpu"
    x = ml.zeros(3)
    ml.assign(x, np.float32([1, 2, 3]))
    assert x.tolist() == [1, 2, 3]
    assert np.array_equal(ml.scatter_add((4,), ml.tensor([1, 1, 3], "i32"), ml.ones(3)), [0, 2, 0, 1])
    p = np.linspace(0.01, 0.99, 9)
    close(ml.normal_cdf(ml.normal_quantile(p)), p, np.float64)
    close(ml.cross_entropy(np.eye(3), ml.tensor([0, 1, 2], "i32")), -np.log(np.diag(softmax(np.eye(3)))), np.float64)


def test_random_numbers_are_functions_of_the_key():
    assert np.array_equal(ml.normal((3, 4), 1, stream=2, step=3), ml.normal((3, 4), 1, 2, 3))
    assert not np.array_equal(ml.normal(9, 1), ml.normal(9, 1, step=1))
    rows = ml.normal_rows((2, 5), 1, streams=ml.tensor([4, 7], "i32"))
    assert np.array_equal(rows[1], ml.normal(5, 1, stream=7))
    assert np.array_equal(ml.uniform_rows((2, 5), 1, ml.tensor([4, 7], "i32"))[0], ml.uniform(5, 1, 4))
    z = ml.stack([ml.normal(6, 1, stream=j, dtype="f64") for j in range(2)])
    close(ml.normal_sum(np.array([2.0, -1.0]), 6, 1), 2 * z[0] - z[1], np.float64)
    s = ml.stack([ml.signs(6, 1, stream=j, dtype="f64") for j in range(2)])
    close(ml.signs_sum(np.array([2.0, -1.0]), 6, 1), 2 * s[0] - s[1], np.float64)
    many = np.asarray(ml.randn(100000, 3))
    assert abs(many.mean()) < 4 / np.sqrt(1e5) and 0 < ml.min(ml.rand(1000, 3)).item()
    kept = np.asarray(ml.dropout(ml.ones(100000), 0.25, 5))
    assert set(np.unique(kept)) <= {0, np.float32(4 / 3)} and abs(kept.mean() - 1) < 4 * np.sqrt(1 / 3 / 1e5)


def test_images(rng):
    x, w = rng.normal(size=(2, 5, 6, 3)), rng.normal(size=(4, 3, 2, 3))
    wanted = sum(
        np.einsum("nhwc,oc->nhwo", x[:, i : i + 3, j : j + 5], w[:, i, j]) for i in range(3) for j in range(2)
    )
    close(ml.conv2d(x, w), wanted, np.float64)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    close(ml.conv2d(x, w, padding=1, stride=(2, 1)), np.asarray(ml.conv2d(padded, w))[:, ::2], np.float64)
    even = x[:, :4]
    tiles = even.reshape(2, 2, 2, 3, 2, 3)
    close(ml.average_pool2d(even), tiles.mean((2, 4)), np.float64)
    close(ml.max_pool2d(even, 2, 2), tiles.max((2, 4)), np.float64)
    y, mean, variance = ml.batch_norm(x, np.ones(3), np.zeros(3))
    close(mean, x.mean((0, 1, 2)), np.float64)
    close(y, (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5), np.float64)


def test_linear_algebra(rng):
    half = rng.normal(size=(4, 4))
    a, b = half @ half.T + np.eye(4), rng.normal(size=(4, 2))
    try:
        lower = ml.cholesky(a)
    except ml.Error as error:
        pytest.skip(str(error))  # a build without LAPACK
    close(lower, np.linalg.cholesky(a), np.float64)
    close(ml.triangular_solve(lower, b), np.linalg.solve(np.linalg.cholesky(a), b), np.float64)
    np.testing.assert_allclose(ml.solve(a, b), np.linalg.solve(a, b), rtol=1e-10)
    values, vectors = ml.eigh(a)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(a), rtol=1e-12)
    np.testing.assert_allclose(ml.matmul(a, vectors), vectors * values, rtol=1e-9, atol=1e-12)
