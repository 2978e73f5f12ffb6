"""Tests of tools/fetch_dependencies with tiny wheels made here; pip is told to look nowhere else, so no network."""

import contextlib
import hashlib
import io
import os
import subprocess
import tempfile
import unittest
import zipfile
from pathlib import Path
from unittest import mock

from load import ROOT, load_tool

tool = load_tool("fetch_dependencies")
DIGEST = "0" * 64


def make_wheel(folder, files):
    """A minimal wheel named tinything 1.0 with these files; returns its SHA-256."""
    path = Path(folder, "tinything-1.0-py3-none-any.whl")
    info = "tinything-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tinything\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


class ParseLock(unittest.TestCase):
    def test_reads_packages_and_wheels(self):
        lock = tool.parse_lock(f"# c\napt a b\napt c # d\nwheel x 1.0 {DIGEST} packages/x only=a/*,b skip=a/c\n")
        self.assertEqual(lock.apt, ["a", "b", "c"])
        wheel = lock.wheels[0]
        self.assertEqual((wheel.name, wheel.version, wheel.into), ("x", "1.0", "packages/x"))
        self.assertTrue(wheel.wants("a/b") and wheel.wants("b"))
        self.assertFalse(wheel.wants("a/c") or wheel.wants("d"))

    def test_names_the_malformed_line(self):
        for line in ("wheel x 1.0", "wheel x 1.0 abc x", f"wheel x 1.0 {DIGEST} ../x", f"wheel x 1.0 {DIGEST} /x",
                     f"wheel x 1.0 {DIGEST} x onyl=a", "image x"):
            with self.assertRaisesRegex(tool.FetchError, "lock:2"):
                tool.parse_lock(f"apt a\n{line}\n", "lock")

    def test_the_lock_of_this_project(self):
        lock = tool.parse_lock((ROOT / "dependencies.lock").read_text())
        self.assertIn("cmake", lock.apt)
        self.assertLessEqual({"openvino", "onnx", "onnxruntime", "tensorrt_rtx", "venv"}, set(lock.folders()))


@unittest.skipIf(subprocess.run(["python3", "-m", "pip", "--version"], capture_output=True).returncode != 0,
                 "python3 has no pip")
class Fetch(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.deps = self.folder / "deps"
        self.sha256 = make_wheel(self.folder, {"tiny/a.txt": "a", "tiny/b.so": "b"})
        environment = mock.patch.dict(os.environ, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(self.folder),
                                      PIP_CONFIG_FILE=os.devnull)
        environment.start()
        self.addCleanup(environment.stop)

    def fetch(self, *arguments, line=None):
        """Runs the tool; returns its exit code and what it wrote to stderr."""
        lock = self.folder / "dependencies.lock"
        lock.write_text(line or f"wheel tinything 1.0 {self.sha256} tiny\n")
        said = io.StringIO()
        with contextlib.redirect_stderr(said), mock.patch.object(tool.sys, "executable", "python3"):
            said.fileno = lambda: os.open(os.devnull, os.O_WRONLY)  # for the pip process
            code = tool.main(["--deps", str(self.deps), "--lock", str(lock), *arguments])
        return code, said.getvalue()

    def test_unpacks_then_does_nothing(self):
        self.assertEqual(self.fetch("--check")[0], 1)
        self.assertEqual(self.fetch()[0], 0)
        self.assertEqual((self.deps / "tiny/tiny/a.txt").read_text(), "a")
        with mock.patch.object(tool, "download", side_effect=AssertionError("downloads again")):
            self.assertEqual(self.fetch(), (0, ""))
        self.assertEqual(self.fetch("--check")[0], 0)
        self.assertFalse((self.deps / "aside").exists() or (self.deps / "downloads").exists())

    def test_a_changed_line_makes_the_folder_anew(self):
        self.fetch()
        self.fetch(line=f"wheel tinything 1.0 {self.sha256} tiny skip=*.so\n")
        self.assertTrue((self.deps / "tiny/tiny/a.txt").exists())
        self.assertFalse((self.deps / "tiny/tiny/b.so").exists())

    def test_refuses_a_wrong_digest_and_keeps_what_was_there(self):
        self.fetch()
        code, said = self.fetch(line=f"wheel tinything 1.0 {DIGEST} tiny\n")
        self.assertEqual(code, 1)
        self.assertIn("tinything 1.0: the download does not have the digest", said)
        self.assertEqual((self.deps / "tiny/tiny/a.txt").read_text(), "a")

    def test_says_what_could_not_be_downloaded(self):
        code, said = self.fetch(line=f"wheel tinything 2.0 {self.sha256} tiny\n")
        self.assertEqual(code, 1)
        self.assertIn("tinything 2.0: pip could not download it", said)
        self.assertFalse((self.deps / "tiny").exists())

    def test_says_when_a_pattern_matches_nothing(self):
        code, said = self.fetch(line=f"wheel tinything 1.0 {self.sha256} tiny only=other/*\n")
        self.assertEqual(code, 1)
        self.assertIn("'other/*'", said)
        self.assertFalse((self.deps / "tiny").exists())

    def test_refuses_an_unknown_folder(self):
        self.assertIn("'nothere' is no folder", self.fetch("nothere")[1])


if __name__ == "__main__":
    unittest.main()
