#!/usr/bin/env python3
"""Makes tests/data/onnx: small models that use every corner of the ONNX format; also the seeds of tests/fuzz.

Run with the Python that has the pinned onnx package: .deps/venv/bin/python tools/goldens/make_onnx_goldens.py
The tests read only the files. Element values come from fixed formulas.
"""

import argparse
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

DATA = Path(__file__).resolve().parents[2] / "tests" / "data" / "onnx"
FLOAT = TensorProto.FLOAT
# A field number that no ONNX message has, as a future version may add: number 1000, bytes "new".
UNKNOWN_FIELD = b"\xc2\x3e\x03new"


def with_unknown(message):
    message.MergeFromString(UNKNOWN_FIELD)
    return message


def type_models():
    """Two models with the same tensor of every type: in the typed fields, and in raw_data packed by the package."""
    typed, raw = [], []
    for name, number in sorted(TensorProto.DataType.items(), key=lambda item: item[1]):
        if name in ("UNDEFINED", "STRING"):
            continue
        dtype = helper.tensor_dtype_to_np_dtype(number)
        if np.issubdtype(dtype, np.complexfloating):
            values = np.array([1.5 - 2j, 0, -3 + 0.25j], dtype)
        elif dtype == np.bool_:
            values = np.array([True, False, True])
        elif name.startswith("UINT"):
            values = np.array([1, 0, 3, 2, 1]).astype(dtype)
        elif name.startswith("INT"):
            values = np.array([1, 0, -2, 1, -1]).astype(dtype)
        elif name == "FLOAT8E8M0":
            values = np.array([1, 2, 0.5, 4, 8], np.float32).astype(dtype)
        else:
            values = np.array([1, 0, -2, 0.5, -1.5], np.float32).astype(dtype)
        raw_tensor = numpy_helper.from_array(values, name)
        assert raw_tensor.data_type == number and raw_tensor.raw_data
        raw.append(raw_tensor)
        typed_tensor = TensorProto(name=name, data_type=number, dims=values.shape)
        # By the rules written in onnx.proto, from the package's raw bytes only where those rules pack bytes.
        if name in ("FLOAT", "COMPLEX64"):
            typed_tensor.float_data.extend(values.view(np.float32).tolist())
        elif name in ("DOUBLE", "COMPLEX128"):
            typed_tensor.double_data.extend(values.view(np.float64).tolist())
        elif name == "INT64":
            typed_tensor.int64_data.extend(values.tolist())
        elif name in ("UINT32", "UINT64"):
            typed_tensor.uint64_data.extend(values.tolist())
        elif name in ("FLOAT6E2M3", "FLOAT6E3M2"):
            typed_tensor.int32_data.extend(values.view(np.uint8).tolist())
        elif name in ("UINT4", "INT4", "UINT2", "INT2", "FLOAT4E2M1"):
            typed_tensor.int32_data.extend(raw_tensor.raw_data)
        elif name in ("FLOAT16", "BFLOAT16"):
            typed_tensor.int32_data.extend(values.view(np.uint16).tolist())
        elif name.startswith("FLOAT8"):
            typed_tensor.int32_data.extend(values.view(np.uint8).tolist())
        else:
            typed_tensor.int32_data.extend(values.astype(np.int32).tolist())
        typed.append(typed_tensor)
    text = TensorProto(name="STRING", data_type=TensorProto.STRING, dims=[3], string_data=[b"a", b"", b"\xc3\xa9"])
    empty = TensorProto(name="EMPTY", data_type=FLOAT, dims=[0, 3])
    identity = [helper.make_node("Identity", ["FLOAT"], ["y"])]
    output = [helper.make_tensor_value_info("y", FLOAT, None)]
    return {
        stem: helper.make_model(
            helper.make_graph(identity, "types", [], output, tensors + [text, empty]),
            opset_imports=[helper.make_opsetid("", 17)], ir_version=10, producer_name="make_onnx_goldens",
        )
        for stem, tensors in (("types_typed", typed), ("types_raw", raw))
    }


