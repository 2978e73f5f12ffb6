#!/usr/bin/env python3
"""Writes tests/data/language/gguf.json: what transformers' own GGUF reader and models, in float32, say of a text of ours
with the two published GGUF files that ./dev setup installs.

For each file: the token ids, the negative log-likelihood of each token but the first, and the largest logits of the
last place. Needs torch, transformers, gguf and accelerate; nothing of the project runs it but the person who renews the
goldens.
"""

import json
import pathlib

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXT = """The harbour was quiet when the ferry came in. Two gulls sat on the rail and watched the ropes being thrown, as
they had every morning since the summer began. A boy with a red bicycle waited at the gate; he carried letters for the
lighthouse, and a loaf of bread that was still warm. "You are late," said the captain, though the clock above the office
showed three minutes before seven. The boy laughed, pushed the bicycle over the plank, and found a place beside the
engine room, where it was warm. In winter the crossing takes forty minutes, because the ferry has to keep behind the
breakwater as long as it can; in summer it takes twenty-five. He had counted the waves once and given up at 1,204.
"""
FILES = ("SmolLM2-135M-Instruct.Q4_1.gguf", "gemma-3-270m.Q4_K_M.gguf")


def main():
    root = pathlib.Path(__file__).resolve().parent.parent.parent
    models = root / ".deps" / "models"
    result = {"versions": {"torch": torch.__version__, "transformers": transformers.__version__}, "files": {}}
    for name in FILES:
        model = AutoModelForCausalLM.from_pretrained(models, gguf_file=name, dtype=torch.float32).eval()
        ids = AutoTokenizer.from_pretrained(models, gguf_file=name)(TEXT).input_ids
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0].double()
        losses = -logits[:-1].log_softmax(-1)[torch.arange(len(ids) - 1), torch.tensor(ids[1:])]
        best = logits[-1].topk(10)
        print(name, len(ids), "tokens, perplexity", losses.mean().exp().item())
        result["files"][name] = {"ids": ids, "losses": [round(x, 5) for x in losses.tolist()],
                                 "best_ids": best.indices.tolist(),
                                 "best_logits": [round(x, 4) for x in best.values.tolist()]}
    (root / "tests" / "data" / "language" / "gguf.json").write_text(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
