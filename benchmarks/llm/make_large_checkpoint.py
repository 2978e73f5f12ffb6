#!/usr/bin/env python3
"""Writes a Hugging Face checkpoint of Llama-3.1-8B's shapes with random BF16 weights in shards of about 4 GB, to measure
builds with. Standard library and numpy. Usage: make_large_checkpoint.py FOLDER --gigabytes 16 (layers are left out to
meet a smaller size)."""
import argparse
import json
import pathlib

import numpy as np

HIDDEN, FEED_FORWARD, KV, VOCAB, LAYERS = 4096, 14336, 1024, 128256, 32
SHARD_BYTES = 4_000_000_000


def tensors(num_layers):
    yield "model.embed_tokens.weight", (VOCAB, HIDDEN)
    for i in range(num_layers):
        prefix = f"model.layers.{i}."
        yield prefix + "input_layernorm.weight", (HIDDEN,)
        yield prefix + "self_attn.q_proj.weight", (HIDDEN, HIDDEN)
        yield prefix + "self_attn.k_proj.weight", (KV, HIDDEN)
        yield prefix + "self_attn.v_proj.weight", (KV, HIDDEN)
        yield prefix + "self_attn.o_proj.weight", (HIDDEN, HIDDEN)
        yield prefix + "post_attention_layernorm.weight", (HIDDEN,)
        yield prefix + "mlp.gate_proj.weight", (FEED_FORWARD, HIDDEN)
        yield prefix + "mlp.up_proj.weight", (FEED_FORWARD, HIDDEN)
        yield prefix + "mlp.down_proj.weight", (HIDDEN, FEED_FORWARD)
    yield "model.norm.weight", (HIDDEN,)
    yield "lm_head.weight", (VOCAB, HIDDEN)


def size_of(shape):
    return 2 * int(np.prod(shape))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--gigabytes", type=float, default=16)
    options = parser.parse_args()
    per_layer = sum(size_of(shape) for name, shape in tensors(1) if ".layers." in name)
    fixed = sum(size_of(shape) for name, shape in tensors(0))
    num_layers = max(1, min(LAYERS, round((options.gigabytes * 1e9 - fixed) / per_layer)))
    options.folder.mkdir(parents=True, exist_ok=True)
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN,
              "intermediate_size": FEED_FORWARD, "num_hidden_layers": num_layers, "num_attention_heads": 32,
              "num_key_value_heads": 8, "vocab_size": VOCAB, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
              "max_position_embeddings": 8192, "tie_word_embeddings": False, "hidden_act": "silu",
              "torch_dtype": "bfloat16", "bos_token_id": 128000, "eos_token_id": 128001}
    (options.folder / "config.json").write_text(json.dumps(config, indent=1))

    # Random bits of a BF16 normal-like value: sign, exponent around 2^-6, random mantissa. Drawn once, used shifted.
    rng = np.random.default_rng(1)
    pool = (rng.normal(0, 0.02, 1 << 24).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    shards, current, size = [], [], 0
    for name, shape in tensors(num_layers):
        if current and size + size_of(shape) > SHARD_BYTES:
            shards.append(current)
            current, size = [], 0
        current.append((name, shape))
        size += size_of(shape)
    shards.append(current)
    weight_map, total = {}, 0
    for index, shard in enumerate(shards):
        file_name = f"model-{index + 1:05}-of-{len(shards):05}.safetensors"
        header, offset = {}, 0
        for name, shape in shard:
            header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + size_of(shape)]}
            offset += size_of(shape)
            weight_map[name] = file_name
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with open(options.folder / file_name, "wb") as out:
            out.write(len(text).to_bytes(8, "little") + text)
            for name, shape in shard:
                left, begin = int(np.prod(shape)), int(rng.integers(0, pool.size // 2))
                if len(shape) == 1:
                    out.write(np.full(left, 0x3F80, dtype=np.uint16).tobytes())  # norms: one
                    continue
                while left > 0:
                    piece = pool[begin:begin + left]
                    out.write(piece.tobytes())
                    left, begin = left - piece.size, 0
        total += offset
    (options.folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}))


if __name__ == "__main__":
    main()
