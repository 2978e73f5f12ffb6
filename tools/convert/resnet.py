"""ResNet-50 (version 1.5: the stride sits in the 3x3 convolution) with random weights, named as PyTorch names it."""

import numpy as np

from . import random_weights as random
from .onnx_writer import GraphBuilder

STAGES = ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2))  # blocks, inner channels, stride
EXPANSION = 4
SIZE, NUM_CLASSES = 224, 1000
PREPROCESS = {
    "width": SIZE, "height": SIZE, "resize": "shortest_edge", "resize_px": 256, "interpolation": "bilinear",
    "antialias": True, "channels": "rgb", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
    "layout": "NCHW",
}


def conv_bn(graph, data, conv, bn, shape, stride, has_batch_norm, after="relu", scale=1.0):
    """A convolution with its batch normalisation, folded into bias and weight or as a node of its own."""
    pad = shape[2] // 2
    attributes = dict(kernel_shape=[shape[2]] * 2, strides=[stride] * 2, pads=[pad] * 4)
    inputs = [data, graph.constant(f"{conv}.weight", random.weight(f"{conv}.weight", shape, after, scale))]
    if not has_batch_norm:
        inputs.append(graph.constant(f"{conv}.bias", random.bias(f"{conv}.bias", shape[0])))
        return graph.node("Conv", inputs, f"/{conv}/Conv", **attributes)
    data = graph.node("Conv", inputs, f"/{conv}/Conv", **attributes)
    # Statistics near those of a trained network, so that folding has something to do without changing the scale.
    parts = {"weight": random.normal(f"{bn}.weight", shape[:1], 0.1, 1.0),
             "bias": random.bias(f"{bn}.bias", shape[0]),
             "running_mean": random.normal(f"{bn}.running_mean", shape[:1], 0.1),
             "running_var": np.abs(random.normal(f"{bn}.running_var", shape[:1], 0.2, 1.0)) + np.float32(0.1)}
    return graph.node("BatchNormalization",
                      [data, *(graph.constant(f"{bn}.{part}", value) for part, value in parts.items())],
                      f"/{bn}/BatchNormalization", epsilon=1e-5)


def build_model(labels, has_batch_norm=False):
    graph = GraphBuilder("resnet50")
    data = graph.input("input", ["batch", 3, SIZE, SIZE])
    data = conv_bn(graph, data, "conv1", "bn1", (64, 3, 7, 7), 2, has_batch_norm, after="linear")
    data = graph.node("Relu", [data], "/relu/Relu")
    data = graph.node("MaxPool", [data], "/maxpool/MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = 64
    for stage, (num_blocks, inner, first_stride) in enumerate(STAGES, 1):
        for block in range(num_blocks):
            name = f"layer{stage}.{block}"
            stride = first_stride if block == 0 else 1
            out = inner * EXPANSION
            branch = data
            for number, (shape, conv_stride) in enumerate((((inner, channels, 1, 1), 1), ((inner, inner, 3, 3), stride),
                                                           ((out, inner, 1, 1), 1)), 1):
                # The last convolution is small, as training leaves it: 16 blocks would add up to a huge sum otherwise.
                branch = conv_bn(graph, branch, f"{name}.conv{number}", f"{name}.bn{number}", shape, conv_stride,
                                 has_batch_norm, scale=0.3 if number == 3 else 1.0)
                if number < 3:
                    branch = graph.node("Relu", [branch], f"/{name}/relu{number}/Relu")
            if block == 0:
                data = conv_bn(graph, data, f"{name}.downsample.0", f"{name}.downsample.1", (out, channels, 1, 1),
                               stride, has_batch_norm)
            data = graph.node("Add", [branch, data], f"/{name}/Add")
            data = graph.node("Relu", [data], f"/{name}/relu3/Relu")
            channels = out
    data = graph.node("GlobalAveragePool", [data], "/avgpool/GlobalAveragePool")
    data = graph.node("Flatten", [data], "/Flatten", axis=1)
    parts = [graph.constant("fc.weight", random.weight("fc.weight", (NUM_CLASSES, channels), "relu", 4.0)),
             graph.constant("fc.bias", random.bias("fc.bias", NUM_CLASSES))]
    graph.node("Gemm", [data, *parts], "/fc/Gemm", output="output", transB=1)
    graph.output("output", ["batch", NUM_CLASSES])
    return graph.model({"pajamas.task": "classification", "pajamas.activation": "softmax", "pajamas.labels": labels,
                        "pajamas.preprocess": PREPROCESS})
