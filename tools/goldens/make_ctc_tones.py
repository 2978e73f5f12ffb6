#!/usr/bin/env python3
"""Makes tests/data/ctc/tones: a tiny Wav2Vec2 that was taught a language of tones, so that tests can speak to it.

A letter is a tone of 100 ms (ABCDEF: 400, 650, 950, 1350, 1850, 2500 Hz) with 60 ms of silence behind it, a word ends with
200 ms more. The checkpoint is as transformers writes it. The training (a minute on one core) asserts that held-out
sentences are read without an error, in noise too. Needs torch, transformers and safetensors; nothing of the project runs
it but the person who renews the checkpoint.
"""

import argparse
import json
import pathlib
import shutil

import torch
from transformers import Wav2Vec2Config, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

SEED = 20261124
TOKENS = ["<pad>", "|", "A", "B", "C", "D", "E", "F"]
FREQUENCIES = {"A": 400, "B": 650, "C": 950, "D": 1350, "E": 1850, "F": 2500}
RATE, STRIDE, HEARD = 16000, 320, 615
LETTER, GAP, WORD_GAP = 1600, 960, 3200


def speak(text, lead):
    """Samples, and for each sample the token that is said there (the delimiter in the middle of a word's end)."""
    samples, labels = [torch.zeros(lead)], [torch.zeros(lead, dtype=torch.long)]
    for letter in text:
        if letter == " ":
            samples.append(torch.zeros(WORD_GAP))
            label = torch.zeros(WORD_GAP, dtype=torch.long)
            label[WORD_GAP // 4:3 * WORD_GAP // 4] = 1
            labels.append(label)
            continue
        time = torch.arange(LETTER) / RATE
        fade = torch.clamp(torch.minimum(torch.arange(LETTER), LETTER - torch.arange(LETTER)) / 160, max=1)
        samples += [fade * torch.sin(2 * torch.pi * FREQUENCIES[letter] * time), torch.zeros(GAP)]
        labels += [torch.full((LETTER,), TOKENS.index(letter)), torch.zeros(GAP, dtype=torch.long)]
    return torch.cat(samples), torch.cat(labels)


def draw_text(length):
    text = ""
    while len(text) < length:
        text += "".join("ABCDEF"[int(i)] for i in torch.randint(0, 6, (int(torch.randint(1, 6, ())),))) + " "
    return text.strip()


def example(num_samples):
    text = draw_text(30)
    samples, labels = speak(text, int(torch.randint(0, 4000, ())))
    samples, labels = samples[:num_samples], labels[:num_samples]
    samples = samples * (0.05 + torch.rand(())) + torch.randn(samples.shape) * 0.01 * torch.rand(())
    samples = (samples - samples.mean()) / torch.sqrt(samples.var(unbiased=False) + 1e-7)
    count = (num_samples - HEARD) // STRIDE + 1
    return samples, labels[torch.arange(count) * STRIDE + HEARD // 2]


def read(model, samples):
    ids = model(((samples - samples.mean()) / torch.sqrt(samples.var(unbiased=False) + 1e-7))[None]).logits[0].argmax(-1)
    letters = [TOKENS[i] for i, last in zip(ids.tolist(), [-1] + ids.tolist()) if i != last and i != 0]
    return " ".join("".join(letters).replace("|", " ").split())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    root = pathlib.Path(__file__).resolve().parent.parent.parent
    parser.add_argument("--folder", type=pathlib.Path, default=root / "tests" / "data" / "ctc" / "tones")
    folder = parser.parse_args().folder
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    config = Wav2Vec2Config(
        vocab_size=len(TOKENS), conv_dim=(16, 16, 16, 16, 16), conv_kernel=(10, 6, 4, 6, 3), conv_stride=(5, 4, 2, 4, 2),
        feat_extract_norm="layer", conv_bias=True, do_stable_layer_norm=True, hidden_size=20, num_hidden_layers=1,
        num_attention_heads=2, intermediate_size=32, num_conv_pos_embeddings=9, num_conv_pos_embedding_groups=2,
        apply_spec_augment=False, pad_token_id=0, hidden_dropout=0.0, attention_dropout=0.0, activation_dropout=0.0,
        feat_proj_dropout=0.0, final_dropout=0.0, layerdrop=0.0)
    heard, stride = 1, 1
    for kernel, step in zip(config.conv_kernel, config.conv_stride):
        heard += (kernel - 1) * stride
        stride *= step
    assert stride == STRIDE and heard == HEARD, (stride, heard)
    model = Wav2Vec2ForCTC(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    steps = 500
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for step in range(steps):
        samples, labels = zip(*(example(20000) for _ in range(6)))
        logits = model(torch.stack(samples)).logits
        count = min(logits.shape[1], labels[0].shape[0])
        loss = torch.nn.functional.cross_entropy(logits[:, :count].flatten(0, 1), torch.stack(labels)[:, :count].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            print(step + 1, round(loss.item(), 4), flush=True)
    model = model.eval().half().float()
    with torch.no_grad():
        for length in (1, 2, 5, 10, 20, 40, 80):
            text = draw_text(length)
            samples, _ = speak(text + " ", 1600)
            for noisy in (samples, 0.2 * samples + 0.002 * torch.randn(samples.shape)):
                assert read(model, noisy) == text, (text, read(model, noisy))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model.half().save_pretrained(folder)
    vocabulary = folder / "vocab.json"
    vocabulary.write_text(json.dumps({token: i for i, token in enumerate(TOKENS)}) + "\n")
    Wav2Vec2CTCTokenizer(str(vocabulary), unk_token=None, bos_token=None, eos_token=None).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
    for file in folder.iterdir():
        file.chmod(0o644)


if __name__ == "__main__":
    main()
