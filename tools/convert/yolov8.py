"""YOLOv8n for 640 x 640 and 80 classes with random weights: the published architecture, its box decoding included.

Tensors and metadata are named as the usual exporter names them, because that is how published files are recognised.
Batch normalisation is folded, as in every published ONNX file of this family. The anchor grid is constant.
"""

import re

import numpy as np

from . import random_weights as random
from .onnx_writer import GraphBuilder

SIZE, NUM_CLASSES, REG_MAX = 640, 80, 16
STRIDES = (8, 16, 32)
NUM_BOXES = sum((SIZE // stride) ** 2 for stride in STRIDES)


def path(name):
    """Node name of a module: dots become slashes except before a number (model.2.cv1 -> /model.2/cv1)."""
    return "/" + re.sub(r"\.(?!\d)", "/", name)


class Builder:
    def __init__(self):
        self.graph = GraphBuilder("main_graph")
        self.channels = {}  # tensor -> channels

    def conv(self, data, name, out, kernel=1, stride=1, scale=1.0):
        """Conv → SiLU."""
        data = self.plain_conv(data, f"{name}.conv", out, kernel, stride, scale)
        gate = self.graph.node("Sigmoid", [data], f"{path(name)}/act/Sigmoid")
        return self.known(self.graph.node("Mul", [data, gate], f"{path(name)}/act/Mul"), out)

    def plain_conv(self, data, name, out, kernel=1, stride=1, scale=1.0, bias=None):
        shape = (out, self.channels[data], kernel, kernel)
        parts = [self.graph.constant(f"{name}.weight", random.weight(
            f"{name}.weight", shape, "linear" if shape[1] == 3 else "silu", scale)),
            self.graph.constant(f"{name}.bias", random.bias(f"{name}.bias", out) if bias is None else bias)]
        return self.known(self.graph.node(
            "Conv", [data, *parts], f"{path(name)}/Conv", kernel_shape=[kernel] * 2,
            strides=[stride] * 2, pads=[kernel // 2] * 4), out)

    def known(self, tensor, channels):
        self.channels[tensor] = channels
        return tensor

    def concat(self, parts, name):
        return self.known(self.graph.node("Concat", parts, f"/{name}/Concat", axis=1),
                          sum(self.channels[part] for part in parts))

    def c2f(self, data, name, out, num_bottlenecks, has_shortcut):
        """Half of the channels goes through a chain of bottlenecks; every stage of the chain is kept and joined."""
        inner = out // 2
        data = self.conv(data, f"{name}.cv1", out)
        split = self.graph.constant(f"split.{inner}", np.array([inner, inner], np.int64))
        parts = self.graph.node_with_outputs("Split", [data, split], f"/{name}/Split",
                                             [f"/{name}/Split_output_{index}" for index in range(2)], axis=1)
        for part in parts:
            self.known(part, inner)
        for index in range(num_bottlenecks):
            prefix = f"{name}.m.{index}"
            branch = self.conv(parts[-1], f"{prefix}.cv1", inner, 3)
            branch = self.conv(branch, f"{prefix}.cv2", inner, 3, scale=0.6 if has_shortcut else 1.0)
            if has_shortcut:
                branch = self.known(self.graph.node("Add", [parts[-1], branch], f"/{name}/m.{index}/Add"), inner)
            parts.append(branch)
        return self.conv(self.concat(parts, name), f"{name}.cv2", out)

    def sppf(self, data, name, out):
        data = self.conv(data, f"{name}.cv1", self.channels[data] // 2)
        parts = [data]
        for index in range(3):
            pooled = self.graph.node("MaxPool", [parts[-1]], f"/{name}/m{'_' + str(index) if index else ''}/MaxPool",
                                     kernel_shape=[5, 5], strides=[1, 1], pads=[2, 2, 2, 2])
            parts.append(self.known(pooled, self.channels[data]))
        return self.conv(self.concat(parts, name), f"{name}.cv2", out)

    def upsample(self, data, name):
        scales = self.graph.constant("upsample.scales", np.array([1, 1, 2, 2], np.float32))
        return self.known(self.graph.node("Resize", [data, "", scales], f"/{name}/Resize", mode="nearest",
                                          nearest_mode="floor", coordinate_transformation_mode="asymmetric"),
                          self.channels[data])

    def build(self):
        data = self.known(self.graph.input("images", ["batch", 3, SIZE, SIZE]), 3)
        data = self.conv(data, "model.0", 16, 3, 2)
        data = self.conv(data, "model.1", 32, 3, 2)
        data = self.c2f(data, "model.2", 32, 1, True)
        data = self.conv(data, "model.3", 64, 3, 2)
        stride8 = self.c2f(data, "model.4", 64, 2, True)
        data = self.conv(stride8, "model.5", 128, 3, 2)
        stride16 = self.c2f(data, "model.6", 128, 2, True)
        data = self.conv(stride16, "model.7", 256, 3, 2)
        data = self.c2f(data, "model.8", 256, 1, True)
        stride32 = self.sppf(data, "model.9", 256)
        data = self.concat([self.upsample(stride32, "model.10"), stride16], "model.11")
        up16 = self.c2f(data, "model.12", 128, 1, False)
        data = self.concat([self.upsample(up16, "model.13"), stride8], "model.14")
        out8 = self.c2f(data, "model.15", 64, 1, False)
        data = self.concat([self.conv(out8, "model.16", 64, 3, 2), up16], "model.17")
        out16 = self.c2f(data, "model.18", 128, 1, False)
        data = self.concat([self.conv(out16, "model.19", 128, 3, 2), stride32], "model.20")
        out32 = self.c2f(data, "model.21", 256, 1, False)
        self.detect([out8, out16, out32], "model.22")
        return self.graph

    def detect(self, features, name):
        """Per level a box branch (distributions of four distances) and a class branch, then the decoding to pixels."""
        graph = self.graph
        box_channels = max(16, self.channels[features[0]] // 4, REG_MAX * 4)
        class_channels = max(self.channels[features[0]], min(NUM_CLASSES, 100))
        flat = []
        for level, (feature, stride) in enumerate(zip(features, STRIDES)):
            branches = []
            # The class bias starts where about five objects a picture are expected, as training starts it.
            prior = np.full(NUM_CLASSES, np.log(5 / NUM_CLASSES / (SIZE / stride) ** 2), np.float32)
            # Logits spread as far as those of a trained model, so that a photo gives a few boxes.
            for branch, channels, out, bias, scale in (
                    ("cv2", box_channels, 4 * REG_MAX, np.ones(4 * REG_MAX, np.float32), 6.0),
                    ("cv3", class_channels, NUM_CLASSES, prior, 15.0)):
                prefix = f"{name}.{branch}.{level}"
                data = self.conv(feature, f"{prefix}.0", channels, 3)
                data = self.conv(data, f"{prefix}.1", channels, 3)
                branches.append(self.plain_conv(data, f"{prefix}.2", out, scale=scale, bias=bias))
            joined = graph.node("Concat", branches, f"/{name}/Concat_{level}", axis=1)
            shape = graph.constant(f"{name}.shape", np.array([0, 4 * REG_MAX + NUM_CLASSES, -1], np.int64))
            flat.append(graph.node("Reshape", [joined, shape], f"/{name}/Reshape_{level}"))
        data = graph.node("Concat", flat, f"/{name}/Concat_3", axis=2)
        split = graph.constant(f"{name}.split", np.array([4 * REG_MAX, NUM_CLASSES], np.int64))
        boxes, classes = graph.node_with_outputs("Split", [data, split], f"/{name}/Split",
                                                 [f"/{name}/Split_output_{index}" for index in range(2)], axis=1)
        boxes = self.decode(boxes, name)
        scores = graph.node("Sigmoid", [classes], f"/{name}/Sigmoid")
        graph.node("Concat", [boxes, scores], f"/{name}/Concat_5", output="output0", axis=1)
        graph.output("output0", ["batch", 4 + NUM_CLASSES, NUM_BOXES])

    def decode(self, boxes, name):
        """Expected distances to left, top, right, bottom in grid units become cx, cy, w, h in pixels."""
        graph = self.graph
        shape = graph.constant(f"{name}.dfl.shape", np.array([0, 4, REG_MAX, NUM_BOXES], np.int64))
        data = graph.node("Reshape", [boxes, shape], f"/{name}/dfl/Reshape")
        data = graph.node("Transpose", [data], f"/{name}/dfl/Transpose", perm=[0, 2, 1, 3])
        data = graph.node("Softmax", [data], f"/{name}/dfl/Softmax", axis=1)
        steps = np.arange(REG_MAX, dtype=np.float32).reshape(1, REG_MAX, 1, 1)
        steps = graph.constant(f"{name}.dfl.conv.weight", steps)
        data = graph.node("Conv", [data, steps], f"/{name}/dfl/conv/Conv", kernel_shape=[1, 1])
        shape = graph.constant(f"{name}.dfl.shape_1", np.array([0, 4, NUM_BOXES], np.int64))
        data = graph.node("Reshape", [data, shape], f"/{name}/dfl/Reshape_1")
        halves = []
        for index, (start, end) in enumerate(((0, 2), (2, 4))):
            bounds = [graph.constant(f"{name}.slice.{bound}", np.array([bound], np.int64)) for bound in (start, end, 1)]
            halves.append(graph.node("Slice", [data, *bounds[:2], bounds[2]],
                                     f"/{name}/Slice{'_1' if index else ''}"))
        # Middle of each cell, level by level, row by row; the stride of each cell's level.
        centres, strides = [], []
        for stride in STRIDES:
            cells = np.arange(SIZE // stride, dtype=np.float32) + np.float32(0.5)
            y, x = np.meshgrid(cells, cells, indexing="ij")
            centres.append(np.stack([x.ravel(), y.ravel()]))
            strides.append(np.full((1, x.size), stride, np.float32))
        centre = graph.constant(f"{name}.anchors", np.concatenate(centres, 1)[None])
        top_left = graph.node("Sub", [centre, halves[0]], f"/{name}/Sub")
        bottom_right = graph.node("Add", [centre, halves[1]], f"/{name}/Add")
        total = graph.node("Add", [top_left, bottom_right], f"/{name}/Add_1")
        middle = graph.node("Div", [total, graph.constant(f"{name}.two", np.float32(2))], f"/{name}/Div")
        extent = graph.node("Sub", [bottom_right, top_left], f"/{name}/Sub_1")
        data = graph.node("Concat", [middle, extent], f"/{name}/Concat_4", axis=1)
        return graph.node("Mul", [data, graph.constant(f"{name}.strides", np.concatenate(strides, 1))], f"/{name}/Mul")


def build_model(labels):
    """`labels` by class index. The metadata has the keys and the spelling (Python literals) of published files."""
    return Builder().build().model({
        "description": "YOLOv8n architecture with seeded random weights",
        "author": "llama-pajamas",
        "stride": str(max(STRIDES)),
        "task": "detect",
        "batch": "1",
        "imgsz": str([SIZE, SIZE]),
        "names": str(labels),
        "channels": "3",
    })
