#!/usr/bin/env python3
"""Writes the checkpoint tests/data/whisper/tiny_half in the other containers that are read, and the seeds of their fuzz
targets.

tests/data/whisper/containers/: ct2_float16/ and ct2_int8/ by CTranslate2's own converter, openai.pt by torch.save under
OpenAI's names (with a transposed tensor and one cut out of a larger storage), ggml-float16.bin and ggml-q8_0.bin by the
layout that whisper.cpp's convert-pt-to-ggml.py documents. Beside them int8.safetensors: what the int8 weights of
CTranslate2 stand for. Needs torch, transformers, safetensors and ctranslate2; nothing of the project runs it but the person
who renews the files.
"""

import io
import json
import pathlib
import shutil
import struct

import ctranslate2
import numpy as np
import safetensors.torch
import torch
from ctranslate2.converters import TransformersConverter
from make_whisper_decode_golden import read_variables, state_of

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SOURCE = ROOT / "tests/data/whisper/tiny_half"
FOLDER = ROOT / "tests/data/whisper/containers"
CORPUS = ROOT / "tests/fuzz/corpus"
PARTS = {"self_attn.q_proj": "attn.query", "self_attn.k_proj": "attn.key", "self_attn.v_proj": "attn.value",
         "self_attn.out_proj": "attn.out", "self_attn_layer_norm": "attn_ln", "encoder_attn.q_proj": "cross_attn.query",
         "encoder_attn.k_proj": "cross_attn.key", "encoder_attn.v_proj": "cross_attn.value",
         "encoder_attn.out_proj": "cross_attn.out", "encoder_attn_layer_norm": "cross_attn_ln", "fc1": "mlp.0",
         "fc2": "mlp.2", "final_layer_norm": "mlp_ln"}
WHOLE = {"encoder.embed_positions.weight": "encoder.positional_embedding",
         "decoder.embed_positions.weight": "decoder.positional_embedding",
         "decoder.embed_tokens.weight": "decoder.token_embedding.weight", "encoder.layer_norm": "encoder.ln_post",
         "decoder.layer_norm": "decoder.ln"}


def openai_name(name):
    name = name.removeprefix("model.")
    for theirs, ours in WHOLE.items():
        if name.startswith(theirs):
            return ours + name[len(theirs):]
    name = name.replace(".layers.", ".blocks.")
    for theirs, ours in PARTS.items():
        if f".{theirs}." in name:
            return name.replace(f".{theirs}.", f".{ours}.")
    return name


def write_ctranslate2():
    for quantization in ("float16", "int8"):
        target = FOLDER / f"ct2_{quantization}"
        TransformersConverter(str(SOURCE)).convert(str(target), quantization=quantization, force=True)
        settings = json.loads((target / "config.json").read_text())
        (target / "config.json").write_text(json.dumps(settings, indent=1) + "\n")


def write_int8():
    """Integers divided by the scales of their rows, as CTranslate2's documentation of quantization says."""
    variables = read_variables(FOLDER / "ct2_int8/model.bin")
    scaled = {}
    for name, value in variables.items():
        if name + "_scale" in variables:
            scale = variables[name + "_scale"]
            scaled[name] = value.astype(np.float32) / scale.reshape(-1, *[1] * (value.ndim - 1))
    tensors = {name: tensor.contiguous() for name, tensor in state_of(scaled).items()}
    safetensors.torch.save_file(tensors, FOLDER / "int8.safetensors")


def write_openai(weights, config):
    state = {openai_name(name): tensor.clone() for name, tensor in weights.items()}
    transposed = "encoder.blocks.0.mlp.0.weight"
    state[transposed] = state[transposed].t().contiguous().t()
    cut = "decoder.ln.bias"
    larger = torch.zeros(3, state[cut].numel(), dtype=state[cut].dtype)
    larger[1] = state[cut]
    state[cut] = larger[1]
    dims = {"n_mels": config["num_mel_bins"], "n_vocab": config["vocab_size"],
            "n_audio_ctx": config["max_source_positions"], "n_audio_state": config["d_model"],
            "n_audio_head": config["encoder_attention_heads"], "n_audio_layer": config["encoder_layers"],
            "n_text_ctx": config["max_target_positions"], "n_text_state": config["d_model"],
            "n_text_head": config["decoder_attention_heads"], "n_text_layer": config["decoder_layers"]}
    torch.save({"dims": dims, "model_state_dict": state}, FOLDER / "openai.pt")
    return dims


def q8_0(values):
    blocks = values.astype(np.float32).reshape(-1, 32)
    scale = (np.abs(blocks).max(1) / 127).astype(np.float16)
    inverse = np.divide(1, scale.astype(np.float32), out=np.zeros(len(scale), np.float32), where=scale != 0)
    quants = np.round(blocks * inverse[:, None]).clip(-127, 127).astype(np.int8)
    return b"".join(scale[i].tobytes() + quants[i].tobytes() for i in range(len(blocks)))


