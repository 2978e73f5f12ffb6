#!/usr/bin/env python3
"""Makes the Whisper fixtures: tiny random checkpoints as transformers writes them, and what transformers computes with
them.

Writes tests/data/whisper/<case>/{config.json,generation_config.json,model.safetensors,tokenizer.json,
golden.safetensors} and versions.json. golden.safetensors holds features [3, mels, frames], cross_key.N and cross_value.N
of them as the graphs of docs/audio.md have them, input_ids [3, 5, tokens] (three chunks, five texts each, that share
their first tokens), logits [3, 5, tokens, vocab], and alignment [heads, tokens, positions] of the first text of the first
chunk. That steps with a cache give the same rows is asserted here. Needs torch, transformers, tokenizers and
safetensors; nothing of the project runs it but the person who renews the goldens.
"""

import argparse
import json
import pathlib

import safetensors.torch
import tokenizers
import torch
import transformers
from transformers import WhisperConfig, WhisperForConditionalGeneration

SEED = 20260311
NUM_CHUNKS, NUM_TEXTS, NUM_TOKENS, NUM_SHARED = 3, 5, 7, 3
MERGES = [("Ġ", "t"), ("h", "e"), ("Ġt", "he")]
SPECIAL = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>", "<|transcribe|>",
           "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]


def make_tokenizer(num_positions):
    """Bytes, three merges, the special tokens, and a timestamp for every position of the encoder and the end."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(alphabet + ["".join(pair) for pair in MERGES])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, MERGES))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.add_special_tokens([tokenizers.AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    tokenizer.add_tokens([tokenizers.AddedToken(f"<|{0.02 * i:.2f}|>", normalized=False)
                          for i in range(num_positions + 1)])
    return tokenizer


def cases():
    # Heads, widths and layers of encoder and decoder all differ, so that none can stand for another.
    yield "tiny", dict(num_mel_bins=8, max_source_positions=20, max_target_positions=32, d_model=24, encoder_layers=2,
                       decoder_layers=3, encoder_attention_heads=2, decoder_attention_heads=3, encoder_ffn_dim=36,
                       decoder_ffn_dim=40), torch.float32
    yield "tiny_half", dict(num_mel_bins=5, max_source_positions=16, max_target_positions=24, d_model=32,
                            encoder_layers=1, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=2,
                            encoder_ffn_dim=44, decoder_ffn_dim=64), torch.float16


def randomise(model, dtype):
    """Weights that make every part of the network matter; rounded to what the file stores."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() >= 2:
                value = torch.randn(parameter.shape) * (1.4 / parameter[0].numel() ** 0.5)
                if "embed_tokens" in name or "embed_positions" in name:
                    value = torch.randn(parameter.shape) * 0.7
            elif "norm" in name and name.endswith("weight"):
                value = torch.randn(parameter.shape) * 0.2 + 1
            else:
                value = torch.randn(parameter.shape) * 0.3
            parameter.copy_(value.to(dtype).float())
    return model.eval()


def cross_values(model, encoded):
    tensors = {}
    for i, layer in enumerate(model.model.decoder.layers):
        attention = layer.encoder_attn
        heads = (*encoded.shape[:2], attention.num_heads, attention.head_dim)
        tensors[f"cross_key.{i}"] = attention.k_proj(encoded).view(heads).permute(0, 2, 3, 1).contiguous()
        tensors[f"cross_value.{i}"] = attention.v_proj(encoded).view(heads).permute(0, 2, 1, 3).contiguous()
    return tensors


def decode(model, encoded, ids, cache=None):
    return model(decoder_input_ids=ids, encoder_outputs=(encoded,), past_key_values=cache, use_cache=cache is not None,
                 output_attentions=True)


def write_case(folder, name, sizes, dtype):
    torch.manual_seed(SEED + sum(map(ord, name)))
    tokenizer = make_tokenizer(sizes["max_source_positions"])
    first = tokenizer.token_to_id(SPECIAL[0])
    config = WhisperConfig(vocab_size=tokenizer.get_vocab_size(), pad_token_id=first, bos_token_id=first,
                           eos_token_id=first, decoder_start_token_id=first + 1, suppress_tokens=None,
                           begin_suppress_tokens=None, **sizes)
    config._attn_implementation = "eager"  # the one that gives its attention
    model = randomise(WhisperForConditionalGeneration(config), dtype)
    heads = [[layer, head] for layer in range(config.decoder_layers) for head in range(config.decoder_attention_heads)
             if (layer + head) % 2 == 1]
    features = torch.randn(NUM_CHUNKS, config.num_mel_bins, 2 * config.max_source_positions) * 0.7
    shared = torch.randint(0, config.vocab_size, (NUM_CHUNKS, 1, NUM_SHARED)).expand(-1, NUM_TEXTS, -1)
    own = torch.randint(0, config.vocab_size, (NUM_CHUNKS, NUM_TEXTS, NUM_TOKENS - NUM_SHARED))
    ids = torch.cat([shared, own], -1)
    logits = torch.zeros(NUM_CHUNKS, NUM_TEXTS, NUM_TOKENS, config.vocab_size)
    with torch.no_grad():
        encoded = model.model.encoder(features).last_hidden_state
        for chunk in range(NUM_CHUNKS):
            for text in range(NUM_TEXTS):
                state, row = encoded[chunk:chunk + 1], ids[chunk, text:text + 1]
                result = decode(model, state, row)
                logits[chunk, text] = result.logits[0]
                if (chunk, text) == (0, 0):
                    alignment = torch.stack([result.cross_attentions[layer][0, head] for layer, head in heads])
                cache = transformers.EncoderDecoderCache(transformers.DynamicCache(), transformers.DynamicCache())
                steps = [decode(model, state, row[:, :NUM_SHARED], cache).logits]
                steps += [decode(model, state, row[:, i:i + 1], cache).logits for i in range(NUM_SHARED, NUM_TOKENS)]
                assert torch.allclose(torch.cat(steps, 1)[0], result.logits[0], atol=2e-5)
        tensors = cross_values(model, encoded)
    assert 0.5 < logits.std() < 20, logits.std()
    target = folder / name
    target.mkdir(parents=True, exist_ok=True)
    model.to(dtype).save_pretrained(target)
    tokenizer.save(str(target / "tokenizer.json"))
    settings = {"is_multilingual": True, "alignment_heads": heads, "suppress_tokens": [1, 2, 7],
                "begin_suppress_tokens": [tokenizer.token_to_id("Ġ"), first], "no_timestamps_token_id": first + 9}
    (target / "generation_config.json").write_text(json.dumps(settings, indent=1) + "\n")
    tensors |= {"features": features, "input_ids": ids.contiguous(), "logits": logits, "alignment": alignment}
    safetensors.torch.save_file({key: value.contiguous() for key, value in tensors.items()},
                                target / "golden.safetensors")
    for file in target.iterdir():
        file.chmod(0o644)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    root = pathlib.Path(__file__).resolve().parent.parent.parent
    parser.add_argument("--folder", type=pathlib.Path, default=root / "tests" / "data" / "whisper")
    folder = parser.parse_args().folder
    for name, sizes, dtype in cases():
        write_case(folder, name, sizes, dtype)
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    (folder / "versions.json").write_text(json.dumps(versions, indent=1) + "\n")


if __name__ == "__main__":
    main()