def conv_model(opset=17):
    weight = (np.arange(4 * 3 * 3 * 3, dtype=np.float32).reshape(4, 3, 3, 3) - 54) / 64
    bias = np.array([0.5, -0.5, 0.25, 0], np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], "conv", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["g"], "pool"),
        helper.make_node("Flatten", ["g"], ["y"], "flatten"),
    ]
    graph = helper.make_graph(
        nodes, "conv", [helper.make_tensor_value_info("x", FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("y", FLOAT, ["batch", 4])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def control_flow_model():
    def branch(name, op):
        return helper.make_graph([helper.make_node(op, ["s"], [name], name)], name, [],
                                 [helper.make_tensor_value_info(name, FLOAT, None)])

    body = helper.make_graph(
        [helper.make_node("Add", ["carried", "one"], ["next"], "add"), helper.make_node("Identity", ["cond"], ["go"])],
        "body",
        [helper.make_tensor_value_info("i", TensorProto.INT64, []), helper.make_tensor_value_info("cond", 9, []),
         helper.make_tensor_value_info("carried", FLOAT, [2])],
        [helper.make_tensor_value_info("go", 9, []), helper.make_tensor_value_info("next", FLOAT, [2])],
        [numpy_helper.from_array(np.array([1, 1], np.float32), "one")],
    )
    graph = helper.make_graph(
        [
            helper.make_node("Loop", ["count", "", "x"], ["s"], "loop", body=body),
            helper.make_node("If", ["flag"], ["y"], "if", then_branch=branch("t", "Neg"), else_branch=branch("e", "Abs")),
        ],
        "control_flow",
        [helper.make_tensor_value_info("x", FLOAT, [2]), helper.make_tensor_value_info("flag", 9, [])],
        [helper.make_tensor_value_info("y", FLOAT, [2])],
        [numpy_helper.from_array(np.array(3, np.int64), "count")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)


def function_model():
    leaky = helper.make_node("LeakyRelu", ["a"], ["t"], "leaky")
    leaky.attribute.append(onnx.AttributeProto(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    inner = helper.make_function("local", "inner", ["a"], ["b"], [leaky, helper.make_node("Neg", ["t"], ["b"])], opsets,
                                 attributes=["slope"])
    outer = helper.make_function(
        "local", "outer", ["a"], ["b"],
        [helper.make_node("inner", ["a"], ["t"], "first", domain="local", slope=0.5),
         helper.make_node("inner", ["t"], ["b"], "second", domain="local", slope=0.25)],
        opsets,
    )
    outer.doc_string = "calls inner twice"
    outer.value_info.append(helper.make_tensor_value_info("t", FLOAT, ["n"]))
    outer.metadata_props.add(key="k", value="v")
    graph = helper.make_graph([helper.make_node("outer", ["x"], ["y"], "call", domain="local")], "functions",
                              [helper.make_tensor_value_info("x", FLOAT, ["n"])],
                              [helper.make_tensor_value_info("y", FLOAT, ["n"])])
    return helper.make_model(graph, opset_imports=opsets, functions=[inner, outer], ir_version=10)


def everything_model():
    """Something in every field of every message; not a model that could run."""
    tensor = numpy_helper.from_array(np.array([1, 2], np.int64), "inside")
    tensor.doc_string = "a tensor in an attribute"
    graph = helper.make_graph([], "nested", [], [helper.make_tensor_value_info("z", FLOAT, [1])], [tensor])
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(np.array([1, 2], np.float32), "sparse"),
        numpy_helper.from_array(np.array([0, 5], np.int64), "indices"), [2, 3])
    types = [
        helper.make_tensor_type_proto(FLOAT, ["n", None, 3]),
        helper.make_sparse_tensor_type_proto(FLOAT, [2]),
        helper.make_sequence_type_proto(helper.make_tensor_type_proto(FLOAT, None)),
        helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.INT64, [])),
        helper.make_optional_type_proto(helper.make_sequence_type_proto(helper.make_tensor_type_proto(FLOAT, [1]))),
        onnx.TypeProto(opaque_type=onnx.TypeProto.Opaque(domain="d", name="n"), denotation="OPAQUE"),
    ]
    node = helper.make_node(
        "Anything", ["x", "", "w"], ["y", ""], "node", "docs", "com.microsoft", f=1.5, i=-7, s="text",
        fs=[1.0, -0.0], is_=[1, -(2**63), 2**63 - 1], ss=["a", ""], t=tensor, g=graph, gs=[graph, graph], tp=types[0])
    node.attribute.append(helper.make_attribute("tensors", [tensor, numpy_helper.from_array(np.zeros(0, np.float32))]))
    node.attribute.append(helper.make_attribute("sparse", sparse))
    node.attribute.append(helper.make_attribute("sparses", [sparse, sparse]))
    node.attribute.append(helper.make_attribute("types", types))
    node.attribute.append(onnx.AttributeProto(name="zero", type=onnx.AttributeProto.INT))  # the value left out
    node.attribute.append(onnx.AttributeProto(name="odd", type=onnx.AttributeProto.INT, i=1, f=2.0))  # one too many
    node.attribute.append(onnx.AttributeProto(name="empty", type=onnx.AttributeProto.INTS))
    node.attribute.append(onnx.AttributeProto(name="says nothing", type=onnx.AttributeProto.TYPE_PROTO,
                                              tp=onnx.TypeProto(denotation="d")))
    node.attribute[0].doc_string = "attribute docs"
    with_unknown(node.attribute[1])
    node.overload = "variant"
    node.metadata_props.add(key="k", value="v")
    device = node.device_configurations.add(configuration_id="c", pipeline_stage=2)
    device.sharding_spec.add(tensor_name="w", device=[0, 1])
    with_unknown(node)
    weight = numpy_helper.from_array(np.arange(6, dtype=np.float16).reshape(2, 3), "w")
    weight.doc_string = "weight docs"
    weight.metadata_props.add(key="k", value="v")
    with_unknown(weight)
    values = [onnx.ValueInfoProto(name=f"v{i}", type=type_, doc_string="docs") for i, type_ in enumerate(types)]
    values.append(onnx.ValueInfoProto(name="no type"))
    values.append(onnx.ValueInfoProto(name="empty type", type=onnx.TypeProto()))
    values[0].type.tensor_type.shape.dim[0].denotation = "DATA_BATCH"
    values[0].metadata_props.add(key="k", value="v")
    with_unknown(values[0])
    main = helper.make_graph([node], "main", [helper.make_tensor_value_info("x", FLOAT, ["n"])],
                             [helper.make_tensor_value_info("y", FLOAT, None)], [weight], "docs", values, [sparse])
    main.quantization_annotation.add(tensor_name="w").quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="s")
    main.metadata_props.add(key="k", value="v")
    with_unknown(main)
    function = helper.make_function("local", "f", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])],
                                    [helper.make_opsetid("", 24)], ["required"],
                                    [helper.make_attribute("standard", 1)], "docs", "overload")
    with_unknown(function)
    model = helper.make_model(main, opset_imports=[helper.make_opsetid("", 24), helper.make_opsetid("com.microsoft", 1)],
                              functions=[function], ir_version=11, producer_name="p", producer_version="1",
                              domain="d", model_version=3, doc_string="docs")
    model.metadata_props.add(key="names", value="{0: 'person'}")
    model.training_info.add().initialization_binding.add(key="a", value="b")
    model.configuration.add(name="c", num_devices=2, device=["0", "1"])
    return with_unknown(model)


