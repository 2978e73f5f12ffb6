#!/usr/bin/env python3
"""Makes the goldens of Hugging Face checkpoints: tiny random models with transformers, and what they compute.

Writes tests/data/huggingface/<case>/ (config.json, safetensors, preprocessor_config.json, tokenizer files and
golden.safetensors with inputs and expected outputs) and tests/data/huggingface/tokenizer.json (texts and their ids).
Needs torch, transformers, safetensors and numpy; nothing of the project runs it but the person who renews the goldens.
The versions that made the committed files stand in tests/data/huggingface/versions.json.
"""

import argparse
import collections
import json
import random
import shutil
from pathlib import Path

import numpy
import safetensors.torch
import torch
import transformers
from transformers import (CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer, CLIPVisionModelWithProjection,
                          CLIPVisionConfig, ConvNextImageProcessor, ResNetConfig, ResNetForImageClassification,
                          ResNetModel, ViTConfig, ViTForImageClassification, ViTImageProcessor, ViTModel)

SEED = 20260101
START, END = "<|startoftext|>", "<|endoftext|>"
# What the merges are learned from: everyday captions, other scripts, code.
CORPUS = """
a photo of a cat sitting on the table a photo of a dog running in the park the quick brown fox jumps over the lazy dog
people walking down a street in the rain a man riding a bicycle a woman holding an umbrella the cat's and the dog's
don't won't they've we're i'll i'd it's an aerial view of the city at night a bowl of fruit on a wooden table
ein Foto von einer Katze, die Straße über die Brücke größer schöner Mädchen une photo d'un chien élève garçon où été
фотография собаки и кошки в парке 猫の写真 犬が公園を走る 사진 고양이 صورة قطة 北京 東京 for (int i = 0; i < n; ++i) return x[i] != 0;
"""
TEXTS = [
    "a photo of a cat", "", " ", "A PHOTO OF A CAT", "the cat's pyjamas, don't they've we're I'll I'D it'S", "hello   world\t\n again",
    "naïve café résumé", "nai\u0308ve cafe\u0301", "Straße GROSS ẞ İstanbul ΣΑΣ Ωμέγα", "фотография собаки", "猫の写真と犬", "고양이 사진",
    "صورة قطة", "हिन्दी में तस्वीर", "😀 a photo of a 🐈‍⬛ cat 👩‍👩‍👧", "x[i] != 0; for (int i = 0; i < n; ++i) {}", "1234567890 3.14 ½ Ⅳ ٣",
    "a" * 60, "!?!?...---'s'", "<|endoftext|>", "a <|startoftext|> b<|endoftext|>c", "A <|EndOfText|> B", "under_score snake_case",
    "tab\tnewline\u2028separator\u00a0nbsp\u3000wide", "zero\u200bwidth\u200djoiner", "e\u0301\u0327 \u1e69 \ufb01", "don’t ‘quoted’ “text”",
    "https://example.org/?q=1&x=%20", "'tis 'twas rock 'n' roll 'llama 'remarkable", "\u0000control\u0007", "a photo of a dog in the park " * 6,
]
DAMAGED = ["ff", "61ff62", "c3", "e29c", "f09f98", "61eda08062", "c080", "616263f8888080806465"]


def learn_tokenizer(num_merges):
    """Byte-pair encoding of CORPUS as CLIP's vocabulary is built: bytes, bytes at a word's end, merges, specials."""
    byte_characters = [b for b in range(256) if 0x21 <= b <= 0x7E or 0xA1 <= b <= 0xAC or b >= 0xAE]
    alphabet, extra = {b: chr(b) for b in byte_characters}, 0
    order = list(byte_characters)
    for byte in range(256):
        if byte not in alphabet:
            alphabet[byte] = chr(256 + extra)
            order.append(byte)
            extra += 1
    words = collections.Counter(CORPUS.lower().split())
    pieces = {}
    for word in words:
        symbols = [alphabet[byte] for byte in word.encode()]
        symbols[-1] += "</w>"
        pieces[word] = symbols
    merges = []
    while len(merges) < num_merges:
        pairs = collections.Counter()
        for word, count in words.items():
            for pair in zip(pieces[word], pieces[word][1:]):
                pairs[pair] += count
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        for word, symbols in pieces.items():
            joined, i = [], 0
            while i < len(symbols):
                if tuple(symbols[i:i + 2]) == best:
                    joined.append(symbols[i] + symbols[i + 1])
                    i += 2
                else:
                    joined.append(symbols[i])
                    i += 1
            pieces[word] = joined
    tokens = [alphabet[b] for b in order] + [alphabet[b] + "</w>" for b in order] + ["".join(m) for m in merges]
    tokens = list(dict.fromkeys(tokens)) + [START, END]
    return {token: index for index, token in enumerate(tokens)}, merges


