#!/usr/bin/env python3
"""Makes tests/data/text/sampling_goldens.json: what transformers' logits processors make of logits.

Each case has logits (drawn from the seed in the file's head, rounded so that their text is short), a history, options,
perhaps a mask, and the tokens left after the processors in transformers' own order, with their probabilities.
Frequency and presence penalties, which transformers lacks, follow OpenAI's formula. A case whose outcome hangs on
rounding is drawn again. Run with Python, torch and transformers:

    make_sampling_goldens.py tests/data/text/sampling_goldens.json
"""

import json
import random
import sys
from pathlib import Path

import torch
import transformers
from transformers.generation import logits_process

NUM_CASES = 160


def close_to_a_boundary(scores, options):
    """Whether the mass up to some token is so near a limit that rounding decides."""
    scores = scores.double() / options["temperature"]
    if options.get("top_k"):
        kept = torch.topk(scores, min(options["top_k"], len(scores))).values[-1]
        scores = scores.masked_fill(scores < kept, -float("inf"))
    probabilities = scores.softmax(-1)
    masses = probabilities.sort(descending=True).values.cumsum(-1)
    if "top_p" in options:
        if (masses - options["top_p"]).abs().min() < 1e-4:
            return True
        order = probabilities.sort(descending=True)
        keep = (masses - order.values) < options["top_p"]
        probabilities = torch.zeros_like(probabilities).scatter(0, order.indices[keep], order.values[keep])
    if "min_p" in options:
        limit = options["min_p"] * probabilities.max()
        if ((probabilities - limit).abs() / limit).min() < 1e-4:
            return True
        probabilities = probabilities * (probabilities >= limit)
    if "typical_p" in options:
        probabilities = probabilities / probabilities.sum()
        kept = probabilities[probabilities > 0]
        entropy = -(kept * kept.log()).sum()
        order = (-kept.log() - entropy).abs().sort()
        masses = kept[order.indices].cumsum(-1)
        if (masses - options["typical_p"]).abs().min() < 1e-4:
            return True
        if len(order.values) > 1 and (order.values[1:] - order.values[:-1]).min() < 1e-6:
            return True
    return False


def draw_case(generator):
    vocab_size = generator.choice([2, 7, 33, 64, 97, 300])
    spread = generator.choice([0.5, 2.0, 5.0])
    logits = [round(generator.gauss(0, spread), 4) for _ in range(vocab_size)]
    if len(set(logits)) < vocab_size:
        return None
    options = {"temperature": generator.choice([0.3, 0.7, 1.0, 1.0, 1.5])}
    if generator.random() < 0.4:
        options["top_k"] = generator.choice([1, 2, 5, 20, 50, 1000])
    if generator.random() < 0.5:
        options["top_p"] = generator.choice([0.05, 0.5, 0.9, 0.95, 0.999])
    if generator.random() < 0.3:
        options["min_p"] = generator.choice([0.01, 0.05, 0.3])
    if generator.random() < 0.25:
        options["typical_p"] = generator.choice([0.2, 0.5, 0.9, 0.95])
    if generator.random() < 0.3:
        options["repetition_penalty"] = generator.choice([0.8, 1.1, 1.3])
    if generator.random() < 0.2:
        options["frequency_penalty"] = generator.choice([-0.5, 0.4, 1.5])
    if generator.random() < 0.2:
        options["presence_penalty"] = generator.choice([-0.7, 0.6])
    if generator.random() < 0.2:
        tokens = generator.sample(range(vocab_size), min(3, vocab_size))
        options["logit_bias"] = [[token, generator.choice([-5.0, -0.5, 1.0, 4.0])] for token in tokens]
    prompt = [generator.randrange(vocab_size) for _ in range(generator.choice([0, 1, 12]))]
    output = [generator.randrange(vocab_size) for _ in range(generator.choice([0, 1, 12]))]
    case = {"logits": logits, "prompt": prompt, "output": output, "options": options}
    if generator.random() < 0.3:
        case["allowed"] = sorted(generator.sample(range(vocab_size), max(1, vocab_size // 2)))

    scores = torch.tensor([logits])
    if "allowed" in case:
        allowed = logits_process.PrefixConstrainedLogitsProcessor(lambda batch, ids: case["allowed"], 1)
        scores = allowed(torch.zeros((1, 0), dtype=torch.long), scores)
    history = torch.tensor([prompt + output], dtype=torch.long)
    if "logit_bias" in options:
        bias = logits_process.SequenceBiasLogitsProcessor([[[token], value] for token, value in options["logit_bias"]])
        scores = bias(history, scores)
    if "repetition_penalty" in options:
        scores = logits_process.RepetitionPenaltyLogitsProcessor(options["repetition_penalty"])(history, scores)
    counts = torch.bincount(torch.tensor(output, dtype=torch.long), minlength=vocab_size).float()
    scores = scores - options.get("frequency_penalty", 0) * counts - options.get("presence_penalty", 0) * (counts > 0)
    if close_to_a_boundary(scores[0], options):
        return None
    warpers = [logits_process.TemperatureLogitsWarper(options["temperature"])]
    if "top_k" in options:
        warpers.append(logits_process.TopKLogitsWarper(options["top_k"]))
    if "top_p" in options:
        warpers.append(logits_process.TopPLogitsWarper(options["top_p"]))
    if "min_p" in options:
        warpers.append(logits_process.MinPLogitsWarper(options["min_p"]))
    if "typical_p" in options:
        warpers.append(logits_process.TypicalLogitsWarper(options["typical_p"]))
    for warper in warpers:
        scores = warper(history, scores)
    probabilities = scores[0].softmax(-1)
    kept = torch.nonzero(torch.isfinite(scores[0])).flatten().tolist()
    case["tokens"] = kept
    case["probabilities"] = [float(f"{probabilities[token].item():.7g}") for token in kept]
    logprobs = torch.tensor(logits, dtype=torch.float64).log_softmax(-1)
    case["raw_logprob_of_token_0"] = float(f"{logprobs[0].item():.8g}")
    return case


def main():
    generator = random.Random(5)
    cases = []
    while len(cases) < NUM_CASES:
        case = draw_case(generator)
        if case is not None:
            cases.append(case)
    goldens = {"versions": {"torch": torch.__version__, "transformers": transformers.__version__}, "cases": cases}
    text = json.dumps(goldens, separators=(",", ":")).replace('},{"logits"', '},\n{"logits"')
    Path(sys.argv[1]).write_text(text + "\n")


if __name__ == "__main__":
    main()
