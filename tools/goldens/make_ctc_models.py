#!/usr/bin/env python3
"""Makes the CTC fixtures: tiny random Wav2Vec2 and HuBERT checkpoints as transformers writes them, and what transformers
computes with them.

Writes tests/data/ctc/<case>/{config.json,vocab.json,preprocessor_config.json,...,model.safetensors,golden.safetensors},
decode.json and versions.json. golden.safetensors holds samples [2, length], logits.N [2, frames, vocab] of their first N
samples, and masked.0, masked.1: the logits of a batch of unequal lengths with an attention mask, without the frames of
the padding. decode.json holds rows of token ids, and the text and the words with their frames that transformers'
tokenizer makes of them. Needs torch, transformers and safetensors; nothing of the project runs it but the person who
renews the goldens.
"""

import argparse
import json
import pathlib
import shutil

import safetensors.torch
import torch
import transformers
from transformers import (HubertConfig, HubertForCTC, Wav2Vec2Config, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor,
                          Wav2Vec2ForCTC, Wav2Vec2Processor)

SEED = 20261123
TOKENS = ["<pad>", "<s>", "</s>", "<unk>", "|", "E", "T", "A", "O", "N", "'", "Ä"]
NUM_SAMPLES, SHORTER = 4003, 2222
PUBLISHED = dict(conv_kernel=(10, 3, 3, 3, 3, 2, 2), conv_stride=(5, 2, 2, 2, 2, 2, 2))


def cases():
    # Widths, heads and groups all differ, so that none can stand for another.
    yield ("wav2vec2_group", Wav2Vec2Config, Wav2Vec2ForCTC, torch.float32,
           dict(conv_dim=(6, 10, 8, 8, 8, 8, 14), hidden_size=24, num_hidden_layers=2, num_attention_heads=3,
                intermediate_size=20, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, **PUBLISHED))
    yield ("wav2vec2_layer", Wav2Vec2Config, Wav2Vec2ForCTC, torch.float16,
           dict(conv_dim=(7, 9, 12), conv_kernel=(10, 3, 2), conv_stride=(5, 2, 2), conv_bias=True,
                feat_extract_norm="layer", do_stable_layer_norm=True, hidden_size=20, num_hidden_layers=3,
                num_attention_heads=2, intermediate_size=28, num_conv_pos_embeddings=7,
                num_conv_pos_embedding_groups=5, hidden_act="gelu_new", layer_norm_eps=1e-3))
    yield ("hubert_group", HubertConfig, HubertForCTC, torch.float32,
           dict(conv_dim=(8, 10), conv_kernel=(9, 4), conv_stride=(5, 3), feat_proj_layer_norm=False, hidden_size=18,
                num_hidden_layers=1, num_attention_heads=6, intermediate_size=24, num_conv_pos_embeddings=4,
                num_conv_pos_embedding_groups=2))
    yield ("hubert_batch", HubertConfig, HubertForCTC, torch.float32,
           dict(conv_dim=(8, 6), conv_kernel=(8, 3), conv_stride=(4, 2), feat_extract_norm="layer",
                conv_pos_batch_norm=True, do_stable_layer_norm=True, feat_extract_activation="relu", hidden_size=16,
                num_hidden_layers=2, num_attention_heads=4, intermediate_size=22, num_conv_pos_embeddings=5,
                num_conv_pos_embedding_groups=8))


def randomise(model, dtype):
    """Weights that make every part of the network matter; rounded to what the file stores."""
    with torch.no_grad():
        for name, value in list(model.named_parameters()) + list(model.named_buffers()):
            if not value.is_floating_point():
                continue
            if "running_var" in name or name.endswith("original0"):
                drawn = torch.rand(value.shape) + 0.5
            elif value.dim() >= 2:
                drawn = torch.randn(value.shape) * (1.4 / value[0].numel() ** 0.5)
            elif "norm" in name and name.endswith("weight"):
                drawn = torch.randn(value.shape) * 0.2 + 1
            else:
                drawn = torch.randn(value.shape) * 0.3
            value.copy_(drawn.to(dtype).float())
    return model.eval()


def rename_weight_norm(file):
    """The names that transformers wrote before PyTorch had parametrizations."""
    tensors = safetensors.torch.load_file(file)
    old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    renamed = {}
    for name, tensor in tensors.items():
        for new, short in old.items():
            name = name.replace(new, short)
        renamed[name] = tensor
    assert renamed.keys() != tensors.keys()
    safetensors.torch.save_file(renamed, file, {"format": "pt"})