def ggml_tensor(name, values, kind):
    """`kind` 0: float32, 1: float16, 8: blocks of 8 bits."""
    data = values.astype(np.float16).tobytes() if kind == 1 else q8_0(values) if kind == 8 else \
        values.astype(np.float32).tobytes()
    header = struct.pack("<iii", values.ndim, len(name), kind) + struct.pack(f"<{values.ndim}i", *values.shape[::-1])
    return header + name.encode() + data


def ggml_file(dims, tokens, tensors, file_type):
    out = struct.pack("<I", 0x67676d6c)
    out += struct.pack("<11i", dims["n_vocab"], dims["n_audio_ctx"], dims["n_audio_state"], dims["n_audio_head"],
                       dims["n_audio_layer"], dims["n_text_ctx"], dims["n_text_state"], dims["n_text_head"],
                       dims["n_text_layer"], dims["n_mels"], file_type)
    out += struct.pack("<ii", dims["n_mels"], 201) + np.zeros((dims["n_mels"], 201), np.float32).tobytes()
    out += struct.pack("<i", len(tokens)) + b"".join(struct.pack("<i", len(token)) + token for token in tokens)
    return out + b"".join(ggml_tensor(*tensor) for tensor in tensors)


def write_ggml(weights, dims):
    for name, kind, file_type in (("float16", 1, 1), ("q8_0", 8, 7)):
        tensors = []
        for theirs, tensor in weights.items():
            ours = openai_name(theirs)
            values = tensor.float().numpy()
            if ours in ("encoder.conv1.bias", "encoder.conv2.bias"):
                values = values.reshape(-1, 1)
            is_small = tensor.dim() < 2 or "positional_embedding" in ours
            fits = values.ndim == 2 and values.shape[-1] % 32 == 0
            tensors.append((ours, values, 0 if is_small else kind if kind == 1 or fits else 1))
        tokens = [bytes([byte]) for byte in range(256)]
        (FOLDER / f"ggml-{name}.bin").write_bytes(ggml_file(dims, tokens, tensors, file_type))


def write_seeds():
    def target(name):
        folder = CORPUS / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def text(value):
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    variables = [("a/weight", (2, 3), 4, np.arange(6, dtype=np.float16).tobytes()), ("num_heads", (), 2, b"\2\0"),
                 ("b/weight", (2, 4), 1, bytes(range(8))), ("b/weight_scale", (2,), 0, struct.pack("<2f", 3, 5))]
    model = struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, len(variables))
    for name, shape, kind, data in variables:
        model += text(name) + struct.pack("<B", len(shape)) + struct.pack(f"<{len(shape)}I", *shape)
        model += struct.pack("<BI", kind, len(data)) + data
    (target("fuzz_ctranslate2") / "model.bin").write_bytes(model + struct.pack("<I", 1) + text("c") + text("a/weight"))

    dims = dict.fromkeys(("n_vocab", "n_audio_ctx", "n_audio_state", "n_audio_head", "n_audio_layer", "n_text_ctx",
                          "n_text_state", "n_text_head", "n_text_layer", "n_mels"), 1)
    values = np.arange(64, dtype=np.float32).reshape(2, 32)
    tensors = [("w", values, 8), ("v", values[0], 0), ("u", values.reshape(2, 4, 8), 1)]
    (target("fuzz_ggml") / "model.bin").write_bytes(ggml_file(dims, [b"a", b"", b"\xff"], tensors, 1))

    folder = target("fuzz_torch")
    tensors = {"x": torch.arange(6.0).reshape(2, 3), "y": torch.arange(6).reshape(2, 3).t(),
               "z": torch.nn.Parameter(torch.ones(2, dtype=torch.float16))}
    for name, value in {"state.pt": {"dims": {"n": 7, "f": 0.5, "none": None, "yes": True}, "model_state_dict": tensors},
                        "module.pt": torch.nn.LayerNorm(3).state_dict()}.items():
        buffer = io.BytesIO()
        torch.save(value, buffer)
        (folder / name).write_bytes(buffer.getvalue())


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    weights = safetensors.torch.load_file(SOURCE / "model.safetensors")
    config = json.loads((SOURCE / "config.json").read_text())
    write_ctranslate2()
    write_int8()
    write_ggml(weights, write_openai(weights, config))
    write_seeds()
    versions = {"torch": torch.__version__, "ctranslate2": ctranslate2.__version__}
    (FOLDER / "versions.json").write_text(json.dumps(versions, indent=1) + "\n")


if __name__ == "__main__":
    main()
