"""The same work in PyTorch: prints the median seconds of one case, or the peak memory of a training process.

usage: torch_side.py CASE THREADS      (case names are those of CASES below)
"""
import resource
import statistics
import sys
import time

import torch
import torch.nn as nn


def cnn():
    return nn.Sequential(nn.Conv2d(1, 32, 4), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(4608, 128), nn.ReLU(), nn.Linear(128, 10))


class Block(nn.Module):
    def __init__(self, channels, filters, stride):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(channels, filters, 3, stride, 1, bias=False), nn.BatchNorm2d(filters)
        self.conv2, self.norm2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False), nn.BatchNorm2d(filters)
        self.shortcut = nn.Sequential()
        if stride != 1 or channels != filters:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, filters, 1, stride, bias=False), nn.BatchNorm2d(filters))

    def forward(self, x):
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


def resnet18():
    layers, channels = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()], 64
    for stage, filters in enumerate((64, 128, 256, 512)):
        for i in range(2):
            layers.append(Block(channels, filters, 2 if i == 0 and stage > 0 else 1))
            channels = filters
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def training_step(network, batch, shape, channels_last):
    images, labels = torch.randn(batch, *shape), torch.arange(batch) % 10
    if channels_last:
        network, images = network.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)
    optimizer, loss = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9), nn.CrossEntropyLoss()

    def step():
        optimizer.zero_grad()
        loss(network(images), labels).backward()
        optimizer.step()

    return step


def relu_smoothed(x, s):
    a = x / s
    return x * (0.5 * torch.erfc(-a * 0.7071067811865476)) + s * torch.exp(-0.5 * a * a) * 0.3989422804014327


def relu_square_smoothed(x, s):
    a = x / s
    return (x * x + s * s) * (0.5 * torch.erfc(-a * 0.7071067811865476)) + x * s * torch.exp(-0.5 * a * a) * 0.3989422804014327


def smoothed_step(batch):
    """The Table 3 CNN smoothed with paper sigma 0.1, penalties of the split form, Adam: what the closed forms say, written in PyTorch."""
    network, s = cnn(), 0.1 * 0.7071067811865476
    conv, _, pool, flatten, dense1, _, dense2 = network
    images, targets = torch.randn(batch, 1, 28, 28), nn.functional.one_hot(torch.arange(batch) % 10, 10).float()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)

    def variance(x, mean):
        return (relu_square_smoothed(x, s) - mean * mean).sum() / batch

    def weighted(layer, x):
        return s * s * ((layer.weight ** 2).sum() + layer.out_features * (x * x).sum() / batch)

    def step():
        optimizer.zero_grad()
        x1 = conv(images)
        h1 = relu_smoothed(x1, s)
        z1 = flatten(pool(h1))
        x2 = dense1(z1)
        h2 = relu_smoothed(x2, s)
        output = dense2(h2)
        penalty = 1e-7 * variance(x1, h1) + 1e-7 * weighted(dense1, z1) + 1e-5 * variance(x2, h2) + 1e-5 * weighted(dense2, h2)
        (((output - targets) ** 2).sum() / batch + penalty).backward()
        optimizer.step()

    return step


def relu_smoothed_gradient():
    x, seed = torch.randn(4_000_000, requires_grad=True), torch.ones(4_000_000)

    def step():
        x.grad = None
        relu_smoothed(x, 0.1).backward(seed)

    return step


def chain_gradient():
    x = torch.full((16,), 0.99, requires_grad=True)

    def step():
        x.grad = None
        y = x
        for _ in range(200):
            y = y * x
        y.sum().backward()

    return step


CASES = {
    "cnn16": lambda: training_step(cnn(), 16, (1, 28, 28), False),
    "cnn128": lambda: training_step(cnn(), 128, (1, 28, 28), False),
    "chain": chain_gradient,
    "resnet32": lambda: training_step(resnet18(), 32, (3, 32, 32), False),
    "resnet32_channels_last": lambda: training_step(resnet18(), 32, (3, 32, 32), True),
    "smoothed16": lambda: smoothed_step(16),
    "smoothed128": lambda: smoothed_step(128),
    "relu_smoothed": relu_smoothed_gradient,
    "normal": lambda: lambda: torch.randn(1_000_000),
}


def main():
    case, threads = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(threads)
    step = CASES[case]()
    step()
    times, end = [], time.perf_counter() + 2.0
    while time.perf_counter() < end or len(times) < 5:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    print(torch.__version__, statistics.median(times), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    main()
