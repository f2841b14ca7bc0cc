"""Networks, optimisers, smoothing, bounds, attacks and data."""

import numpy as np
import pytest

import mollify as ml
from mollify import datasets, nn, optim, smoothing
from mollify.nn import bounds


@pytest.fixture(scope="module")
def small():
    network = nn.Network("small", 4, nn.sequential(nn.dense(8), nn.relu(), nn.dense(3)))
    weights = network.initial_weights("kaiming_normal", seed=1)
    x, labels = ml.rand((16, 4), 2), ml.cast(ml.arange(16) - ml.floor(ml.arange(16) / 3) * 3, "i32")
    return network, weights, x, labels


def plain(network, weights, x):
    w1, b1, w2, b2 = (np.asarray(network.weight(weights, p.name)) for p in network.weights)
    return np.maximum(np.asarray(x) @ w1.T + b1, 0) @ w2.T + b2


def test_networks(small, tmp_path):
    network, weights, x, labels = small
    assert network.weight_count == 8 * 4 + 8 + 3 * 8 + 3 == weights.size
    assert network.input == (4,) and network.output == (3,)
    np.testing.assert_allclose(network(weights, x), plain(network, weights, x), rtol=1e-5, atol=1e-6)
    output, state = network(weights, None, x)
    assert np.array_equal(output, network(weights, x)) and state is None
    nn.save(tmp_path / "w.safetensors", network, weights, metadata={"epoch": "3"})
    loaded, state, metadata = nn.load(tmp_path / "w.safetensors", network)
    assert np.array_equal(loaded, weights) and metadata["epoch"] == "3"
    tensors, _ = nn.read_safetensors(tmp_path / "w.safetensors")
    assert set(tensors) == {p.name for p in network.weights}
    np.save(tmp_path / "x.npy", np.asarray(x))
    assert np.array_equal(nn.read_npy(tmp_path / "x.npy"), x)
    assert "cnn3" in nn.model_names() and nn.make("cnn3", (28, 28, 1), 10).weight_count == 24330
    normed = nn.Network("normed", (6, 6, 2), nn.sequential(
        nn.conv2d(4, 3, padding=1), nn.batch_norm(), nn.activation("gelu"),
        nn.residual(nn.conv2d(4, 3, padding=1)), nn.dropout(0.5), nn.global_average_pool(), nn.dense(2)))  # fmt: skip
    w, state = normed.initial_weights(seed=0), normed.initial_state()
    images = ml.rand((5, 6, 6, 2), 0)
    output, new = normed(w, state, images, "train", seed=1, step=2)
    assert output.shape == (5, 2) and not np.array_equal(new, state)
    assert not np.array_equal(normed(w, state, images, "train", seed=1, step=3)[0], output)


def test_losses(small):
    network, weights, x, labels = small
    logits = network(weights, x)
    shares = np.asarray(ml.softmax(logits))[np.arange(16), np.asarray(labels)]
    np.testing.assert_allclose(nn.mean_cross_entropy(logits, labels), -np.log(shares).mean(), rtol=1e-5)
    assert nn.accuracy(logits, labels) == (np.argmax(logits, -1) == np.asarray(labels)).mean()
    losses, gradients = nn.per_sample_gradients(
        network, weights, None, x, lambda y: ml.cross_entropy(y, labels)
    )
    mean = ml.grad(lambda w: nn.mean_cross_entropy(network(w, x), labels))(weights)
    np.testing.assert_allclose(ml.mean(gradients, 0), mean, rtol=1e-4, atol=1e-6)


QUADRATIC = np.array([1.0, 4.0])


def quadratic(w):
    return ml.sum(w * w * QUADRATIC) / 2


@pytest.mark.parametrize(
    "make",
    [
        lambda g: optim.sgd(0.1, momentum=0.5, gradient=g),
        lambda g: optim.sgd(optim.cosine(0.2, 200), nesterov=True, momentum=lambda step: 0.3, gradient=g),
        lambda g: optim.adam(optim.polynomial(0.1, 200, 1.0), gradient=g),
        lambda g: optim.adamw(lambda step: 0.1 / (1 + step / 20), weight_decay=0.0, gradient=g),
        lambda g: optim.clip_up(optim.step_decay(0.05, 0.5, 40), gradient=g),
        lambda g: optim.schedule_free_sgd(0.2, gradient=g),
        lambda g: optim.schedule_free_adamw(0.1, gradient=g),
    ],
)
@pytest.mark.parametrize(
    "gradient",
    [
        None,
        optim.sam(0.01),
        optim.asam(0.01),
        smoothing.gradient_from_values(0.01, pairs=8),
        smoothing.gradient_from_gradients(0.01, samples=4),
    ],
)
def test_optimizers_find_the_minimum(make, gradient):
    optimizer, w = make(gradient), np.array([1.0, -1.0])  # the array's own memory is trained
    first = optimizer.step(w, quadratic)
    assert first.item() == pytest.approx(2.5, abs=0.2) and optimizer.steps == 1
    for _ in range(199):
        optimizer.step(w, quadratic)
    assert quadratic(optimizer.evaluation_weights(w)).item() < 0.02