def write_tokenizer(folder, vocab, merges):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges), encoding="utf-8")
    (folder / "special_tokens_map.json").write_text(json.dumps({"pad_token": END}), encoding="utf-8")


def randomise(model, generator):
    """Weights large enough that a wrong operator shows, small enough that nothing saturates."""
    state = model.state_dict()
    for name, tensor in state.items():
        if not tensor.is_floating_point() or name == "logit_scale":
            continue
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("running_var"):
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
        elif tensor.dim() >= 2:
            fan_in = tensor[0].numel() if "embedding" not in name else 4
            tensor.copy_(noise * (1.5 / fan_in**0.5))
        elif name.endswith("weight"):
            tensor.copy_(1.0 + 0.2 * noise)
        else:
            tensor.copy_(0.2 * noise)
    model.load_state_dict(state)
    return model.eval()


def save(root, name, model, tensors, processor=None, **options):
    folder = root / name
    model.save_pretrained(folder, **options)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if processor is not None:
        processor.save_pretrained(folder)
    safetensors.torch.save_file({key: value.detach().contiguous() for key, value in tensors.items()},
                                folder / "golden.safetensors")


def pictures(generator, height, width, count=2):
    return torch.randn((count, 3, height, width), generator=generator)


def make_models(root, vocab, merges):
    generator = torch.Generator().manual_seed(SEED)
    small = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40)

    x = pictures(generator, 32, 32)
    model = randomise(ViTForImageClassification(ViTConfig(**small, image_size=32, patch_size=8, num_labels=3, id2label={
        0: "cat", 1: "dog", 2: "driver's seat"}, label2id={"cat": 0, "dog": 1, "driver's seat": 2})), generator)
    save(root, "vit_classifier", model, {"pixel_values": x, "logits": model(x).logits},
         ViTImageProcessor(size={"height": 32, "width": 32}))

    x = pictures(generator, 33, 20)  # 33 is no multiple of the patch: the last row is left out
    model = randomise(ViTModel(ViTConfig(**small, image_size=(33, 20), patch_size=(10, 5), qkv_bias=False,
                                         hidden_act="gelu_new", layer_norm_eps=1e-3)), generator)
    save(root, "vit_pooler", model, {"pixel_values": x, "pooler_output": model(x).pooler_output},
         ViTImageProcessor(size={"height": 33, "width": 20}), max_shard_size="16KB")

    model = randomise(ViTModel(ViTConfig(**small, image_size=16, patch_size=16, hidden_act="relu"),
                               add_pooling_layer=False), generator).to(torch.bfloat16)
    x = pictures(generator, 16, 16)
    whole = ViTModel(model.config, add_pooling_layer=False)
    whole.load_state_dict({key: value.float() for key, value in model.state_dict().items()})
    save(root, "vit_bfloat16", model, {"pixel_values": x, "class_token": whole.eval()(x).last_hidden_state[:, 0]})

    tokenizer = CLIPTokenizer(vocab=vocab, merges=merges)
    texts = ["a photo of a cat", "a photo of a dog running in the park and then some more words", ""]
    ids = tokenizer(texts, padding="max_length", max_length=11, truncation=True, return_tensors="pt").input_ids
    x = pictures(generator, 30, 30)
    config = CLIPConfig(
        text_config=dict(hidden_size=20, num_hidden_layers=2, num_attention_heads=2, intermediate_size=28,
                         vocab_size=len(vocab), max_position_embeddings=11, eos_token_id=vocab[END],
                         bos_token_id=vocab[START], pad_token_id=vocab[END]),
        vision_config=dict(**small, image_size=30, patch_size=10), projection_dim=18)
    model = randomise(CLIPModel(config), generator)
    result = model(input_ids=ids, pixel_values=x)
    image = model.visual_projection(model.vision_model(x).pooler_output)
    text = model.text_projection(model.text_model(ids).pooler_output)
    save(root, "clip", model, {"pixel_values": x, "input_ids": ids, "image_embeds": image, "text_embeds": text,
                               "logits_per_image": result.logits_per_image},
         CLIPImageProcessor(size={"shortest_edge": 30}, crop_size={"height": 30, "width": 30}))
    write_tokenizer(root / "clip", vocab, merges)

    # A configuration from before eos_token_id was mended: the end token is then the one with the highest id.
    config.text_config.eos_token_id, config.text_config.hidden_act = 2, "gelu"
    model = randomise(CLIPModel(config), generator)
    text = model.text_projection(model.text_model(ids).pooler_output)
    image = model.visual_projection(model.vision_model(x).pooler_output)
    save(root, "clip_old_end", model, {"pixel_values": x, "input_ids": ids, "image_embeds": image, "text_embeds": text})
    write_tokenizer(root / "clip_old_end", vocab, merges)

    model = randomise(CLIPVisionModelWithProjection(CLIPVisionConfig(**small, image_size=21, patch_size=7,
                                                                     projection_dim=5)), generator)
    x = pictures(generator, 21, 21)
    save(root, "clip_vision", model, {"pixel_values": x, "image_embeds": model(x).image_embeds})

    x = pictures(generator, 56, 56)
    model = randomise(ResNetForImageClassification(ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 12], depths=[1, 2], layer_type="basic", num_labels=5)), generator)
    save(root, "resnet_basic", model, {"pixel_values": x, "logits": model(x).logits},
         ConvNextImageProcessor(size={"shortest_edge": 56}, crop_pct=0.875))

    x = pictures(generator, 45, 37, count=1)
    model = randomise(ResNetModel(ResNetConfig(
        embedding_size=6, hidden_sizes=[16, 24], depths=[2, 1], layer_type="bottleneck", hidden_act="silu",
        downsample_in_first_stage=True, downsample_in_bottleneck=True)), generator)
    save(root, "resnet_bottleneck", model, {"pixel_values": x, "pooler_output": model(x).pooler_output.flatten(1)},
         ViTImageProcessor(size={"height": 45, "width": 37}))

    x = pictures(generator, 32, 32)
    model = randomise(ResNetForImageClassification(ResNetConfig(
        embedding_size=8, hidden_sizes=[16, 32], depths=[1, 1], layer_type="bottleneck", num_labels=4,
        problem_type="multi_label_classification")), generator)
    save(root, "resnet_multi_label", model, {"pixel_values": x, "logits": model(x).logits},
         ViTImageProcessor(size={"height": 32, "width": 32}))
    return tokenizer


