#!/usr/bin/env python3
"""Rewrites a GGUF file with all its tensors in float32: an original without quantisation to measure quantisation with.
Metadata stays byte for byte. Needs numpy and the gguf package (of llama.cpp's gguf-py), whose folder is given.
Usage: dequantize_gguf.py IN.gguf OUT.gguf --gguf-py DIR
"""
import argparse
import struct
import sys
from types import ModuleType

import numpy as np

ALIGNMENT = 32
HEADER = struct.Struct("<4sIQQ")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source")
    parser.add_argument("out")
    parser.add_argument("--gguf-py", required=True)
    options = parser.parse_args()
    sys.path.insert(0, options.gguf_py)
    # The package imports these for what is not used here: model cards, download, progress bars.
    for unused in ("yaml", "requests", "tqdm"):
        sys.modules.setdefault(unused, ModuleType(unused))
    import gguf
    from gguf.quants import dequantize

    reader = gguf.GGUFReader(options.source)
    with open(options.source, "rb") as source:
        magic, version, num_tensors, num_pairs = HEADER.unpack(source.read(HEADER.size))
        metadata = source.read(int(reader.tensors[0].field.offset) - HEADER.size)
    infos, offset = b"", 0
    for tensor in reader.tensors:
        name = tensor.name.encode()
        dims = [int(extent) for extent in tensor.shape]
        infos += struct.pack("<Q", len(name)) + name + struct.pack(f"<I{len(dims)}Q", len(dims), *dims)
        infos += struct.pack("<IQ", 0, offset)  # type 0: float32
        offset += -(-4 * int(np.prod(dims)) // ALIGNMENT) * ALIGNMENT
    with open(options.out, "wb") as out:
        out.write(HEADER.pack(magic, version, num_tensors, num_pairs) + metadata + infos)
        out.write(b"\0" * (-out.tell() % ALIGNMENT))
        for tensor in reader.tensors:
            values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
            out.write(values.tobytes())
            out.write(b"\0" * (-out.tell() % ALIGNMENT))


if __name__ == "__main__":
    main()
