"""Whisper's audio encoder with random weights: two convolutions over the mel spectrogram of 30 s, sinusoidal positions,
pre-norm layers whose key projection has no bias, and a last normalisation.

The large one stores half precision (in float32 it would pass protobuf's 2 GiB) and keeps float32 at its input and
output.
"""

import numpy as np

from . import random_weights as random
from .encoder import EncoderBuilder

NUM_FRAMES, SEQ_LEN = 3000, 1500
# hidden_dim, layers, heads, mel bands
SIZES = {"tiny": (384, 4, 6, 80), "base": (512, 6, 8, 80), "large": (1280, 32, 20, 128)}


def positions(seq_len, hidden_dim):
    """Sines, then cosines, of positions over wavelengths in a geometric row from 2 pi to 10,000 times that."""
    steps = np.log(10000.0) / (hidden_dim // 2 - 1)
    angles = np.arange(seq_len)[:, None] * np.exp(-steps * np.arange(hidden_dim // 2))[None, :]
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)[None]


class Builder(EncoderBuilder):
    def __init__(self, size, dtype):
        self.hidden_dim, self.num_layers, num_heads, self.num_mels = SIZES[size]
        super().__init__(f"whisper_{size}_encoder", dtype, self.hidden_dim, num_heads, SEQ_LEN, epsilon=1e-5,
                         has_key_bias=False)

    def conv(self, data, name, in_dim, stride, after):
        shape = (self.hidden_dim, in_dim, 3)
        parts = [self.constant(f"{name}.weight", random.weight(f"{name}.weight", shape, after)),
                 self.constant(f"{name}.bias", random.bias(f"{name}.bias", self.hidden_dim))]
        data = self.graph.node("Conv", [data, *parts], f"/{name}/Conv", kernel_shape=[3], strides=[stride], pads=[1, 1])
        return self.gelu(data, f"{name}.act")

    def build(self):
        graph = self.graph
        data = graph.input("input_features", ["batch", self.num_mels, NUM_FRAMES])
        is_half = self.dtype == np.float16
        if is_half:
            data = graph.node("Cast", [data], "/Cast", to=10)
        data = self.conv(data, "conv1", self.num_mels, 1, "linear")
        data = self.conv(data, "conv2", self.hidden_dim, 2, "gelu")
        data = graph.node("Transpose", [data], "/Transpose", perm=[0, 2, 1])
        data = graph.node("Add", [data, self.constant("positions", positions(SEQ_LEN, self.hidden_dim))], "/Add")
        for layer in range(self.num_layers):
            data = self.layer(data, f"layers.{layer}", 4 * self.hidden_dim)
        output = "last_hidden_state"
        data = self.layer_norm(data, "norm", output=None if is_half else output)
        if is_half:
            graph.node("Cast", [data], "/Cast_1", output=output, to=1)
        graph.output(output, ["batch", SEQ_LEN, self.hidden_dim])
        return graph


def build_model(size, dtype=np.float32):
    return Builder(size, dtype).build().model()
