"""The transformer encoder layers that vision and speech models share, as exporters write them at opset 17: pre-norm,
attention spelt out, exact GELU with Erf. What comes before and behind the layers is each model's own.
"""

import numpy as np

from . import random_weights as random
from .onnx_writer import GraphBuilder


class EncoderBuilder:
    def __init__(self, name, dtype, hidden_dim, num_heads, seq_len, epsilon, has_key_bias=True):
        self.dtype = np.dtype(dtype)
        self.hidden_dim, self.num_heads, self.seq_len = hidden_dim, num_heads, seq_len
        self.epsilon = epsilon
        self.has_key_bias = has_key_bias
        self.graph = GraphBuilder(name)

    def constant(self, name, values):
        return self.graph.constant(name, np.asarray(values, self.dtype))

    def integers(self, name, values):
        return self.graph.constant(name, np.array(values, np.int64))

    def linear(self, data, name, in_dim, out_dim, after="linear", scale=1.0, has_bias=True):
        """MatMul with the weight stored [in, out], then the bias: as exporters write a linear layer on 3-D data."""
        weight = random.weight(f"{name}.weight", (out_dim, in_dim), after, scale).T
        data = self.graph.node("MatMul", [data, self.constant(f"{name}.weight", weight)], f"/{name}/MatMul")
        if not has_bias:
            return data
        return self.graph.node("Add", [data, self.constant(f"{name}.bias", random.bias(f"{name}.bias", out_dim))],
                               f"/{name}/Add")

    def layer_norm(self, data, name, output=None):
        parts = [self.constant(f"{name}.weight", random.normal(f"{name}.weight", (self.hidden_dim,), 0.1, 1.0)),
                 self.constant(f"{name}.bias", random.bias(f"{name}.bias", self.hidden_dim))]
        return self.graph.node("LayerNormalization", [data, *parts], f"/{name}/LayerNormalization",
                               output=output, axis=-1, epsilon=self.epsilon)

    def heads(self, data, name, perm):
        """[batch, seq_len, hidden_dim] to [batch, num_heads, ...] in the order that `perm` says."""
        shape = self.integers("heads.shape", [0, self.seq_len, self.num_heads, self.hidden_dim // self.num_heads])
        data = self.graph.node("Reshape", [data, shape], f"/{name}/Reshape")
        return self.graph.node("Transpose", [data], f"/{name}/Transpose", perm=perm)

    def attention(self, data, name):
        query, key, value = (self.linear(data, f"{name}.{part}", self.hidden_dim, self.hidden_dim,
                                         has_bias=self.has_key_bias or part != "key")
                             for part in ("query", "key", "value"))
        query = self.heads(query, f"{name}.query", [0, 2, 1, 3])
        key = self.heads(key, f"{name}.key", [0, 2, 3, 1])
        value = self.heads(value, f"{name}.value", [0, 2, 1, 3])
        scores = self.graph.node("MatMul", [query, key], f"/{name}/scores/MatMul")
        scale = self.constant("attention.scale", (self.hidden_dim // self.num_heads)**-0.5)
        scores = self.graph.node("Mul", [scores, scale], f"/{name}/scores/Mul")
        weights = self.graph.node("Softmax", [scores], f"/{name}/Softmax", axis=-1)
        data = self.graph.node("MatMul", [weights, value], f"/{name}/context/MatMul")
        data = self.graph.node("Transpose", [data], f"/{name}/context/Transpose", perm=[0, 2, 1, 3])
        data = self.graph.node("Reshape", [data, self.integers("hidden.shape", [0, self.seq_len, self.hidden_dim])],
                               f"/{name}/context/Reshape")
        return self.linear(data, f"{name}.output", self.hidden_dim, self.hidden_dim)

    def gelu(self, data, name):
        scaled = self.graph.node("Div", [data, self.constant("gelu.sqrt2", 2**0.5)], f"/{name}/Div")
        erf = self.graph.node("Erf", [scaled], f"/{name}/Erf")
        erf = self.graph.node("Add", [erf, self.constant("gelu.one", 1.0)], f"/{name}/Add")
        data = self.graph.node("Mul", [data, erf], f"/{name}/Mul")
        return self.graph.node("Mul", [data, self.constant("gelu.half", 0.5)], f"/{name}/Mul_1")

    def layer(self, data, name, mlp_dim):
        branch = self.attention(self.layer_norm(data, f"{name}.norm1"), f"{name}.attn")
        data = self.graph.node("Add", [data, branch], f"/{name}/Add")
        branch = self.linear(self.layer_norm(data, f"{name}.norm2"), f"{name}.mlp.fc1", self.hidden_dim, mlp_dim)
        branch = self.linear(self.gelu(branch, f"{name}.mlp.act"), f"{name}.mlp.fc2", mlp_dim, self.hidden_dim, "gelu",
                             scale=0.5)
        return self.graph.node("Add", [data, branch], f"/{name}/Add_1")
