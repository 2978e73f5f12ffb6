"""Tests of tools/check_includes on small made-up trees; the real tree is checked by ./dev test itself."""

import tempfile
import unittest
from pathlib import Path

from load import load_tool

tool = load_tool("check_includes")


class CheckIncludes(unittest.TestCase):
    def check(self, files):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in files.items():
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return tool.check_tree(Path(folder))[0]

    def test_accepts_includes_to_the_left(self):
        self.assertEqual(self.check({
            "src/base/error.h": "#include <string>\n#include <pajamas/error.h>\n",
            "src/io/onnx.cpp": '#include "graph/graph.h"\n#include "base/error.h"\n#include "onnx.pb.h"\n',
            "src/graph/graph.h": '#include "tensor/tensor.h"\n',
            "src/targets/openvino/target.cpp": '#include "../registry.h"\n#include <openvino/openvino.hpp>\n',
            "src/targets/registry.h": '#include "engine/target.h"\n',
            "src/toolchain/build.cpp": '#include "verify/compare.h"\n#include "models/registry.h"\n',
            "apps/pajamas/main.cpp": '#include "toolchain/build.h"\n#include "server/routes.h"\n',
            "include/pajamas/error.h": "#include <string>\n#include <cstdint>\n",
            "include/pajamas/detection.h": '#include "pajamas/error.h"\n#include <pajamas/error.h>\n',
        }), [])

    def test_names_file_line_and_rule_of_an_include_to_the_right(self):
        problems = self.check({"src/graph/graph.cpp": '// a graph\n#include <vector>\n#include "io/onnx.h"\n'})
        self.assertEqual(len(problems), 1)
        self.assertIn("src/graph/graph.cpp:3: includes io/onnx.h: graph must not include io", problems[0])

    def test_finds_includes_by_relative_path(self):
        problems = self.check({"src/base/log.cpp": '#include "../engine/engine.h"\n', "src/engine/engine.h": ""})
        self.assertIn("base must not include engine", problems[0])

    def test_refuses_siblings(self):
        for here, there in (("models", "targets"), ("targets", "tasks"), ("media", "text"), ("kernels", "graph"),
                            ("verify", "bench"), ("toolchain", "server")):
            problems = self.check({f"src/{here}/a.cpp": f'#include "{there}/b.h"\n'})
            self.assertEqual(len(problems), 1, (here, there))
            self.assertIn("side by side", problems[0])

    def test_public_headers_include_only_each_other_and_the_standard_library(self):
        for path in ("<openvino/openvino.hpp>", "<cuda_runtime.h>", '"base/error.h"', "<NvInfer.h>", '"onnx.pb.h"',
                     "<nlohmann/json.hpp>"):
            problems = self.check({"include/pajamas/x.h": f"#include {path}\n", "src/base/error.h": ""})
            self.assertEqual(len(problems), 1, path)
            self.assertIn("include/pajamas/x.h:1", problems[0])

    def test_refuses_an_unknown_folder(self):
        self.assertIn("src/util has no place", self.check({"src/util/a.cpp": ""})[0])
        self.assertIn("src/util has no place",
                      self.check({"src/server/a.cpp": '#include "util/a.h"\n', "src/util/a.h": ""})[-1])

    def test_ignores_comments_and_string_literals(self):
        self.assertEqual(self.check({
            "src/base/a.cpp": '// #include "io/a.h"\n/*\n#include "io/a.h"\n*/\n'
                              'auto s = R"(\n#include "io/a.h"\n)";\nauto t = "// not a comment";\n',
        }), [])

    def test_sees_an_include_after_a_string_with_comment_signs(self):
        problems = self.check({"src/base/a.cpp": 'auto s = "/*";\n  #  include "io/a.h"\nauto t = "*/";\n'})
        self.assertIn("src/base/a.cpp:2", problems[0])


if __name__ == "__main__":
    unittest.main()
