"""U-Net (Ronneberger et al. 2015) with batch norms, padded convolutions and bilinear upsampling."""

import torch
from torch import nn
from torch.nn import functional as F


def double(inside: int, outside: int, middle: int | None = None) -> nn.Sequential:
    """Two 3x3 convolutions, each with a norm and a ReLU."""
    middle = middle or outside
    return nn.Sequential(
        nn.Conv2d(inside, middle, 3, padding=1, bias=False),
        nn.BatchNorm2d(middle),
        nn.ReLU(),
        nn.Conv2d(middle, outside, 3, padding=1, bias=False),
        nn.BatchNorm2d(outside),
        nn.ReLU(),
    )


class UNet(nn.Module):
    """Four levels down and up; an odd size is padded on the way up."""

    def __init__(self, channels: int = 3, classes: int = 2, width: int = 64):
        super().__init__()
        widths = [width, 2 * width, 4 * width, 8 * width, 8 * width]
        self.inlet = double(channels, width)
        self.down = nn.ModuleList(double(a, b) for a, b in zip(widths, widths[1:]))
        ups = [(2 * wide, narrow) for wide, narrow in zip(widths[3::-1], [*widths[2::-1], width])]
        self.up = nn.ModuleList(double(inside, outside, inside // 2) for inside, outside in ups)
        self.outlet = nn.Conv2d(width, classes, 1)

    def forward(self, x):
        kept = [self.inlet(x)]
        for level in self.down:
            kept.append(level(F.max_pool2d(kept[-1], 2)))
        x = kept.pop()
        for level in self.up:
            skip = kept.pop()
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
            high, wide = skip.size(2) - x.size(2), skip.size(3) - x.size(3)
            x = F.pad(x, [wide // 2, wide - wide // 2, high // 2, high - high // 2])
            x = level(torch.cat([skip, x], 1))
        return self.outlet(x)
