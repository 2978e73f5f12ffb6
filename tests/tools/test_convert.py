"""Tests of tools/convert: the readers of foreign formats on small files made here, and the demo models they lead to.

Whether the converted models detect and classify rightly is tested by the C++ tests, which run them on photos.
"""

import collections
import io
import pickle
import subprocess
import sys
import tempfile
import types
import unittest
from pathlib import Path
from unittest import mock

from load import ROOT

sys.path.insert(0, str(ROOT / "tools"))
try:
    import numpy as np
    from convert import efficientnet_lite, labels, onnx_writer, ssd_mobilenet, tensorflow_graph, torch_pickle
except ImportError as error:
    raise unittest.SkipTest(f"{error}: the tools' environment .deps/venv is not there (./dev setup)")

PACKAGES = ROOT / ".deps" / "packages"


def varint(value):
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def message(*fields):
    """Protobuf bytes of (number, integer or bytes)."""
    return b"".join(varint(n << 3) + varint(v) if isinstance(v, int) else varint(n << 3 | 2) + varint(len(v)) + v
                    for n, v in fields)


class TensorflowGraph(unittest.TestCase):
    def read(self, data):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "graph.pb")
            path.write_bytes(data)
            return tensorflow_graph.read_graph(path)

    def node(self, **attributes):
        entries = [(5, message((1, key.encode()), (2, value))) for key, value in attributes.items()]
        return message((1, message((1, b"n"), (2, b"Const"), (3, b"a"), (3, b"b:1"), *entries)))

    def test_reads_names_inputs_and_attributes(self):
        node = self.read(self.node(i=message((3, 2**64 - 2)), s=message((2, b"SAME")), b=message((5, 1)),
                                   l=message((1, message((3, b"\x01\x02"))))))["n"]
        self.assertEqual((node.op, node.inputs), ("Const", ["a", "b:1"]))
        self.assertEqual(node.attributes, {"i": -2, "s": b"SAME", "b": True, "l": [1, 2]})

    def test_reads_tensors(self):
        def tensor(*fields):
            return self.read(self.node(value=message((8, message(*fields)))))["n"].attributes["value"]

        shape = (2, message((2, message((1, 2))), (2, message((1, 3)))))
        content = np.arange(6, dtype=np.float32)
        np.testing.assert_array_equal(tensor((1, 1), shape, (4, content.tobytes())), content.reshape(2, 3))
        # One value for six elements stands for six times that value.
        np.testing.assert_array_equal(tensor((1, 3), shape, (7, b"\x05")), np.full((2, 3), 5, np.int32))
        self.assertEqual(tensor((1, 1), (2, b""), (5, np.float32(0.5).tobytes())), np.float32(0.5))
        self.assertIsNone(tensor((1, 7), (2, b""), (8, b"text")))

    def test_refuses_what_is_no_graph(self):
        for data in (b"", b"\x0a", b"\x0a\x05abc", b"\x80" * 12, b"\x0b", message((1, b""))):
            with self.assertRaises(tensorflow_graph.GraphDefError, msg=data):
                self.read(data)


class TorchPickle(unittest.TestCase):
    def checkpoint(self, state, storages, cut=0):
        """Writes a legacy checkpoint. `storages` are float32 arrays by key; `state` uses Reference objects."""
        torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
        torch.FloatStorage = type("FloatStorage", (), {"__module__": "torch"})

        def _rebuild_tensor_v2():
            pass

        _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
        utils._rebuild_tensor_v2 = _rebuild_tensor_v2

        class StorageReference:
            def __init__(self, key):
                self.key = key

        class Reference:
            def __init__(self, key, *layout):
                self.key, self.layout = key, layout

            def __reduce__(self):
                return _rebuild_tensor_v2, (StorageReference(self.key), *self.layout, False, collections.OrderedDict())

        class Pickler(pickle.Pickler):
            def persistent_id(self, item):
                if isinstance(item, StorageReference):
                    return "storage", torch.FloatStorage, item.key, "cpu", storages[item.key].size, None

        file = io.BytesIO()
        with mock.patch.dict(sys.modules, {"torch": torch, "torch._utils": utils}):
            for item in (torch_pickle.MAGIC, torch_pickle.PROTOCOL, {"little_endian": True}):
                pickle.dump(item, file, 2)
            Pickler(file, 2).dump(state(Reference))
        pickle.dump(list(storages), file, 2)
        for array in storages.values():
            file.write(array.size.to_bytes(8, "little") + array.astype(np.float32).tobytes())
        path = Path(self.folder, "state.pth")
        path.write_bytes(file.getvalue()[:len(file.getvalue()) - cut])
        return path

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def test_honours_offset_and_strides(self):
        path = self.checkpoint(lambda tensor: collections.OrderedDict(
            a=tensor("0", 0, (2, 3), (3, 1)), b=tensor("0", 1, (2, 2), (1, 2)), c=tensor("1", 0, (), ())),
            {"0": np.arange(6), "1": np.array([7])})
        state = torch_pickle.read_state_dict(path)
        np.testing.assert_array_equal(state["a"], [[0, 1, 2], [3, 4, 5]])
        np.testing.assert_array_equal(state["b"], [[1, 3], [2, 4]])
        self.assertTrue(state["b"].flags.c_contiguous)
        self.assertEqual((state["c"].shape, state["c"]), ((), 7))

    def test_refuses_tensors_past_their_storage(self):
        for layout in ((0, (7,), (1,)), (4, (3,), (1,)), (0, (2,), (-1,)), (-1, (2,), (1,))):
            path = self.checkpoint(lambda tensor: {"a": tensor("0", *layout)}, {"0": np.arange(6)})
            with self.assertRaisesRegex(torch_pickle.CheckpointError, "past its storage"):
                torch_pickle.read_state_dict(path)

    def test_refuses_a_truncated_file(self):
        for cut in (1, 20, 60, 150):
            path = self.checkpoint(lambda tensor: {"a": tensor("0", 0, (6,), (1,))}, {"0": np.arange(6)}, cut)
            with self.assertRaises(torch_pickle.CheckpointError):
                torch_pickle.read_state_dict(path)

    def test_calls_nothing_that_a_checkpoint_names(self):
        path = Path(self.folder, "hostile.pth")

        class Hostile:
            def __reduce__(self):
                return print, ("called",)

        path.write_bytes(b"".join(pickle.dumps(item, 2) for item in (
            torch_pickle.MAGIC, torch_pickle.PROTOCOL, {"little_endian": True}, {"a": Hostile()})))
        with self.assertRaisesRegex(torch_pickle.CheckpointError, "names .*print"):
            torch_pickle.read_state_dict(path)


