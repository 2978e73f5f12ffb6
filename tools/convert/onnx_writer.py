"""Builds an ONNX graph node by node and writes it as a file whose bytes depend on nothing but what was put in.

Every tool that makes a model uses it. It does not check the operators; write() lets the onnx package do that. Tensors
are named after the node that makes them, so that messages of later steps point at something a person recognises.
"""

import json
import os
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
# The file format version that goes with opset 17; newer ones lock out older readers without giving anything here.
IR_VERSION = 8

ELEMENT_TYPES = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.float16): TensorProto.FLOAT16,
                 np.dtype(np.int64): TensorProto.INT64}


class GraphBuilder:
    """Collects nodes in order. Methods that add something return the name of the tensor it makes."""

    def __init__(self, name):
        self.name = name
        self.nodes = []
        self.initializers = {}
        self.inputs = []
        self.outputs = []

    def input(self, name, shape, dtype=np.float32):
        """`shape` holds numbers and, for dimensions that vary, names."""
        self.inputs.append(helper.make_tensor_value_info(name, ELEMENT_TYPES[np.dtype(dtype)], shape))
        return name

    def output(self, name, shape, dtype=np.float32):
        self.outputs.append(helper.make_tensor_value_info(name, ELEMENT_TYPES[np.dtype(dtype)], shape))
        return name

    def constant(self, name, array):
        """An initializer; the same name twice must mean the same values."""
        array = np.asarray(array, order="C")  # ascontiguousarray would make a scalar 1-D
        known = self.initializers.setdefault(name, array)
        if known is not array and not (known.dtype == array.dtype and np.array_equal(known, array)):
            raise ValueError(f"two different constants are named {name}")
        return name

    def node(self, op, inputs, name, output=None, **attributes):
        output = output or name
        self.nodes.append(helper.make_node(op, inputs, [output], name=name, **attributes))
        return output

    def node_with_outputs(self, op, inputs, name, outputs, **attributes):
        self.nodes.append(helper.make_node(op, inputs, outputs, name=name, **attributes))
        return outputs

    def model(self, metadata=None):
        """The finished ModelProto. Metadata values that are not text are written as JSON."""
        tensors = [numpy_helper.from_array(array, name) for name, array in self.initializers.items()]
        graph = helper.make_graph(self.nodes, self.name, self.inputs, self.outputs, tensors)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="llama-pajamas",
                                  ir_version=IR_VERSION)
        model.producer_version = ""  # bytes must not change because the tool's version did
        for key, value in sorted((metadata or {}).items()):
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            entry = model.metadata_props.add()
            entry.key, entry.value = key, text
        return model


def write(model, path):
    """Checks a model and writes it: aside first, then renamed, so that a reader never sees half a file."""
    onnx.checker.check_model(model, full_check=True)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        aside.write_bytes(model.SerializeToString(deterministic=True))
        aside.rename(path)
    finally:
        aside.unlink(missing_ok=True)


def same_pads(size, kernel, stride):
    """TensorFlow's SAME padding of one axis as (before, after, output size); the odd pixel goes behind."""
    out = -(-size // stride)
    total = max((out - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2, out
