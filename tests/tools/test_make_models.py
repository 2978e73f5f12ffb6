"""Tests of tools/make_models: the graphs have the published sizes and the same bytes every time."""

import hashlib
import math
import sys
import unittest

from load import ROOT

sys.path.insert(0, str(ROOT / "tools"))
try:
    import numpy as np
    import onnx
    from convert import random_weights, resnet, whisper, yolov8
except ImportError as error:
    raise unittest.SkipTest(f"{error}: the tools' environment .deps/venv is not there (./dev setup)")

LABELS = {0: "a"}


def num_parameters(model):
    return sum(math.prod(tensor.dims) for tensor in model.graph.initializer
               if tensor.data_type == onnx.TensorProto.FLOAT)


def digest(model):
    return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()


class RandomWeights(unittest.TestCase):
    def test_depend_on_the_name_alone(self):
        first = random_weights.normal("a", (3, 4))
        random_weights.normal("b", (3, 4))
        np.testing.assert_array_equal(first, random_weights.normal("a", (3, 4)))
        self.assertFalse(np.array_equal(first, random_weights.normal("c", (3, 4))))

    def test_keep_the_scale_of_a_signal(self):
        signal = random_weights.normal("signal", (1024, 256))
        for after, activation in (("linear", lambda x: x), ("relu", lambda x: np.maximum(x, 0)),
                                  ("silu", lambda x: x / (1 + np.exp(-x)))):
            weight = random_weights.weight(f"weight.{after}", (256, 256), after)
            self.assertAlmostEqual(float((activation(signal) @ weight.T).std()), 1.0, delta=0.1, msg=after)


class Models(unittest.TestCase):
    def test_yolov8n(self):
        model = yolov8.build_model(LABELS)
        onnx.checker.check_model(model, full_check=True)
        # The published model's 3,151,904 parameters with batch normalisation folded, and the decoder's constants.
        decoder = 2 * 8400 + 8400 + 1 + 4  # centres, strides, a divisor, the scales of the upsampling
        self.assertEqual(num_parameters(model) - decoder, 3151904)
        self.assertEqual([d.dim_param or d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim],
                         ["batch", 84, 8400])
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        self.assertEqual((metadata["task"], metadata["stride"], metadata["imgsz"], metadata["names"]),
                         ("detect", "32", "[640, 640]", "{0: 'a'}"))
        self.assertEqual(digest(model), digest(yolov8.build_model(LABELS)))

    def test_whisper_tiny_encoder(self):
        model = whisper.build_model("tiny")
        onnx.checker.check_model(model, full_check=True)
        # The published encoder's 8,208,384 parameters, and what GELU and attention are spelt with.
        spelling = 4  # sqrt(2), 1, 0.5, the scale of the scores
        self.assertEqual(num_parameters(model) - spelling, 8208384)
        self.assertEqual([d.dim_param or d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim],
                         ["batch", 1500, 384])
        self.assertEqual(digest(model), digest(whisper.build_model("tiny")))

    def test_whisper_positions_are_sines_and_cosines(self):
        positions = whisper.positions(1500, 384)[0]
        np.testing.assert_allclose(positions[0], [0] * 192 + [1] * 192)
        np.testing.assert_allclose(positions[7, :1], np.sin([7.0]))
        np.testing.assert_allclose(positions[7, 191], np.sin(7 / 10000.0))

    def test_resnet50(self):
        folded, unfolded = resnet.build_model(LABELS), resnet.build_model(LABELS, has_batch_norm=True)
        onnx.checker.check_model(unfolded, full_check=True)
        # Published: 25,557,032 trained parameters; a batch normalisation has two of them and two statistics a channel,
        # of which folding leaves one bias.
        num_channels = 26560
        self.assertEqual(num_parameters(folded), 25557032 - num_channels)
        self.assertEqual(num_parameters(unfolded), 25557032 + 2 * num_channels)
        self.assertEqual(sum(node.op_type == "BatchNormalization" for node in unfolded.graph.node), 53)


if __name__ == "__main__":
    unittest.main()