def write_case(folder, name, config_class, model_class, dtype, sizes):
    torch.manual_seed(SEED + sum(map(ord, name)))
    target = folder / name
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    config = config_class(vocab_size=len(TOKENS), pad_token_id=0, apply_spec_augment=False, **sizes)
    config._attn_implementation = "eager"
    model = randomise(model_class(config), dtype)
    length = NUM_SAMPLES if "conv_dim" in sizes and len(sizes["conv_dim"]) == 7 else NUM_SAMPLES // 5
    shorter = SHORTER if length == NUM_SAMPLES else SHORTER // 5
    samples = torch.randn(2, length)
    tensors = {"samples": samples}
    receptive, stride = 1, 1
    for kernel, step in zip(config.conv_kernel, config.conv_stride):
        receptive += (kernel - 1) * stride
        stride *= step
    with torch.no_grad():
        for count in (receptive, receptive + stride - 1, receptive + stride, shorter, length):
            tensors[f"logits.{count}"] = model(samples[:, :count]).logits
            assert tensors[f"logits.{count}"].shape[1] == (count - receptive) // stride + 1
        if name == "wav2vec2_layer":  # Batch norm in the positions lets padding be heard, also behind a mask.
            padded, mask = samples.clone(), torch.ones(2, length, dtype=torch.long)
            padded[1, shorter:], mask[1, shorter:] = 0, 0
            logits = model(padded, attention_mask=mask).logits
            tensors["masked.0"] = logits[:1]
            tensors["masked.1"] = logits[1:, :(shorter - receptive) // stride + 1]
            assert torch.allclose(tensors["masked.1"], tensors[f"logits.{shorter}"][1:], atol=1e-5)
    assert 0.3 < tensors[f"logits.{length}"].std() < 20
    model.to(dtype).save_pretrained(target)
    if name == "wav2vec2_layer":
        rename_weight_norm(target / "model.safetensors")
    vocabulary = target / "vocab.json"
    vocabulary.write_text(json.dumps({token: i for i, token in enumerate(TOKENS)}, ensure_ascii=False) + "\n")
    tokenizer = Wav2Vec2CTCTokenizer(str(vocabulary), do_lower_case=name == "hubert_group")
    extractor = Wav2Vec2FeatureExtractor(do_normalize=name != "hubert_group",
                                         return_attention_mask=config.feat_extract_norm == "layer")
    if name == "hubert_batch":
        Wav2Vec2Processor(extractor, tokenizer).save_pretrained(target)
    else:
        tokenizer.save_pretrained(target)
        extractor.save_pretrained(target)
    safetensors.torch.save_file({key: value.contiguous() for key, value in tensors.items()},
                                target / "golden.safetensors")
    for file in target.iterdir():
        file.chmod(0o644)


def write_decode(folder):
    """Rows of ids with long runs, as a model gives them, decoded by transformers."""
    torch.manual_seed(SEED)
    tokenizer = Wav2Vec2CTCTokenizer(str(folder / "wav2vec2_group" / "vocab.json"))
    blank, delimiter = TOKENS.index("<pad>"), TOKENS.index("|")
    rows = []
    for length in (0, 1, 2, 7, 40, 120):
        ids = []
        while len(ids) < length:
            token = int(torch.randint(4, len(TOKENS), ()))
            if torch.rand(()) < 0.5:
                token = blank
            elif torch.rand(()) < 0.2:
                token = delimiter
            ids += [token] * int(torch.randint(1, 4, ()))
        ids = ids[:length]
        decoded = tokenizer.decode(ids, output_word_offsets=True) if ids else None
        words = [] if decoded is None else decoded.word_offsets
        rows.append({"ids": ids, "text": "" if decoded is None else decoded.text,
                     "words": [[word["word"], int(word["start_offset"]), int(word["end_offset"])] for word in words]})
    text = json.dumps({"tokens": TOKENS, "rows": rows}, ensure_ascii=False, indent=1)
    (folder / "decode.json").write_text(text + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    root = pathlib.Path(__file__).resolve().parent.parent.parent
    parser.add_argument("--folder", type=pathlib.Path, default=root / "tests" / "data" / "ctc")
    folder = parser.parse_args().folder
    for case in cases():
        write_case(folder, *case)
    write_decode(folder)
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    (folder / "versions.json").write_text(json.dumps(versions, indent=1) + "\n")


if __name__ == "__main__":
    main()
