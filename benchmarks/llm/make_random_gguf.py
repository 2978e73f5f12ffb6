#!/usr/bin/env python3
"""Writes a GGUF of Qwen2.5-0.5B's shapes with random weights, which the program and llama.cpp both read: the same model
for both. The vocabulary is that of llama.cpp's ggml-vocab-qwen2.gguf. Weights are Q4_0, the tied table Q8_0; norms and
biases float32. Needs numpy and the gguf package (of llama.cpp's gguf-py), whose folder is given.
Usage: make_random_gguf.py OUT.gguf --vocabulary ggml-vocab-qwen2.gguf --gguf-py DIR [--layers 24]
"""
import argparse
import sys
from types import ModuleType

import numpy as np


def q4_0(rng, rows, columns):
    """Random blocks: a float16 scale and 32 values of 4 bits."""
    blocks = columns // 32
    out = np.empty((rows, blocks, 18), dtype=np.uint8)
    # Values are uniform in -8..7, so this scale makes rows of about unit gain.
    scale = np.full((rows, blocks, 1), 0.22 / np.sqrt(columns), dtype=np.float16)
    out[:, :, :2] = scale.view(np.uint8)
    out[:, :, 2:] = rng.integers(0, 256, (rows, blocks, 16), dtype=np.uint8)
    return out.reshape(rows, blocks * 18)


def q8_0(rng, rows, columns):
    blocks = columns // 32
    out = np.empty((rows, blocks, 34), dtype=np.uint8)
    scale = np.full((rows, blocks, 1), 0.02 / 64, dtype=np.float16)
    out[:, :, :2] = scale.view(np.uint8)
    out[:, :, 2:] = rng.integers(-127, 128, (rows, blocks, 32), dtype=np.int8).view(np.uint8)
    return out.reshape(rows, blocks * 34)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out")
    parser.add_argument("--vocabulary", required=True)
    parser.add_argument("--gguf-py", required=True)
    parser.add_argument("--layers", type=int, default=24)
    options = parser.parse_args()
    sys.path.insert(0, options.gguf_py)
    # The package imports these for what is not used here: model cards, download, progress bars.
    for unused in ("yaml", "requests", "tqdm"):
        sys.modules.setdefault(unused, ModuleType(unused))
    import gguf

    hidden, heads, kv_heads, feed_forward, vocab_size = 896, 14, 2, 4864, 151936
    head_dim = hidden // heads
    rng = np.random.default_rng(1)
    writer = gguf.GGUFWriter(options.out, "qwen2")
    writer.add_name("random qwen2.5-0.5b shapes")
    writer.add_context_length(32768)
    writer.add_embedding_length(hidden)
    writer.add_block_count(options.layers)
    writer.add_feed_forward_length(feed_forward)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_rope_freq_base(1e6)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(vocab_size)
    # OpenVINO GenAI does not open a file without it.
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)

    source = gguf.GGUFReader(options.vocabulary)
    def strings(key):
        field = source.fields[key]
        return [bytes(field.parts[i]).decode("utf-8", "surrogateescape") for i in field.data]
    def number(key):
        field = source.fields[key]
        return int(field.parts[field.data[0]][0])
    tokens = strings("tokenizer.ggml.tokens")
    types = [int(source.fields["tokenizer.ggml.token_type"].parts[i][0])
             for i in source.fields["tokenizer.ggml.token_type"].data]
    while len(tokens) < vocab_size:
        tokens.append(f"[PAD{len(tokens)}]")
        types.append(gguf.TokenType.UNUSED)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens[:vocab_size])
    writer.add_token_types(types[:vocab_size])
    writer.add_token_merges(strings("tokenizer.ggml.merges"))
    writer.add_eos_token_id(number("tokenizer.ggml.eos_token_id"))
    writer.add_add_bos_token(False)

    q4, q8 = gguf.GGMLQuantizationType.Q4_0, gguf.GGMLQuantizationType.Q8_0
    writer.add_tensor("token_embd.weight", q8_0(rng, vocab_size, hidden), raw_dtype=q8)
    writer.add_tensor("output_norm.weight", np.ones(hidden, dtype=np.float32))
    for i in range(options.layers):
        def add(name, rows, columns):
            writer.add_tensor(f"blk.{i}.{name}.weight", q4_0(rng, rows, columns), raw_dtype=q4)
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{i}.{norm}.weight", np.ones(hidden, dtype=np.float32))
        for name, rows in (("attn_q", heads * head_dim), ("attn_k", kv_heads * head_dim), ("attn_v", kv_heads * head_dim)):
            add(name, rows, hidden)
            writer.add_tensor(f"blk.{i}.{name}.bias", rng.normal(0, 0.1, rows).astype(np.float32))
        add("attn_output", hidden, heads * head_dim)
        add("ffn_gate", feed_forward, hidden)
        add("ffn_up", feed_forward, hidden)
        add("ffn_down", hidden, feed_forward)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