def test_optimizer_of_numpy_formula():
    w = np.array([1.0, -1.0])
    optimizer = optim.sgd(0.1, momentum=0.5)
    velocity, wanted = np.zeros(2), w.copy()
    for _ in range(5):
        optimizer.step(w, quadratic)
        velocity = 0.5 * velocity + QUADRATIC * wanted
        wanted = wanted - 0.1 * velocity
    np.testing.assert_allclose(w, wanted, rtol=1e-12)


def test_states_resume():
    a, b = np.ones(2), np.ones(2)
    one, two = optim.adam(0.1), optim.adam(0.1)
    for _ in range(3):
        one.step(a, quadratic)
    two.set_state(one.state())
    b[:] = a
    one.step(a, quadratic), two.step(b, quadratic)
    assert np.array_equal(a, b) and two.steps == 4


def test_captured_steps_have_the_bits_of_eager_ones(small):
    network, weights, x, labels = small
    loss = lambda w, x, y: nn.mean_cross_entropy(network(w, x), y)  # noqa: E731
    results = []
    for captured in (False, True):
        w, optimizer = ml.tensor(weights), optim.adam(optim.cosine(0.01, 10))
        update = lambda w, x, y: optimizer.update(w, lambda t: loss(t, x, y))  # noqa: B023, E731
        update = ml.capture(update) if captured else update
        for _ in range(10):
            optimizer.advance("f32")
            update(w, x, labels)
        results.append(np.array(w))
    assert np.array_equal(*results)


def test_svrg():
    w = np.array([1.0, -1.0])
    svrg = optim.Svrg(0.1)
    with pytest.raises(ml.ArgumentError):
        svrg.step(w, quadratic)
    for _ in range(5):
        svrg.start_round(w, quadratic)
        for _ in range(10):
            svrg.step(w, quadratic)
    assert quadratic(w).item() < 1e-2


def test_schedules():
    assert [optim.step_decay(8, 0.5, 2)(i) for i in range(5)] == [8, 8, 4, 4, 2]
    assert optim.milestones(1, 0.1, [3])(3) == pytest.approx(0.1)
    warm = optim.linear_warmup(4, optim.constant(1.0))
    assert [warm(i) for i in range(5)] == [0.25, 0.5, 0.75, 1, 1]
    assert optim.linear_warmup(2, lambda step: 2.0)(0) == 1
    rate, batch = optim.graduated_round(optim.step_decay(1, 0.5, 1), 1, batch_share=1.0)
    assert batch == 512 and rate == pytest.approx(0.1)


def test_closed_forms_are_averages():
    x = ml.linspace(-2, 2, 9, "f64")
    mean, error = smoothing.smooth_by_sampling(ml.relu, x, 0.5, samples=4096)
    assert np.all(np.abs(smoothing.relu_smoothed(x, 0.5) - mean) < 4 * error + 1e-4)
    found = smoothing.gauss_hermite_smoothed(ml.tanh, x, 0.3)
    mean, error = smoothing.smooth_by_sampling(ml.tanh, x, smoothing.Sigma.paper(0.3 * np.sqrt(2)), samples=4096, draws="sobol")
    assert np.all(np.abs(found - mean) < 5 * error + 1e-6)
    m, v = smoothing.relu_moments(x, 0.5)
    np.testing.assert_allclose(m, smoothing.relu_smoothed(x, 0.5))
    assert np.all(np.asarray(v) > 0)


def test_smoothed_networks(small):
    network, weights, x, labels = small
    smoothed = smoothing.smooth(network, 0.1, penalties=1.0)
    result = smoothed(weights, x)
    w1, b1, w2, b2 = (np.asarray(network.weight(weights, p.name)) for p in network.weights)
    hidden = smoothing.relu_smoothed(np.asarray(x) @ w1.T + b1, 0.1)
    np.testing.assert_allclose(result.output, hidden @ w2.T + b2, rtol=1e-4, atol=1e-5)
    assert smoothing.smoothed_squared_error(result, labels).item() > 0
    s = ml.tensor(0.1)
    slope = ml.grad(lambda s: ml.sum(smoothed(weights, x, sigma=s).output))(s)
    assert slope.shape == () and slope.item() != 0
    mean, variance = smoothing.propagate_moments(network, weights, None, x, 0.1, 0.0, directions=-1)
    sampled, error = smoothing.smooth_rows_by_sampling(lambda t: network(weights, t), x, 0.1, samples=2000)
    assert np.mean(np.abs(mean - sampled) < 5 * error + 2e-3) > 0.9 and np.all(np.asarray(variance) > 0)


