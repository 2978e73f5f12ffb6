"""ViT-B/16 with random weights: pre-norm encoder, class token, learned positions.

The FP16 variant stores and computes in half precision and keeps FP32 at its input and output.
"""

import numpy as np

from . import random_weights as random
from .encoder import EncoderBuilder

SIZE, PATCH, HIDDEN_DIM, NUM_HEADS, NUM_LAYERS, MLP_DIM, NUM_CLASSES = 224, 16, 768, 12, 12, 3072, 1000
NUM_PATCHES = (SIZE // PATCH) ** 2
SEQ_LEN = NUM_PATCHES + 1
PREPROCESS = {
    "width": SIZE, "height": SIZE, "resize": "stretch", "interpolation": "bilinear", "antialias": True,
    "channels": "rgb", "mean": [0.5] * 3, "std": [0.5] * 3, "layout": "NCHW",
}


class Builder(EncoderBuilder):
    def __init__(self, dtype):
        super().__init__("vit_b_16", dtype, HIDDEN_DIM, NUM_HEADS, SEQ_LEN, epsilon=1e-6)

    def embed(self, data):
        """Patches, class token and positions: [batch, seq_len, hidden_dim]."""
        graph = self.graph
        weight = random.weight("patch_embed.weight", (HIDDEN_DIM, 3, PATCH, PATCH))
        parts = [self.constant("patch_embed.weight", weight),
                 self.constant("patch_embed.bias", random.bias("patch_embed.bias", HIDDEN_DIM))]
        patches = graph.node("Conv", [data, *parts], "/patch_embed/Conv", kernel_shape=[PATCH] * 2, strides=[PATCH] * 2)
        patches = graph.node("Reshape", [patches, self.integers("patches.shape", [0, HIDDEN_DIM, NUM_PATCHES])],
                             "/patch_embed/Reshape")
        patches = graph.node("Transpose", [patches], "/patch_embed/Transpose", perm=[0, 2, 1])
        # The class token is repeated for each picture of the batch, whose size only the input knows.
        batch = graph.node("Gather", [graph.node("Shape", [data], "/Shape"), self.integers("zero", [0])], "/Gather",
                           axis=0)
        shape = graph.node("Concat", [batch, self.integers("token.shape", [1, HIDDEN_DIM])], "/Concat", axis=0)
        token = self.constant("cls_token", random.normal("cls_token", (1, 1, HIDDEN_DIM)))
        token = graph.node("Expand", [token, shape], "/Expand")
        data = graph.node("Concat", [token, patches], "/Concat_1", axis=1)
        return graph.node("Add", [data, self.constant(
            "pos_embed", random.normal("pos_embed", (1, SEQ_LEN, HIDDEN_DIM), 0.3))], "/Add")

    def build(self):
        graph = self.graph
        data = graph.input("pixel_values", ["batch", 3, SIZE, SIZE])
        is_half = self.dtype == np.float16
        if is_half:
            data = graph.node("Cast", [data], "/Cast", to=10)
        data = self.embed(data)
        for layer in range(NUM_LAYERS):
            data = self.layer(data, f"blocks.{layer}", MLP_DIM)
        data = self.layer_norm(data, "norm")
        data = graph.node("Gather", [data, self.integers("cls_index", 0)], "/Gather_1", axis=1)
        parts = [self.constant("head.weight", random.weight("head.weight", (NUM_CLASSES, HIDDEN_DIM))),
                 self.constant("head.bias", random.bias("head.bias", NUM_CLASSES))]
        data = graph.node("Gemm", [data, *parts], "/head/Gemm", output=None if is_half else "logits", transB=1)
        if is_half:
            graph.node("Cast", [data], "/Cast_1", output="logits", to=1)
        graph.output("logits", ["batch", NUM_CLASSES])
        return graph


def build_model(labels, dtype=np.float32):
    return Builder(np.dtype(dtype)).build().model({
        "pajamas.task": "classification", "pajamas.activation": "softmax", "pajamas.labels": labels,
        "pajamas.preprocess": PREPROCESS,
    })
