"""Adversarial networks: DCGAN's discriminator, StarGAN's and CycleGAN's generators."""

import torch
from torch import nn


def dcgan_discriminator(width: int = 64, image: int = 64) -> nn.Module:
    """Radford et al. 2015: 4x4 convolutions of stride 2 down to 4x4, then one that gives a probability."""
    layers = [nn.Conv2d(3, width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2)]
    size = image // 2
    while size > 4:
        layers += [nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False), nn.BatchNorm2d(2 * width), nn.LeakyReLU(0.2)]
        width, size = 2 * width, size // 2
    return nn.Sequential(*layers, nn.Conv2d(width, 1, 4, bias=False), nn.Sigmoid())


class Around(nn.Module):
    """x + f(x)"""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.f = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.f(x)


class StarGenerator(nn.Module):
    """Choi et al. 2018: image and wanted attributes in, image out; instance norms keep running statistics."""

    def __init__(self, width: int = 64, attributes: int = 5, blocks: int = 6):
        super().__init__()

        def norm(channels):
            return nn.InstanceNorm2d(channels, affine=True, track_running_stats=True)

        layers = [nn.Conv2d(3 + attributes, width, 7, padding=3, bias=False), norm(width), nn.ReLU()]
        for _ in range(2):
            layers += [nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False), norm(2 * width), nn.ReLU()]
            width *= 2
        for _ in range(blocks):
            first, second = (nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2))
            layers.append(Around(first, norm(width), nn.ReLU(), second, norm(width)))
        for _ in range(2):
            layers += [nn.ConvTranspose2d(width, width // 2, 4, 2, 1, bias=False), norm(width // 2), nn.ReLU()]
            width //= 2
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, 3, 7, padding=3, bias=False), nn.Tanh())

    def forward(self, image, attributes):
        planes = attributes[:, :, None, None].expand(-1, -1, image.size(2), image.size(3))
        return self.layers(torch.cat([image, planes], 1))


def cycle_generator(width: int = 64, blocks: int = 9) -> nn.Module:
    """Zhu et al. 2017: reflected borders, instance norms of the image at hand, residual blocks in the middle."""
    layers = [nn.ReflectionPad2d(3), nn.Conv2d(3, width, 7), nn.InstanceNorm2d(width), nn.ReLU()]
    for _ in range(2):
        layers += [nn.Conv2d(width, 2 * width, 3, 2, 1), nn.InstanceNorm2d(2 * width), nn.ReLU()]
        width *= 2
    for _ in range(blocks):
        half = [[nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), nn.InstanceNorm2d(width)] for _ in range(2)]
        layers.append(Around(*half[0], nn.ReLU(), *half[1]))
    for _ in range(2):
        layers += [nn.ConvTranspose2d(width, width // 2, 3, 2, 1, output_padding=1), nn.InstanceNorm2d(width // 2), nn.ReLU()]
        width //= 2
    return nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh())
