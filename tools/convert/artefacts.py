"""Files that a tool makes into .deps/models or .deps/data: made when missing or when what they come from has changed.

A stamp beside each file holds a digest of its sources: the Python modules of tools/convert, the calling tool, and the
stamps of the packages. It does not look into the file: what somebody changes by hand stays changed until removed.
"""

import hashlib
import os
import shutil
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEPS = Path(os.environ.get("PAJAMAS_DEPS_DIR", ROOT / ".deps"))
PACKAGES = DEPS / "packages"
MODELS = DEPS / "models"
DATA = DEPS / "data"


class MissingPackage(Exception):
    """A package that dependencies.lock names has not been unpacked."""


def source_digest(sources, packages):
    digest = hashlib.sha256()
    for source in sorted(Path(source) for source in sources):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    for package in packages:
        stamp = PACKAGES / package / ".pajamas-stamp"
        if not stamp.exists():
            raise MissingPackage(f"{stamp.parent} is missing or unfinished; run ./dev setup, which downloads it")
        digest.update(stamp.read_bytes())
    return digest.hexdigest()


def make(path, sources, packages, produce):
    """Calls produce(path) unless the file is there and made from the same sources. Returns True if it was made.

    `produce` must leave either the whole file or none: write aside and rename.
    """
    stamp = path.parent / ".stamps" / path.name
    digest = source_digest(sources, packages)
    if path.exists() and stamp.exists() and stamp.read_text() == digest:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    stamp.parent.mkdir(exist_ok=True)
    stamp.unlink(missing_ok=True)
    start = time.monotonic()
    produce(path)
    stamp.write_text(digest)
    shown = path.relative_to(DEPS.parent) if path.is_relative_to(DEPS.parent) else path
    print(f"made {shown} ({path.stat().st_size / 1e6:.1f} MB) in {time.monotonic() - start:.1f} s", file=sys.stderr,
          flush=True)
    return True


def write_bytes(path, data):
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        aside.write_bytes(data)
        aside.rename(path)
    finally:
        aside.unlink(missing_ok=True)


def copy_file(source, path):
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        shutil.copyfile(source, aside)
        aside.rename(path)
    finally:
        aside.unlink(missing_ok=True)
