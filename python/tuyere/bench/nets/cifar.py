"""Small classifiers of 32 x 32 images: a pre-2016 style residual net and a densely connected one, 0.27 and 0.24 M parameters."""

import torch
from torch import nn


class Residual(nn.Module):
    """relu(x + f(x)) with two 3x3 convolutions in f; a strided one has a 1x1 convolution on the way around."""

    def __init__(self, inside: int, outside: int, stride: int):
        super().__init__()
        self.f = nn.Sequential(
            nn.Conv2d(inside, outside, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outside),
            nn.ReLU(),
            nn.Conv2d(outside, outside, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outside),
        )
        self.around = nn.Conv2d(inside, outside, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x):
        return torch.relu(self.around(x) + self.f(x))


def resnet(channels=(16, 32, 64), blocks: int = 3, classes: int = 10) -> nn.Module:
    """ResNet for CIFAR (He et al. 2015, section 4.2): three stages, global mean, a linear layer."""
    layers = [nn.Conv2d(3, channels[0], 3, 1, 1, bias=False), nn.BatchNorm2d(channels[0]), nn.ReLU()]
    before = channels[0]
    for stage, width in enumerate(channels):
        for block in range(blocks):
            layers.append(Residual(before, width, 2 if stage and not block else 1))
            before = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes))


class Dense(nn.Module):
    """cat(f(x), x): norm, 1x1 to a bottleneck, norm, 3x3 to ``growth`` channels."""

    def __init__(self, inside: int, bottleneck: int, growth: int):
        super().__init__()
        self.f = nn.Sequential(
            nn.BatchNorm2d(inside),
            nn.ReLU(),
            nn.Conv2d(inside, bottleneck, 1, bias=False),
            nn.BatchNorm2d(bottleneck),
            nn.ReLU(),
            nn.Conv2d(bottleneck, growth, 3, padding=1, bias=False),
        )

    def forward(self, x):
        return torch.cat([self.f(x), x], 1)


def densenet(layers=(6, 6, 6, 6), growth: int = 16, classes: int = 10) -> nn.Module:
    """DenseNet for CIFAR (Huang et al. 2017): dense blocks with transitions that halve channels and image."""
    width = 2 * growth
    net = [nn.Conv2d(3, width, 3, padding=1)]
    for index, count in enumerate(layers):
        for _ in range(count):
            net.append(Dense(width, 2 * growth, growth))
            width += growth
        if index < len(layers) - 1:
            half = [nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width // 2, 1, bias=False), nn.AvgPool2d(2)]
            net.append(nn.Sequential(*half))
            width //= 2
    return nn.Sequential(*net, nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))