class Pads(unittest.TestCase):
    def test_same_padding_puts_the_odd_pixel_behind(self):
        for size, kernel, stride, expected in ((300, 3, 2, (0, 1, 150)), (19, 3, 2, (1, 1, 10)), (5, 3, 2, (1, 1, 3)),
                                               (224, 3, 1, (1, 1, 224)), (112, 5, 2, (1, 2, 56)), (7, 1, 2, (0, 0, 4)),
                                               (2, 3, 2, (0, 1, 1)), (1, 3, 1, (1, 1, 1))):
            self.assertEqual(onnx_writer.same_pads(size, kernel, stride), expected, (size, kernel, stride))


class Writer(unittest.TestCase):
    def test_refuses_two_values_under_one_name(self):
        builder = onnx_writer.GraphBuilder("g")
        builder.constant("a", np.zeros(2, np.float32))
        builder.constant("a", np.zeros(2, np.float32))
        with self.assertRaises(ValueError):
            builder.constant("a", np.ones(2, np.float32))

    def test_keeps_scalars_scalar(self):
        builder = onnx_writer.GraphBuilder("g")
        builder.constant("a", np.array(6, np.float32))
        self.assertEqual(list(builder.model().graph.initializer[0].dims), [])

    def test_leaves_nothing_behind_when_the_model_is_wrong(self):
        builder = onnx_writer.GraphBuilder("g")
        builder.node("Relu", ["nowhere"], "relu")
        builder.output("relu", [1])
        with tempfile.TemporaryDirectory() as folder:
            with self.assertRaises(Exception):
                onnx_writer.write(builder.model(), Path(folder, "m.onnx"))
            self.assertEqual(list(Path(folder).iterdir()), [])


@unittest.skipUnless(PACKAGES.is_dir(), "the packages of dependencies.lock are not there (./dev setup)")
class DemoModels(unittest.TestCase):
    def test_labels(self):
        coco = labels.coco_labels_by_id(PACKAGES)
        self.assertEqual((len(coco), coco[1], coco[6], coco[90]), (80, "person", "bus", "toothbrush"))
        self.assertEqual(labels.coco_labels(PACKAGES)[79], "toothbrush")
        imagenet = labels.imagenet_labels(PACKAGES)
        self.assertEqual((len(imagenet), imagenet[0], imagenet[609]), (1000, "tench", "jeep"))
        self.assertEqual(labels.voc_labels(PACKAGES)[15], "person")

    def test_ssd(self):
        model = ssd_mobilenet.build_model(PACKAGES)
        shapes = {output.name: [d.dim_param or d.dim_value for d in output.type.tensor_type.shape.dim]
                  for output in model.graph.output}
        self.assertEqual(shapes, {"box_encodings": ["batch", 1917, 1, 4], "class_logits": ["batch", 1917, 91]})
        operators = collections.Counter(node.op_type for node in model.graph.node)
        self.assertEqual((operators["Conv"], operators["BatchNormalization"], operators["Add"]), (76, 64, 10))
        self.assertLessEqual({"pajamas.task", "pajamas.head", "pajamas.labels", "pajamas.preprocess", "pajamas.ssd"},
                             {entry.key for entry in model.metadata_props})

    def test_ssd_refuses_other_anchors(self):
        with mock.patch.dict(ssd_mobilenet.SSD, min_scale=0.15):
            with self.assertRaisesRegex(ssd_mobilenet.ConversionError, "the metadata would say"):
                ssd_mobilenet.build_model(PACKAGES)

    def test_efficientnet(self):
        model = efficientnet_lite.build_model(PACKAGES)
        operators = collections.Counter(node.op_type for node in model.graph.node)
        self.assertEqual((operators["Conv"], operators["BatchNormalization"], operators["Gemm"]), (49, 49, 1))

    def test_bytes_are_the_same_in_every_process(self):
        script = ("import hashlib, sys; sys.path.insert(0, 'tools'); from pathlib import Path; "
                  "from convert import efficientnet_lite as e, ssd_mobilenet as s; "
                  "print([hashlib.sha256(m.build_model(Path('.deps/packages')).SerializeToString(deterministic=True))"
                  ".hexdigest() for m in (e, s)])")
        said = {subprocess.run([sys.executable, "-B", "-c", script], cwd=ROOT, env={"PYTHONHASHSEED": seed},
                               capture_output=True, text=True, check=True).stdout for seed in ("1", "2")}
        self.assertEqual(len(said), 1)


if __name__ == "__main__":
    unittest.main()
