"""BERT written out by hand (Devlin et al. 2018), as implementations before libraries had it: norms, masks and attention from single operators."""

import math

import torch
from torch import nn


class Norm(nn.Module):
    """Layer norm with the unbiased deviation, and eps added to it."""

    def __init__(self, width: int, eps: float = 1e-6):
        super().__init__()
        self.gain, self.bias, self.eps = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width)), eps

    def forward(self, x):
        return self.gain * (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + self.eps) + self.bias


class Attention(nn.Module):
    """Heads split, scores masked and normalised, values summed, heads merged."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.dropout = nn.Dropout(0.1)

    def forward(self, x, mask):
        query, key, value = (f(x).view(x.size(0), -1, self.heads, self.size).transpose(1, 2) for f in (self.query, self.key, self.value))
        scores = torch.matmul(query, key.transpose(-2, -1)) / math.sqrt(self.size)
        weights = self.dropout(torch.softmax(scores.masked_fill(mask == 0, -1e9), -1))
        return self.out(torch.matmul(weights, value).transpose(1, 2).contiguous().view(x.size(0), -1, self.heads * self.size))


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed-forward(norm(x))."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.attention, self.first, self.second = Attention(width, heads), Norm(width), Norm(width)
        self.inner = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(0.1), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(0.1)

    def forward(self, x, mask):
        x = x + self.dropout(self.attention(self.first(x), mask))
        return self.dropout(x + self.dropout(self.inner(self.second(x))))


class Bert(nn.Module):
    """Token and segment ids [N, T], 0 where there is nothing, to log-probabilities: is it the next sentence [N, 2], words [N, T, V]."""

    def __init__(self, vocab: int = 20000, width: int = 768, layers: int = 12, heads: int = 12, longest: int = 512):
        super().__init__()
        self.tokens = nn.Embedding(vocab, width, padding_idx=0)
        self.segments = nn.Embedding(3, width, padding_idx=0)
        angles = torch.arange(longest)[:, None] * torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
        self.register_buffer("positions", torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[None])
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.dropout = nn.Dropout(0.1)
        self.next, self.words = nn.Linear(width, 2), nn.Linear(width, vocab)

    def forward(self, tokens, segments):
        mask = (tokens > 0).unsqueeze(1).repeat(1, tokens.size(1), 1).unsqueeze(1)
        x = self.dropout(self.tokens(tokens) + self.positions[:, : tokens.size(1)] + self.segments(segments))
        for block in self.blocks:
            x = block(x, mask)
        return torch.log_softmax(self.next(x[:, 0]), -1), torch.log_softmax(self.words(x), -1)