def write_external(folder):
    """A model whose weights lie in weights.bin: one with offset and length, one with neither."""
    folder.mkdir(exist_ok=True)
    model = conv_model()
    content = b""
    for initializer in model.graph.initializer:
        data = initializer.raw_data
        content += b"\0" * (-len(content) % 64)
        initializer.ClearField("raw_data")
        initializer.data_location = TensorProto.EXTERNAL
        initializer.external_data.add(key="location", value="weights.bin")
        if content:
            initializer.external_data.add(key="offset", value=str(len(content)))
            initializer.external_data.add(key="length", value=str(len(data)))
        content += data
    (folder / "weights.bin").write_bytes(content)
    write(folder / "external.onnx", model)


def write(path, model):
    path.write_bytes(model.SerializeToString(deterministic=True))


def main():
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    DATA.mkdir(parents=True, exist_ok=True)
    for name, model in type_models().items():
        write(DATA / f"{name}.onnx", model)
    write(DATA / "conv.onnx", conv_model())
    write(DATA / "control_flow.onnx", control_flow_model())
    write(DATA / "functions.onnx", function_model())
    write(DATA / "everything.onnx", everything_model())
    write_external(DATA / "external")
    for stem in ("conv", "control_flow", "functions"):
        onnx.checker.check_model(str(DATA / f"{stem}.onnx"), full_check=True)


if __name__ == "__main__":
    main()
