"""PyTorch: memory that is shared, and closed forms as its functions."""

import gc
import math

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import mollify as ml  # noqa: E402
import mollify.torch as mt  # noqa: E402


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int32, torch.uint8, torch.bool])
def test_memory_is_shared_both_ways(dtype):
    t = torch.arange(12).reshape(3, 4).to(dtype)
    for view in (t, t.T, t[1:, ::2], t[:0]):
        x = ml.from_dlpack(view)
        assert x.shape == tuple(view.shape)
        back = torch.from_dlpack(x)
        if view.numel():
            assert back.data_ptr() == view.data_ptr()
        assert torch.equal(back.to(torch.float64), view.to(torch.float64))
    x = ml.zeros((2, 3))
    t = torch.from_dlpack(x)
    t += 1
    assert x.tolist() == [[1, 1, 1]] * 2
    x += 1
    assert t.tolist() == [[2, 2, 2]] * 2


def test_lifetimes():
    live = ml.memory_statistics()["live_bytes"]
    t = torch.from_dlpack(ml.ones(1000))
    gc.collect()
    assert ml.memory_statistics()["live_bytes"] == live + 4000 and t.sum() == 1000
    x = ml.from_dlpack(t)
    del t
    gc.collect()
    assert ml.sum(x).item() == 1000
    del x
    gc.collect()
    assert ml.memory_statistics()["live_bytes"] == live


def test_refused():
    with pytest.raises(ml.DTypeError, match="int64"):
        ml.from_dlpack(torch.arange(3))
    with pytest.raises(ml.DTypeError, match="bfloat16"):
        ml.from_dlpack(torch.ones(3, dtype=torch.bfloat16))
    with pytest.raises((BufferError, RuntimeError), match="grad"):
        ml.from_dlpack(torch.ones(3, requires_grad=True))
    assert ml.tensor(torch.arange(3), "i32").tolist() == [0, 1, 2]


def test_operands():
    t = torch.tensor([1.0, 2.0])
    assert (ml.ones(2) + t).tolist() == [2, 3]
    assert ml.exp(t).shape == (2,)


CLOSED_FORMS = [
    (mt.relu_smoothed, ()),
    (mt.step_smoothed, ()),
    (mt.sign_smoothed, ()),
    (mt.abs_smoothed, ()),
    (mt.relu_squared_smoothed, ()),
    (mt.leaky_relu_smoothed, (0.2,)),
    (mt.elu_smoothed, ()),
    (mt.gelu_smoothed, ()),
    (mt.erf_smoothed, (1.5,)),
    (mt.sin_smoothed, (2.0,)),
    (mt.cos_smoothed, (2.0,)),
    (mt.exp_smoothed, ()),
    (mt.gaussian_smoothed, (0.7,)),
    (mt.power_smoothed, (3,)),
    (mt.clip_smoothed, (-1.0, 1.0)),
]


@pytest.mark.parametrize("f, numbers", CLOSED_FORMS, ids=[f.__name__ for f, _ in CLOSED_FORMS])
def test_first_and_second_derivatives(f, numbers):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(3, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    s = (torch.rand(4, dtype=torch.float64, generator=generator) + 0.3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, s: f(x, s, *numbers), (x, s))
    assert torch.autograd.gradgradcheck(lambda x, s: f(x, s, *numbers), (x, s))


def test_against_pytorchs_own_expression():
    x = torch.linspace(-3, 3, 101, requires_grad=True)
    s = torch.tensor(0.5, requires_grad=True)

    def own(x, s):
        a = x / s
        return x * (1 + torch.erf(a / math.sqrt(2))) / 2 + s * torch.exp(-a * a / 2) / math.sqrt(2 * math.pi)

    for wanted, found in ((own(x, s), mt.relu_smoothed(x, s)), (own(x, s), mt.relu_smoothed(x[:, None].T, s)[0])):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
        for a, b in zip(torch.autograd.grad(found.sum(), (x, s)), torch.autograd.grad(wanted.sum(), (x, s))):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_numbers_layouts_and_modes():
    x = torch.randn(3, 4, requires_grad=True)
    y = mt.relu_smoothed(x.T, 0.1)
    y.sum().backward()
    assert x.grad.shape == (3, 4) and y.requires_grad
    with torch.no_grad():
        assert not mt.relu_smoothed(x, 0.1).requires_grad
    assert mt.relu_smoothed(x.detach(), 0.0).equal(torch.relu(x.detach()))
    linear = torch.nn.Linear(4, 2)
    loss = mt.gelu_smoothed(linear(x), 0.2).square().sum()
    loss.backward()
    assert linear.weight.grad.abs().sum() > 0


def test_what_was_overwritten_is_noticed():
    x = torch.ones(3, requires_grad=True)
    z = x * 2
    y = mt.relu_smoothed(z, 0.1)
    z += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_functions_of_ones_own():
    f = mt.function(lambda x, w: ml.tanh(ml.matmul(x, w)))
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    w = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(f, (x, w)) and torch.autograd.gradgradcheck(f, (x, w))
