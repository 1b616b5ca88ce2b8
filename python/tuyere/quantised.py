"""What PyTorch's quantised operators compute, by plain ones: ``quantized_decomposed`` (PT2E's graphs) and products of bytes.

Each follows PyTorch's own implementation. Where that reads a scale as a number in the middle of the graph (the overloads whose parameters
are tensors), it stays a tensor here, so that nothing is cut; a dynamic scale of NaN or of no elements, which PyTorch refuses, gives NaN or 1.
"""

import functools

import torch

_PLAIN = (
    "quantize_per_tensor", "dequantize_per_tensor", "quantize_per_channel", "dequantize_per_channel",
    "quantize_per_channel_group", "dequantize_per_channel_group",
    "choose_qparams_per_token", "choose_qparams_per_token_asymmetric", "quantize_per_token", "dequantize_per_token",
)  # fmt: skip


def _number(x):
    return x.reshape(()) if isinstance(x, torch.Tensor) else x


def _quantize(input, scale, zero_point, quant_min, quant_max, dtype):
    inverse = (1.0 / _number(scale).double()).float()
    return torch.clamp(torch.round(input.float() * inverse) + _number(zero_point).float(), _number(quant_min), _number(quant_max)).to(dtype)


def _dequantize(input, scale, zero_point, quant_min, quant_max, dtype, *, out_dtype=None):
    out = out_dtype or torch.float32
    return (input.to(out) - _number(zero_point).to(out)) * _number(scale).to(out)


def _choose(symmetric, input, quant_min, quant_max, eps, dtype):
    low, high = input.amin().clamp(max=0), input.amax().clamp(min=0)
    if symmetric:
        scale = torch.maximum(-low, high) / (float(quant_max - quant_min) / 2)
        zero = torch.full_like(scale, 128 if dtype == torch.uint8 else 0)
    else:
        scale = (high - low) / float(quant_max - quant_min)
    scale = torch.where(scale < eps, torch.full_like(scale, eps), scale)
    if not symmetric:
        zero = (quant_min - torch.round(low / scale)).clamp(quant_min, quant_max)
    return scale.double().reshape(1), zero.long().reshape(1)


def _int8pack_mm(self, mat2, scales):
    return torch.nn.functional.linear(self, mat2.to(self.dtype)) * scales


@functools.cache
def _functions() -> dict:
    from torch.ao.quantization.fx import _decomposed  # defines the operators, too

    found = {"aten._weight_int8pack_mm.default": _int8pack_mm}
    for name in _PLAIN:
        function = getattr(_decomposed, name, None)
        if function is not None:
            found[f"quantized_decomposed.{name}.default"] = function
    for overload in ("tensor", "tensor2"):
        found[f"quantized_decomposed.quantize_per_tensor.{overload}"] = _quantize
        found[f"quantized_decomposed.dequantize_per_tensor.{overload}"] = _dequantize
    found["quantized_decomposed.choose_qparams.tensor"] = functools.partial(_choose, False)
    found["quantized_decomposed.choose_qparams_symmetric.tensor"] = functools.partial(_choose, True)
    return found


def decomposition(op):
    """The function that computes a quantised operator; None for any other."""
    name = str(op)
    return _functions().get(name) if name.startswith(("quantized_decomposed.", "aten._weight_int8pack")) else None
