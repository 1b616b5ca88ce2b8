"""Text in images: DBNet finds it (Liao et al. 2020), CRNN reads it (Shi et al. 2015)."""

import torch
from torch import nn
from torch.nn import functional as F


def _conv(inside: int, outside: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(outside), nn.ReLU()
    )


class DBNet(nn.Module):
    """A feature pyramid over a torchvision ResNet, and the head that gives each pixel's probability of being text."""

    def __init__(self, resnet: nn.Module, widths=(256, 512, 1024, 2048), width: int = 256):
        super().__init__()
        self.stem = nn.Sequential(resnet.conv1, resnet.bn1, resnet.relu, resnet.maxpool)
        self.stages = nn.ModuleList([resnet.layer1, resnet.layer2, resnet.layer3, resnet.layer4])
        self.sides = nn.ModuleList(_conv(inside, width, 1) for inside in widths)
        self.outs = nn.ModuleList(_conv(width, width // 4, 3) for _ in widths)
        narrow = width // 4
        self.head = nn.Sequential(
            _conv(width, narrow, 3),
            nn.ConvTranspose2d(narrow, narrow, 2, 2, bias=False),
            nn.BatchNorm2d(narrow),
            nn.ReLU(),
            nn.ConvTranspose2d(narrow, 1, 2, 2),
        )

    def forward(self, image):
        x, levels = self.stem(image), []
        for stage, side in zip(self.stages, self.sides):
            x = stage(x)
            levels.append(side(x))
        for index in (2, 1, 0):
            levels[index] = levels[index] + F.interpolate(levels[index + 1], scale_factor=2.0, mode="bilinear", align_corners=False)
        size = levels[0].shape[-2:]
        found = [out(level) for out, level in zip(self.outs, levels)]
        found = [found[0], *(F.interpolate(x, size, mode="bilinear", align_corners=False) for x in found[1:])]
        return torch.sigmoid(self.head(torch.cat(found, 1)))


class CRNN(nn.Module):
    """VGG-16 with norms whose last three pools keep the width, then a bidirectional LSTM along it: [N, W / 4, classes]."""

    def __init__(self, widths=(64, 128, 256, 512, 512), hidden: int = 128, classes: int = 127):
        super().__init__()
        layers, before = [], 3
        for index, (width, count) in enumerate(zip(widths, (2, 2, 3, 3, 3))):
            for _ in range(count):
                layers += [nn.Conv2d(before, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
                before = width
            layers.append(nn.MaxPool2d(2) if index < 2 else nn.MaxPool2d((2, 1), (2, 1)))
        self.features = nn.Sequential(*layers)
        self.reader = nn.LSTM(before, hidden, 2, batch_first=True, bidirectional=True)
        self.outlet = nn.Linear(2 * hidden, classes)

    def forward(self, image):
        x = self.features(image)
        x = x.flatten(1, 2).transpose(1, 2)
        return self.outlet(self.reader(x)[0])
