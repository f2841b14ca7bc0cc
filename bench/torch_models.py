"""The networks of nn/models.cc in PyTorch."""
import torch
import torch.nn as nn


def cnn():
    return nn.Sequential(nn.Conv2d(1, 32, 4), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(4608, 128), nn.ReLU(), nn.Linear(128, 10))


def lenet_300_100():
    def norm(features):
        return nn.BatchNorm1d(features, affine=False)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 300), nn.ReLU(), norm(300), nn.Linear(300, 100), nn.ReLU(), norm(100), nn.Linear(100, 10))


def cnn3():
    return nn.Sequential(nn.Conv2d(1, 16, 5, 2, 2), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(1568, 10))


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


class WideBlock(nn.Module):
    def __init__(self, channels, filters, stride):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(channels), nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(filters), nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(channels, filters, 1, stride, bias=False) if stride != 1 or channels != filters else None

    def forward(self, x):
        y = torch.relu(self.norm1(x))
        shortcut = x if self.shortcut is None else self.shortcut(y)
        return self.conv2(torch.relu(self.norm2(self.conv1(y)))) + shortcut


def wrn_28_10():
    layers, channels = [nn.Conv2d(3, 16, 3, 1, 1, bias=False)], 16
    for stage, filters in enumerate((160, 320, 640)):
        for i in range(4):
            layers.append(WideBlock(channels, filters, 2 if i == 0 and stage > 0 else 1))
            channels = filters
    return nn.Sequential(*layers, nn.BatchNorm2d(640), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(640, 10))
