"""Tests of tools/fetch_dependencies with tiny wheels made here; pip is told to look nowhere else, so no network."""

import contextlib
import hashlib
import io
import os
import subprocess
import tarfile
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

    def test_reads_source_packages(self):
        package = tool.parse_lock(f"sdist x 1.0 {DIGEST} packages/x only=a/*\n").wheels[0]
        self.assertTrue(package.is_source and package.wants("a/b") and not package.wants("b"))
        self.assertNotEqual(tool.stamp_of([package]),
                            tool.stamp_of(tool.parse_lock(f"wheel x 1.0 {DIGEST} packages/x only=a/*\n").wheels))

    def test_unpacks_only_named_files_of_source_packages(self):
        with tempfile.TemporaryDirectory() as folder:
            archive = Path(folder, "x-1.0.tar.gz")
            with tarfile.open(archive, "w:gz") as file:
                for name in ("x-1.0/a/b.txt", "x-1.0/a/../../../escape", "x-1.0/c.txt"):
                    member = tarfile.TarInfo(name)
                    member.size = 2
                    file.addfile(member, io.BytesIO(b"hi"))
                link = tarfile.TarInfo("x-1.0/a/link")
                link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
                file.addfile(link)
            package = tool.parse_lock(f"sdist x 1.0 {DIGEST} x only=a/*\n").wheels[0]
            into = Path(folder, "into", "deep", "er")
            tool.unpack(package, archive, into)
            self.assertEqual([str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.is_file()],
                             ["x-1.0.tar.gz", "into/deep/er/a/b.txt"])
            other = tool.parse_lock(f"sdist x 1.0 {DIGEST} x only=z/*\n").wheels[0]
            with self.assertRaisesRegex(tool.FetchError, "z/"):
                tool.unpack(other, archive, into)

    def test_names_the_malformed_line(self):
        for line in ("wheel x 1.0", "wheel x 1.0 abc x", f"wheel x 1.0 {DIGEST} ../x", f"wheel x 1.0 {DIGEST} /x",
                     f"wheel x 1.0 {DIGEST} x onyl=a", f"sdist x 1.0 {DIGEST} x", "image x"):
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
