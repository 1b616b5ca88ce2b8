"""YOLOv3 with spatial pyramid pooling (Redmon and Farhadi 2018; He et al. 2014) on Darknet-53, up to the decoded boxes."""

import torch
from torch import nn
from torch.nn import functional as F

ANCHORS = (((116, 90), (156, 198), (373, 326)), ((30, 61), (62, 45), (59, 119)), ((10, 13), (16, 30), (33, 23)))


def conv(inside: int, outside: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution, norm, leaky ReLU."""
    layer = nn.Conv2d(inside, outside, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outside), nn.LeakyReLU(0.1))


class Block(nn.Module):
    """x + 3x3(1x1(x))"""

    def __init__(self, width: int):
        super().__init__()
        self.f = nn.Sequential(conv(width, width // 2, 1), conv(width // 2, width, 3))

    def forward(self, x):
        return x + self.f(x)


class Pyramid(nn.Module):
    """The input beside its maxima over 5, 9 and 13 pixels."""

    def forward(self, x):
        return torch.cat([F.max_pool2d(x, size, 1, size // 2) for size in (13, 9, 5)] + [x], 1)


class Detect(nn.Module):
    """Boxes in pixels and probabilities at one stride: [N, anchors * H * W, 5 + classes]; and the raw values."""

    def __init__(self, anchors, stride: int):
        super().__init__()
        self.stride = stride
        self.register_buffer("anchors", torch.tensor(anchors, dtype=torch.float32)[None, :, None, None])

    def forward(self, x):
        count = self.anchors.size(1)
        batch, _, high, wide = x.shape
        raw = x.view(batch, count, -1, high, wide).permute(0, 1, 3, 4, 2).contiguous()
        y, x = torch.meshgrid(torch.arange(high), torch.arange(wide), indexing="ij")
        place = torch.stack([x, y], -1).to(raw.dtype)
        middle = (raw[..., :2].sigmoid() + place) * self.stride
        boxes = torch.cat([middle, raw[..., 2:4].exp() * self.anchors, raw[..., 4:].sigmoid()], -1)
        return boxes.view(batch, -1, boxes.size(-1)), raw


class YoloSpp(nn.Module):
    """Three detectors, at strides 32, 16 and 8; every box beside the raw values of each."""

    def __init__(self, classes: int = 80, width: int = 32, blocks=(1, 2, 8, 8, 4)):
        super().__init__()
        stages, before = [conv(3, width, 3)], width
        for count in blocks:
            stages.append(nn.Sequential(conv(before, 2 * before, 3, 2), *(Block(2 * before) for _ in range(count))))
            before *= 2
        self.stem, self.stages = nn.Sequential(*stages[:3]), nn.ModuleList(stages[3:])

        def pairs(inside, half):
            """Three 1x1 with two 3x3 between them."""
            return [conv(inside, half, 1), conv(half, 2 * half, 3), conv(2 * half, half, 1), conv(half, 2 * half, 3), conv(2 * half, half, 1)]

        half = before // 2
        top = [*pairs(before, half)[:3], Pyramid(), *pairs(4 * half, half)[:3]]
        self.necks, self.sides = nn.ModuleList([nn.Sequential(*top)]), nn.ModuleList()
        self.heads, self.detectors = nn.ModuleList(), nn.ModuleList()
        for level, anchors in enumerate(ANCHORS):
            if level:
                half //= 2
                self.sides.append(conv(2 * half, half, 1))
                self.necks.append(nn.Sequential(*pairs(3 * half, half)))
            self.heads.append(nn.Sequential(conv(half, 2 * half, 3), nn.Conv2d(2 * half, 3 * (5 + classes), 1)))
            self.detectors.append(Detect(anchors, 32 >> level))

    def forward(self, x):
        kept = [self.stem(x)]
        for stage in self.stages:
            kept.append(stage(kept[-1]))
        x, boxes, raws = kept.pop(), [], []
        for level, (neck, head, detector) in enumerate(zip(self.necks, self.heads, self.detectors)):
            if level:
                up = F.interpolate(self.sides[level - 1](x), scale_factor=2, mode="nearest")
                x = torch.cat([up, kept.pop()], 1)
            x = neck(x)
            box, raw = detector(head(x))
            boxes.append(box)
            raws.append(raw)
        return torch.cat(boxes, 1), tuple(raws)
