#!/usr/bin/env python3
"""Turns some of the language fixtures into GGUF by llama.cpp's own converter, so that our reader of names, orders and
metadata is held to somebody else's writer: tests/data/language/<case>/model.gguf, whose logits are golden.safetensors'.

The vocabulary is one of our own, as the fixtures have none. Give the folder of llama.cpp (the sdist of llama-cpp-python
has it in vendor/llama.cpp). Needs torch, transformers, numpy; nothing of the project runs it but the person who renews
the goldens.
"""

import argparse
import pathlib
import sys

CASES = {"llama": "f32", "smollm2": "bf16", "qwen2": "f32", "qwen3": "bf16", "qwen3_moe_all": "f16", "phi3_long": "f32"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("llama_cpp", type=pathlib.Path)
    llama_cpp = parser.parse_args().llama_cpp
    sys.path[:0] = [str(llama_cpp), str(llama_cpp / "gguf-py")]
    import gguf
    import torch
    from conversion import ModelBase, ModelType, get_model_architecture, get_model_class

    def set_vocab(self):
        size = self.hparams["vocab_size"]
        self.gguf_writer.add_tokenizer_model("gpt2")
        self.gguf_writer.add_tokenizer_pre("gpt-2")
        self.gguf_writer.add_token_list([chr(ord("!") + i) for i in range(size)])
        self.gguf_writer.add_token_types([gguf.TokenType.NORMAL] * size)
        self.gguf_writer.add_token_merges([])
        self.gguf_writer.add_bos_token_id(1)
        self.gguf_writer.add_eos_token_id(2)

    types = {"f32": gguf.LlamaFileType.ALL_F32, "f16": gguf.LlamaFileType.MOSTLY_F16,
             "bf16": gguf.LlamaFileType.MOSTLY_BF16}
    data = pathlib.Path(__file__).resolve().parent.parent.parent / "tests" / "data" / "language"
    for name, kind in CASES.items():
        with torch.inference_mode():
            architecture = get_model_architecture(ModelBase.load_hparams(data / name, False), ModelType.TEXT)
            model_class = get_model_class(architecture)
            model_class.set_vocab = set_vocab
            target = data / name / "model.gguf"
            model_class(data / name, types[kind], target, model_name=name).write()
        target.chmod(0o644)


if __name__ == "__main__":
    main()