def test_gsmooth():
    smoothed = lambda w, sigma: quadratic(w) + 2.5 * sigma.tensor("f64") ** 2  # noqa: E731
    w = np.array([1.0, -1.0])
    method = smoothing.GSmooth(optim.sgd(0.1), optim.step_decay(1.0, 0.9, 1))
    for _ in range(50):
        method.step(w, smoothed)
    assert quadratic(w).item() < 1e-3 and method.sigma.s < 0.01
    taken = optim.sgd(0.1)
    smoothing.GSmooth(taken, 0.1)
    with pytest.raises(ml.ArgumentError, match="belongs"):
        taken.step(w, quadratic)


def test_ask_and_tell():
    search = smoothing.AskTell(np.array([2.0, -1.0]), 0.1, lambda g: optim.adam(0.1, gradient=g), pairs=8)
    for step in range(120):
        points = np.asarray(search.ask())
        assert points.shape == (search.members, 2)
        losses = (points**2).sum(1)
        if step == 3:
            losses[0] = np.nan
        search.tell(losses.tolist() if step % 2 else losses)
        assert search.left_out == (1 if step == 3 else 0)
    assert np.abs(search.center).max() < 0.1 and search.best_value < 0.01 and search.steps == 120
    with pytest.raises(ml.ArgumentError):
        search.tell(losses)


@pytest.mark.parametrize("method", ["ibp", "hbox", "deepz", "crown-ibp", "crown", "alpha-crown"])
def test_bounds_hold_samples(method, small):
    network, weights, x, labels = small
    graph = bounds.Graph(network, weights)
    box = bounds.ball(x, 0.05, 0, 1)
    found = bounds.Bounds(graph, box, method)
    lower, upper = found.output()
    rng = np.random.default_rng(0)
    for _ in range(50):
        inside = np.asarray(box[0]) + rng.uniform(size=x.shape).astype(np.float32) * np.asarray(box[1] - box[0])
        y = plain(network, weights, inside)
        assert np.all(y >= np.asarray(lower) - 1e-5) and np.all(y <= np.asarray(upper) + 1e-5)
    margins = found.lower(bounds.margin_rows(labels, 3))
    loss = bounds.worst_case_cross_entropy(margins)
    assert loss.item() >= nn.mean_cross_entropy(network(weights, x), labels).item()


def test_certified_losses_have_gradients(small):
    network, weights, x, labels = small

    def loss(w):
        found = bounds.Bounds(bounds.Graph(network, w), bounds.ball(x, 0.05, 0, 1), "ibp")
        return bounds.worst_case_cross_entropy(found.lower(bounds.margin_rows(labels, 3)))

    gradient = np.asarray(ml.grad(loss)(weights))
    step = 1e-2 * gradient / np.linalg.norm(gradient)
    rise = loss(weights + step).item() - loss(weights - step).item()
    assert rise == pytest.approx(2 * 1e-2 * np.linalg.norm(gradient), rel=0.05)
    own = bounds.Bounds(bounds.Graph(lambda t: ml.relu(t) - 1.0, 2), (ml.zeros((1, 2)) - 1, ml.ones((1, 2))), "ibp")
    assert own.output()[0].tolist() == [[-1, -1]] and own.output()[1].tolist() == [[0, 0]]


def test_verification(small):
    network, _, _, _ = small
    weights = network.initial_weights("kaiming_normal", 1, "f64")
    text = "".join(f"(declare-const X_{i} Real)" for i in range(4)) + "".join(f"(declare-const Y_{i} Real)" for i in range(3))
    text += "".join(f"(assert (>= X_{i} 0.4))(assert (<= X_{i} 0.6))" for i in range(4))
    graph = bounds.Graph(network, weights)
    lowest = bounds.Bounds(graph, (ml.full((1, 4), 0.4, "f64"), ml.full((1, 4), 0.6, "f64"))).output()[0][0, 0].item()
    holds = bounds.verify(graph, bounds.parse_vnnlib("p", text + f"(assert (<= Y_0 {lowest - 1:.6f}))"))
    assert holds.verdict == "unsat"
    broken = bounds.verify(graph, bounds.parse_vnnlib("p", text + "(assert (<= Y_0 100))"))
    assert broken.verdict == "sat" and all(0.4 <= v <= 0.6 for v in broken.input)


