#!/usr/bin/env python3
"""Writes tests/data/whisper/decode.json: the tokens that transformers decodes from a recording with the published weights
of Whisper base and tiny.en, at float32, the most probable token at every step.

The weights are those of .deps/models/whisper-* (CTranslate2), read here by themselves and put into transformers' model.
Needs torch and transformers, ./dev setup, and the recordings of Debian's pocketsphinx-testdata.
"""

import json
import pathlib
import struct
import wave

import numpy as np
import torch
import transformers
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CLIPS = pathlib.Path("/usr/share/pocketsphinx/test/data/librivox")
CLIP = "sense_and_sensibility_01_austen_64kb-0870.wav"
# start of transcript, English, transcribe, no timestamps; the English model has one task and one language.
PROMPTS = {"whisper-base": [50258, 50259, 50359, 50363], "whisper-tiny.en": [50257, 50362]}
TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}


def read_variables(path):
    data, place, variables = path.read_bytes(), 0, {}

    def number(kind):
        nonlocal place
        value, = struct.unpack_from("<" + kind, data, place)
        place += struct.calcsize(kind)
        return value

    def text():
        nonlocal place
        length = number("H")
        place += length
        return data[place - length:place - 1].decode()

    assert number("I") == 6
    text(), number("I")
    for _ in range(number("I")):
        name = text()
        shape = [number("I") for _ in range(number("B"))]
        kind, size = number("B"), number("I")
        variables[name] = np.frombuffer(data, TYPES[kind], offset=place, count=size // TYPES[kind]().itemsize).reshape(shape)
        place += size
    return variables


def state_of(variables):
    """transformers' names; the fused matrices are cut."""
    whole = {"conv1/weight": "conv1.weight", "conv1/bias": "conv1.bias", "conv2/weight": "conv2.weight",
             "conv2/bias": "conv2.bias", "position_encodings/encodings": "embed_positions.weight",
             "embeddings/weight": "embed_tokens.weight", "layer_norm/gamma": "layer_norm.weight",
             "layer_norm/beta": "layer_norm.bias"}
    parts = {"self_attention/linear_0": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
             "self_attention/linear_1": ["self_attn.out_proj"], "attention/linear_0": ["encoder_attn.q_proj"],
             "attention/linear_1": ["encoder_attn.k_proj", "encoder_attn.v_proj"],
             "attention/linear_2": ["encoder_attn.out_proj"], "ffn/linear_0": ["fc1"], "ffn/linear_1": ["fc2"]}
    norms = {"self_attention/layer_norm": "self_attn_layer_norm", "attention/layer_norm": "encoder_attn_layer_norm",
             "ffn/layer_norm": "final_layer_norm"}
    state = {}
    for name, value in variables.items():
        side, _, inner = name.partition("/")
        if inner in whole:
            state[f"model.{side}.{whole[inner]}"] = value
            continue
        if not inner.startswith("layer_"):
            continue
        layer, _, inner = inner.partition("/")
        path, _, end = inner.rpartition("/")
        prefix = f"model.{side}.layers.{layer.removeprefix('layer_')}."
        if path in norms:
            state[prefix + norms[path] + {"gamma": ".weight", "beta": ".bias"}[end]] = value
        elif path in parts:
            for piece, part in zip(np.split(value, len(parts[path])), parts[path]):
                if part.endswith("k_proj") and end == "bias":
                    assert not piece.any()
                else:
                    state[prefix + part + "." + end] = piece
    return {name: torch.from_numpy(np.array(value, np.float32)) for name, value in state.items()}


def decode(folder, prompt, samples):
    variables = read_variables(folder / "model.bin")
    state = state_of(variables)
    layers = [sum(f"model.{side}.layers.{i}.fc1.weight" in state for i in range(64)) for side in ("encoder", "decoder")]
    vocab, width = state["model.decoder.embed_tokens.weight"].shape
    heads = int(variables["encoder/num_heads"])
    model = WhisperForConditionalGeneration(WhisperConfig(
        vocab_size=vocab, d_model=width, encoder_layers=layers[0], decoder_layers=layers[1],
        encoder_attention_heads=heads, decoder_attention_heads=heads, encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width, max_target_positions=448)).eval()
    missing = model.load_state_dict(state, strict=False)
    assert missing.missing_keys == ["proj_out.weight"] and not missing.unexpected_keys, missing
    features = WhisperFeatureExtractor()(samples, sampling_rate=16000, return_tensors="pt").input_features
    tokens, cache, step = list(prompt), None, torch.tensor([prompt])
    with torch.no_grad():
        encoded = model.model.encoder(features)
        while True:
            result = model(encoder_outputs=encoded, decoder_input_ids=step, past_key_values=cache, use_cache=True)
            cache = result.past_key_values
            tokens.append(int(result.logits[0, -1].argmax()))
            if tokens[-1] == prompt[0] - 1 or len(tokens) == 100:  # the end stands before the start in the vocabulary
                return tokens
            step = torch.tensor([tokens[-1:]])


def main():
    with wave.open(str(CLIPS / CLIP)) as file:
        assert file.getframerate() == 16000 and file.getnchannels() == 1
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32768
    golden = {"clip": CLIP, "versions": {"torch": torch.__version__, "transformers": transformers.__version__}}
    for name, prompt in PROMPTS.items():
        golden[name] = {"prompt": prompt, "tokens": decode(ROOT / ".deps/models" / name, prompt, samples)[len(prompt):]}
    (ROOT / "tests/data/whisper/decode.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
