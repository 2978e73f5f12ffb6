#!/usr/bin/env python3
"""Makes tests/data/ggml/blocks.safetensors: blocks of every GGUF format that is read, and the float32 values that ggml's
own Python package gives them; and tests/fuzz/corpus/fuzz_gguf: two small models that the same package writes.

Run with any Python that has numpy, safetensors and the package gguf (0.19 or later), given by PYTHONPATH where it is not
installed: python tools/goldens/make_ggml_goldens.py
The blocks are random bytes; their float16 scales are set to numbers that trained weights have, and a few to zero,
negative and subnormal ones.
"""

import argparse
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import GGUFWriter, RopeScalingType
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize
from safetensors.numpy import save_file

TESTS = Path(__file__).resolve().parents[2] / "tests"
OUTPUT = TESTS / "data" / "ggml" / "blocks.safetensors"
CORPUS = TESTS / "fuzz" / "corpus" / "fuzz_gguf"
# Where the float16 numbers of a block lie.
HALVES = {Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2], Type.Q8_0: [0], Type.Q4_K: [0, 2],
          Type.Q5_K: [0, 2], Type.Q6_K: [208], Type.BF16: [], Type.F16: []}
EDGES = np.array([0, -0.01, 6e-8, 65504, 1e-4], np.float16)


def blocks_of(qtype, rng):
    elements, size = GGML_QUANT_SIZES[qtype]
    num_blocks = 7 if elements > 1 else 64
    blocks = rng.integers(0, 256, (num_blocks, size), dtype=np.uint8)
    if elements == 1:  # any bit pattern but infinities and NaN, whose payload nobody promises
        blocks[:, 1] &= 0xBF
    for offset in HALVES[qtype]:
        scales = rng.normal(0, 0.02, num_blocks).astype(np.float16)
        scales[: min(len(EDGES), num_blocks)] = EDGES[:num_blocks]
        blocks[:, offset : offset + 2] = scales.view(np.uint8).reshape(num_blocks, 2)
        rng.shuffle(EDGES)
    return blocks


def write_model(architecture, qtype, rng):
    """One layer of two heads, blocks of one row each."""
    hidden = GGML_QUANT_SIZES[qtype][0]
    writer = GGUFWriter(CORPUS / f"{architecture}.gguf", architecture)
    writer.add_context_length(64)
    writer.add_embedding_length(hidden)
    writer.add_block_count(1)
    writer.add_feed_forward_length(hidden)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_key_length(4)
    writer.add_value_length(4)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_token_list(["<s>", "</s>", "a", "b"])
    writer.add_token_scores([0.0, 0.0, -1.0, -2.0])
    writer.add_bool("tokenizer.ggml.add_bos_token", True)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    if architecture == "gemma3":
        writer.add_sliding_window(16)
    else:
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(2.0)
    for name, rows in (("token_embd", 4), ("blk.0.attn_q", 8), ("blk.0.attn_k", 4)):
        blocks = np.concatenate([blocks_of(qtype, rng) for _ in range(2)])[:rows]
        writer.add_tensor(f"{name}.weight", blocks, raw_dtype=qtype)
    writer.add_tensor("output_norm.weight", np.ones(hidden, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    argparse.ArgumentParser(description=__doc__).parse_args()
    rng = np.random.default_rng(5)
    tensors = {}
    for qtype in HALVES:
        blocks = blocks_of(qtype, rng)
        tensors[f"{qtype.name}.blocks"] = blocks
        tensors[f"{qtype.name}.values"] = dequantize(blocks, qtype).astype(np.float32).reshape(-1)
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, OUTPUT)
    CORPUS.mkdir(parents=True, exist_ok=True)
    write_model("llama", Type.Q4_1, rng)
    write_model("gemma3", Type.Q4_K, rng)


if __name__ == "__main__":
    main()
