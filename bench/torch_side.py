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
