#!/usr/bin/env python3
"""What Python adds: the same work by the package mollify and by mollify_bench, in turns, and closed forms beside PyTorch's own.

usage: python.py [--bench build/bench/mollify_bench] [--threads 2] [--rounds 5]    (with the package, and PyTorch if it is there)
"""
import argparse
import json
import math
import os
import statistics
import subprocess
import time

CHAIN = 200


def ours(bench, name, threads):
    """Seconds of a benchmark of C++."""
    command = [bench, f"--benchmark_filter=^{name}$", "--benchmark_format=json", "--benchmark_min_time=0.5"]
    environment = {**os.environ, "MOLLIFY_NUM_THREADS": str(threads)}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    case = json.loads(run.stdout)["benchmarks"][0]
    return case["real_time"] * {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1}[case["time_unit"]]


def seconds(step, least=0.5):
    """Median of a call, over half a second."""
    for _ in range(4):
        step()
    times, start = [], time.perf_counter()
    while time.perf_counter() - start < least or len(times) < 3:
        begin = time.perf_counter()
        step()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def chain(ml):
    x = ml.full(16, 0.99)

    def step():
        y = x
        for _ in range(CHAIN):
            y = y * x
        return y

    return step


def training_step(ml, batch):
    network = ml.nn.make("cnn", (28, 28, 1), 10)
    weights = network.initial_weights(seed=1)
    images = ml.normal((batch, 28, 28, 1), 1, 2)
    labels = ml.cast(ml.arange(batch) - 10 * ml.floor(ml.arange(batch) / 10), "i32")
    optimizer = ml.optim.sgd(0.01, momentum=0.9)

    @ml.capture
    def update(x, y):
        return optimizer.update(weights, lambda w: ml.nn.mean_cross_entropy(network(w, x), y))

    def step():
        optimizer.advance()
        return update(images, labels)

    return step


def torch_rows(torch, mt):
    x, s = torch.randn(4_000_000, requires_grad=True), torch.tensor(0.5)

    def own():
        a = x / s
        y = x * (1 + torch.erf(a / math.sqrt(2))) / 2 + s * torch.exp(-a * a / 2) / math.sqrt(2 * math.pi)
        torch.autograd.grad(y, x, torch.ones_like(y))

    def closed():
        y = mt.relu_smoothed(x, s)
        torch.autograd.grad(y, x, torch.ones_like(y))

    return own, closed


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bench", default="build/bench/mollify_bench")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    import mollify as ml

    ml.set_num_threads(options.threads)
    rows = [
        (f"{CHAIN} products of 16 numbers", "eager_chain/real_time", lambda: chain(ml)),
        ("Table 3 CNN, SGD step captured, batch 16", "training_step/cnn_captured/16/real_time", lambda: training_step(ml, 16)),
        ("Table 3 CNN, SGD step captured, batch 128", "training_step/cnn_captured/128/real_time", lambda: training_step(ml, 128)),
    ]
    print("| median time | C++ | Python | difference |\n| --- | --- | --- | --- |")
    for name, benchmark, make in rows:
        pairs = [(ours(options.bench, benchmark, options.threads), seconds(make())) for _ in range(options.rounds)]
        cpp, python = (statistics.median(times) for times in zip(*pairs))
        more = f"{(python - cpp) / CHAIN * 1e6:.2f} µs a call" if "chain" in benchmark else f"{python / cpp - 1:+.1%}"
        print(f"| {name} | {cpp * 1e6:.1f} µs | {python * 1e6:.1f} µs | {more} |")
    try:
        import torch

        import mollify.torch as mt
    except ImportError:
        return
    torch.set_num_threads(options.threads)
    own, closed = torch_rows(torch, mt)
    pairs = [(seconds(own), seconds(closed)) for _ in range(options.rounds)]
    theirs, here = (statistics.median(times) for times in zip(*pairs))
    print(f"| PyTorch: relu_s of 4,000,000 numbers, forward and backward | {theirs * 1e3:.1f} ms (its own expression) "
          f"| {here * 1e3:.1f} ms | {theirs / here:.1f} times as fast |")


if __name__ == "__main__":
    main()
