"""Recommenders: DLRM, which interacts sums of embeddings (Naumov et al. 2019), and a deep autoencoder of ratings (Kuchaiev, Ginsburg 2017)."""

import torch
from torch import nn


def _perceptron(widths, last: nn.Module) -> nn.Sequential:
    layers = []
    for inside, outside in zip(widths, widths[1:]):
        layers += [nn.Linear(inside, outside), nn.ReLU()]
    return nn.Sequential(*layers[:-1], last)


class DLRM(nn.Module):
    """Numbers [N, dense] and, a table, indices with each row's first position in them, to a probability [N, 1]."""

    def __init__(self, rows: int, tables: int = 8, width: int = 64, bottom=(512, 512), top=(1024, 1024, 1024)):
        super().__init__()
        self.tables = nn.ModuleList(nn.EmbeddingBag(rows, width, mode="sum") for _ in range(tables))
        self.bottom = _perceptron([*bottom, width], nn.ReLU())
        pairs = torch.tril_indices(tables + 1, tables + 1, -1)
        self.register_buffer("first", pairs[0])
        self.register_buffer("second", pairs[1])
        self.top = _perceptron([width + pairs.size(1), *top, 1], nn.Sigmoid())

    def forward(self, numbers, offsets, indices):
        x = self.bottom(numbers)
        vectors = [table(index, start) for table, index, start in zip(self.tables, indices, offsets)]
        together = torch.stack([x, *vectors], 1)
        products = torch.bmm(together, together.transpose(1, 2))[:, self.first, self.second]
        return self.top(torch.cat([x, products], 1))


class Ratings(nn.Module):
    """Ratings [N, items] to ratings: SELU after every layer, the decoder mirrors the encoder."""

    def __init__(self, items: int = 197951, widths=(512, 512, 1024), dropout: float = 0.8):
        super().__init__()
        sizes = [items, *widths]
        there = [nn.Linear(inside, outside) for inside, outside in zip(sizes, sizes[1:])]
        back = [nn.Linear(inside, outside) for inside, outside in zip(sizes[::-1], sizes[-2::-1])]
        layers = [module for layer in there for module in (layer, nn.SELU())]
        self.layers = nn.Sequential(*layers, nn.Dropout(dropout), *(module for layer in back for module in (layer, nn.SELU())))

    def forward(self, ratings):
        return self.layers(ratings)
