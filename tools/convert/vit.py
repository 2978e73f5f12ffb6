"""ViT-B/16 with random weights: pre-norm encoder, class token, learned positions; GELU spelt with Erf as opset 17 must.

The FP16 variant stores and computes in half precision and keeps FP32 at its input and output.
"""

import numpy as np

from . import random_weights as random
from .onnx_writer import GraphBuilder

SIZE, PATCH, HIDDEN_DIM, NUM_HEADS, NUM_LAYERS, MLP_DIM, NUM_CLASSES = 224, 16, 768, 12, 12, 3072, 1000
NUM_PATCHES = (SIZE // PATCH) ** 2
SEQ_LEN = NUM_PATCHES + 1
HEAD_DIM = HIDDEN_DIM // NUM_HEADS
PREPROCESS = {
    "width": SIZE, "height": SIZE, "resize": "stretch", "interpolation": "bilinear", "antialias": True,
    "channels": "rgb", "mean": [0.5] * 3, "std": [0.5] * 3, "layout": "NCHW",
}


class Builder:
    def __init__(self, dtype):
        self.dtype = dtype
        self.graph = GraphBuilder("vit_b_16")

    def constant(self, name, values):
        return self.graph.constant(name, np.asarray(values, self.dtype))

    def integers(self, name, values):
        return self.graph.constant(name, np.array(values, np.int64))

    def linear(self, data, name, in_dim, out_dim, after="linear", scale=1.0):
        """MatMul with the weight stored [in, out], then the bias: as exporters write a linear layer on 3-D data."""
        weight = random.weight(f"{name}.weight", (out_dim, in_dim), after, scale).T
        data = self.graph.node("MatMul", [data, self.constant(f"{name}.weight", weight)], f"/{name}/MatMul")
        return self.graph.node("Add", [data, self.constant(f"{name}.bias", random.bias(f"{name}.bias", out_dim))],
                               f"/{name}/Add")

    def layer_norm(self, data, name):
        parts = [self.constant(f"{name}.weight", random.normal(f"{name}.weight", (HIDDEN_DIM,), 0.1, 1.0)),
                 self.constant(f"{name}.bias", random.bias(f"{name}.bias", HIDDEN_DIM))]
        return self.graph.node("LayerNormalization", [data, *parts], f"/{name}/LayerNormalization", axis=-1,
                               epsilon=1e-6)

    def heads(self, data, name, perm):
        """[batch, seq_len, hidden_dim] to [batch, num_heads, ...] in the order that `perm` says."""
        shape = self.integers("heads.shape", [0, SEQ_LEN, NUM_HEADS, HEAD_DIM])
        data = self.graph.node("Reshape", [data, shape], f"/{name}/Reshape")
        return self.graph.node("Transpose", [data], f"/{name}/Transpose", perm=perm)

    def attention(self, data, name):
        query, key, value = (self.linear(data, f"{name}.{part}", HIDDEN_DIM, HIDDEN_DIM)
                             for part in ("query", "key", "value"))
        query = self.heads(query, f"{name}.query", [0, 2, 1, 3])
        key = self.heads(key, f"{name}.key", [0, 2, 3, 1])
        value = self.heads(value, f"{name}.value", [0, 2, 1, 3])
        scores = self.graph.node("MatMul", [query, key], f"/{name}/scores/MatMul")
        scores = self.graph.node("Mul", [scores, self.constant("attention.scale", HEAD_DIM**-0.5)],
                                 f"/{name}/scores/Mul")
        weights = self.graph.node("Softmax", [scores], f"/{name}/Softmax", axis=-1)
        data = self.graph.node("MatMul", [weights, value], f"/{name}/context/MatMul")
        data = self.graph.node("Transpose", [data], f"/{name}/context/Transpose", perm=[0, 2, 1, 3])
        data = self.graph.node("Reshape", [data, self.integers("hidden.shape", [0, SEQ_LEN, HIDDEN_DIM])],
                               f"/{name}/context/Reshape")
        return self.linear(data, f"{name}.output", HIDDEN_DIM, HIDDEN_DIM)

    def gelu(self, data, name):
        scaled = self.graph.node("Div", [data, self.constant("gelu.sqrt2", 2**0.5)], f"/{name}/Div")
        erf = self.graph.node("Erf", [scaled], f"/{name}/Erf")
        erf = self.graph.node("Add", [erf, self.constant("gelu.one", 1.0)], f"/{name}/Add")
        data = self.graph.node("Mul", [data, erf], f"/{name}/Mul")
        return self.graph.node("Mul", [data, self.constant("gelu.half", 0.5)], f"/{name}/Mul_1")

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
            name = f"blocks.{layer}"
            branch = self.attention(self.layer_norm(data, f"{name}.norm1"), f"{name}.attn")
            data = graph.node("Add", [data, branch], f"/{name}/Add")
            branch = self.linear(self.layer_norm(data, f"{name}.norm2"), f"{name}.mlp.fc1", HIDDEN_DIM, MLP_DIM)
            branch = self.linear(self.gelu(branch, f"{name}.mlp.act"), f"{name}.mlp.fc2", MLP_DIM, HIDDEN_DIM, "gelu",
                                 scale=0.5)
            data = graph.node("Add", [data, branch], f"/{name}/Add_1")
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
