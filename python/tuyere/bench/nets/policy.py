"""The actor of soft actor-critic (Haarnoja et al. 2018): observations to the parameters of a squashed normal distribution."""

import torch
from torch import nn


class Actor(nn.Module):
    """Observations [N, inside] to the mean action and the deviation before squashing, each [N, actions]."""

    def __init__(self, inside: int = 3, actions: int = 1, width: int = 1024, low: float = -10.0, high: float = 2.0):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(inside, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2 * actions))
        self.low, self.high = low, high

    def forward(self, observations):
        mean, deviation = self.layers(observations).chunk(2, 1)
        deviation = self.low + 0.5 * (self.high - self.low) * (torch.tanh(deviation) + 1)
        return torch.tanh(mean), deviation.exp()