def test_attacks_stay_in_their_ball(small):
    network, weights, x, _ = small
    labels = ml.argmax(network(weights, x))
    f = lambda t: network(weights, t)  # noqa: E731
    threat = smoothing.Threat(0.3, lower=0, upper=1)
    found = {
        "fgsm": smoothing.fgsm(f, x, labels, threat),
        "pgd": smoothing.pgd(f, x, labels, threat, objective="margin", steps=10),
        "apgd": smoothing.apgd(f, x, labels, threat, steps=20),
        "square": smoothing.square_attack(f, x, labels, threat, queries=50),
        "named": smoothing.attack("apgd-ce", f, x, labels, threat, steps=10)[0],
    }
    for name, result in found.items():
        moved = np.asarray(result.inputs)
        assert np.abs(moved.astype(np.float64) - np.asarray(x)).max() <= 0.3 and moved.min() >= 0 and moved.max() <= 1
        wrong = plain(network, weights, moved).argmax(1) != np.asarray(labels)
        assert np.array_equal(np.asarray(result.success) == 1, wrong), name
    assert np.asarray(found["pgd"].success).sum() >= np.asarray(found["fgsm"].success).sum()
    nearest = smoothing.ddn(f, x, labels, smoothing.Threat(np.inf, norm="l2", lower=0, upper=1))
    hit = np.asarray(nearest.success) == 1
    lengths = np.linalg.norm(np.asarray(nearest.inputs, dtype=np.float64) - np.asarray(x), axis=1)
    np.testing.assert_allclose(np.asarray(nearest.distances)[hit], lengths[hit], rtol=1e-6)


def test_randomized_smoothing(small):
    network, weights, x, _ = small
    g = smoothing.NoisyClassifier(lambda t: network(weights, t), 0.25, seed=3)
    counts = np.asarray(smoothing.votes(g, x, count=200))
    assert counts.shape == (16, 3) and np.all(counts.sum(1) == 200)
    other = smoothing.NoisyClassifier(lambda t: network(weights, t), 0.25, seed=3, batch=7)
    assert np.array_equal(smoothing.votes(other, x, count=200), counts)
    for certificate in smoothing.certify(g, x, selections=50, trials=1000):
        share = smoothing.clopper_pearson_lower(certificate.successes, certificate.draws, 0.001)
        radius = smoothing.certified_radius(share, 0.25)
        assert certificate.radius == pytest.approx(max(radius, 0), abs=1e-6)
    with pytest.raises(ml.ArgumentError):
        smoothing.certify(g, x, trials=3)
    for predicted, first, second in smoothing.predict(g, x, trials=100):
        assert first >= second and (predicted >= 0) == (smoothing.equal_shares_p_value(first, second) <= 0.001)


def test_data(rng):
    data = datasets.digits(30, seed=1)
    assert len(data) == 30 and data.image(0).shape == (28, 28, 1) and sorted(data.labels[:10].tolist()) == list(range(10))
    loader = datasets.Loader(data, batch_size=8, seed=5)
    seen = []
    for images, labels in loader.epoch(0):
        assert images.dtype == "f32" and 0 <= ml.min(images).item() and ml.max(images).item() <= 1
        seen += labels.tolist()
    assert sorted(seen) == sorted(data.labels.tolist()) and loader.next() is None
    batch = datasets.make_batch(data, [3, 4], datasets.Preparation(mean=[0.5], deviation=[0.25]))
    wanted = (np.asarray(data.image(3)) / 255 - 0.5) / 0.25
    np.testing.assert_allclose(batch.images[0], wanted, atol=1e-5)
    pixels = rng.integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)
    own = datasets.Dataset(pixels, np.arange(5, dtype=np.int32), classes=5)
    assert np.array_equal(own.image(2), pixels[2])
    train, test = datasets.split(own, 2, seed=0)
    assert len(train) == 3 and len(test) == 2 and len(datasets.take(own, 1, 3)) == 3
    with pytest.raises(ml.ShapeError):
        datasets.Dataset(pixels[0], np.arange(4, dtype=np.int32), classes=5)


def test_networks_outlive_their_names():
    def smoothed():
        network = nn.make("linear", (1, 1, 3), 2)
        return smoothing.smooth(network, 0.1), network.initial_weights()

    s, w = smoothed()
    assert s(w, ml.ones((1, 1, 1, 3))).output.shape == (1, 2)

    def bounded():
        network = nn.make("linear", (1, 1, 3), 2)
        graph = bounds.Graph(network, network.initial_weights())
        return bounds.Bounds(graph, bounds.ball(ml.ones((1, 1, 1, 3)), 0.1, 0, 2))

    assert bounded().output()[0].shape == (1, 2)
    loader = datasets.Loader(datasets.digits(10), batch_size=10)
    loader.start_epoch(0)
    assert len(loader.next()) == 10