def make_tokenizer_goldens(path, tokenizer):
    generator = random.Random(SEED)
    texts = list(TEXTS)
    ranges = [(0x20, 0x7F), (0xA0, 0x180), (0x370, 0x590), (0x600, 0x6FF), (0x900, 0x980), (0x2000, 0x2070),
              (0x3040, 0x3100), (0x4E00, 0x4F00), (0xAC00, 0xAD00), (0x1F600, 0x1F650)]
    for _ in range(120):
        first, last = generator.choice(ranges)
        texts.append("".join(chr(generator.randrange(first, last)) if generator.random() < 0.7 else
                             generator.choice(" 'a.S1") for _ in range(generator.randrange(1, 14))))
    cases = [{"text": text, "ids": tokenizer(text, max_length=77, truncation=True).input_ids} for text in texts]
    cases += [{"hex": damaged, "ids": tokenizer(bytes.fromhex(damaged).decode("utf-8", "replace"), max_length=77,
                                               truncation=True).input_ids} for damaged in DAMAGED]
    path.write_text(json.dumps(cases, ensure_ascii=True, indent=0), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path,
                        default=Path(__file__).resolve().parents[2] / "tests" / "data" / "huggingface")
    out = parser.parse_args().out
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    torch.set_grad_enabled(False)
    vocab, merges = learn_tokenizer(150)
    tokenizer = make_models(out, vocab, merges)
    make_tokenizer_goldens(out / "tokenizer.json", tokenizer)
    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "numpy": numpy.__version__,
                "seed": SEED}
    (out / "versions.json").write_text(json.dumps(versions, indent=2) + "\n", encoding="utf-8")
    total = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    print(f"{out}: {total / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
