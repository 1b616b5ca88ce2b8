"""Random weights as after training: activations of about one everywhere, norms and gates that do something."""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.utils import _pytree as pytree

from .models import Example


def _more(tensor: torch.Tensor) -> torch.Tensor:
    """Random inputs of the same kind: two of at most 256 x 256 pixels, or more where they are small."""
    shape = list(tensor.shape[1:])
    if len(shape) == 3 and min(shape[1:]) > 256:
        shape[1:] = 256, 256
    return torch.randn(2 if tensor[0].numel() > 50_000 else 16, *shape)


@torch.no_grad()
def settle(example: Example) -> None:
    """Makes a model with random weights one whose outputs say whether it was computed right.

    Parameters that are constant (biases, gains, layer scales of nearly nothing) become random; each convolution and linear
    layer is scaled to give a deviation of one on random inputs; running statistics become those of the inputs, and
    then a bit different, so that no norm is the identity.
    """
    model = example.model
    for parameter in model.parameters():
        if parameter.min() == parameter.max():
            parameter.add_(torch.randn_like(parameter) * 0.1 + (0.3 if parameter.abs().max() < 1e-3 and parameter.dim() == 0 else 0.0))

    def scale(module, _, output):
        deviation = output.std()
        if not deviation > 0:
            return output
        module.weight.div_(deviation)
        if module.bias is not None:
            module.bias.div_(deviation)
        return output / deviation

    norms = [module for module in model.modules() if isinstance(module, _NormBase) and module.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    # A subclass may compute its weight from the parameter (weight standardisation): then its scale is not ours to set.
    plain = [module for module in model.modules() if type(module) is nn.Linear or type(module) in _CONVOLUTIONS]
    hooks = [module.register_forward_hook(scale) for module in plain]
    for norm in norms:
        norm.momentum = 1.0  # what is seen counts, and nothing before it
        norm.reset_running_stats()
    model.train()
    model(*pytree.tree_map_only(torch.Tensor, _more, example.args))
    for hook in hooks:
        hook.remove()
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
        norm.running_var.clamp_min_(0.05 * norm.running_var.mean().item())  # a channel that was all but constant
        norm.running_mean.add_(torch.randn_like(norm.running_mean) * norm.running_var.sqrt(), alpha=0.1)
        norm.running_var.mul_(torch.empty_like(norm.running_var).uniform_(0.8, 1.25))


_CONVOLUTIONS = {kind for kind in vars(nn).values() if isinstance(kind, type) and issubclass(kind, _ConvNd)}
