#!/usr/bin/env python3
"""Makes the language fixtures: tiny random checkpoints of each family as transformers writes them, and what transformers
computes with them.

Writes tests/data/language/<case>/{config.json,model.safetensors,golden.safetensors,...}, rope.json (frequencies of every
kind of scaling) and versions.json. golden.safetensors holds input_ids [46] and logits [46, vocab_size] of one pass over
all of them; that shorter prompts and steps with a cache give the same rows is asserted here. Needs torch, transformers
and safetensors; nothing of the project runs it but the person who renews the goldens.
"""

import argparse
import json
import pathlib

import safetensors.torch
import torch
import transformers
from transformers import (Gemma3ForCausalLM, Gemma3TextConfig, LlamaConfig, LlamaForCausalLM, MistralConfig,
                          MistralForCausalLM, Phi3Config, Phi3ForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config,
                          Qwen3ForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM)
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

SEED = 20260105
NUM_TOKENS = 46
PROMPTS = (1, 5, 17, 40)
COMMON = dict(vocab_size=71, max_position_embeddings=64, pad_token_id=None, bos_token_id=1, eos_token_id=2)
LONG = [1.0 + 0.4 * i for i in range(3)]
SHORT = [1.0 + 0.05 * i for i in range(3)]


def scaling(**values):
    return dict(rope_theta=10000.0, **values)


def cases():
    llama3 = scaling(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
                     original_max_position_embeddings=16)
    yield "llama", LlamaForCausalLM, LlamaConfig(
        hidden_size=36, intermediate_size=52, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2,
        tie_word_embeddings=True, rope_parameters=llama3, **COMMON), torch.float32
    yield "llama_biased", LlamaForCausalLM, LlamaConfig(
        hidden_size=24, intermediate_size=37, num_hidden_layers=2, num_attention_heads=3, num_key_value_heads=1,
        attention_bias=True, mlp_bias=True, hidden_act="gelu",
        rope_parameters=scaling(rope_type="yarn", factor=4.0, original_max_position_embeddings=16), **COMMON
    ), torch.float32
    yield "smollm2", LlamaForCausalLM, LlamaConfig(
        hidden_size=36, intermediate_size=48, num_hidden_layers=2, num_attention_heads=9, num_key_value_heads=3,
        tie_word_embeddings=True, rms_norm_eps=1e-5, rope_parameters=dict(rope_type="default", rope_theta=100000.0),
        **COMMON), torch.bfloat16
    yield "mistral", MistralForCausalLM, MistralConfig(
        hidden_size=32, intermediate_size=44, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        sliding_window=7, **COMMON), torch.float16
    yield "qwen2", Qwen2ForCausalLM, Qwen2Config(
        hidden_size=30, intermediate_size=41, num_hidden_layers=2, num_attention_heads=5, num_key_value_heads=5,
        use_sliding_window=True, sliding_window=6, max_window_layers=1, rms_norm_eps=1e-6,
        rope_parameters=dict(rope_type="default", rope_theta=1000000.0), **COMMON), torch.float32
    yield "qwen3", Qwen3ForCausalLM, Qwen3Config(
        hidden_size=28, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=10, tie_word_embeddings=True, rope_parameters=dict(rope_type="default", rope_theta=1000000.0),
        **COMMON), torch.bfloat16
    experts = dict(hidden_size=24, intermediate_size=36, moe_intermediate_size=14, num_attention_heads=4,
                   num_key_value_heads=2, head_dim=6)
    yield "qwen3_moe", Qwen3MoeForCausalLM, Qwen3MoeConfig(
        num_hidden_layers=3, num_experts=5, num_experts_per_tok=2, norm_topk_prob=True, decoder_sparse_step=2,
        **experts, **COMMON), torch.float32
    yield "qwen3_moe_plain", Qwen3MoeForCausalLM, Qwen3MoeConfig(
        num_hidden_layers=2, num_experts=8, num_experts_per_tok=3, norm_topk_prob=False, mlp_only_layers=[0],
        **experts, **COMMON), torch.bfloat16
    yield "qwen3_moe_all", Qwen3MoeForCausalLM, Qwen3MoeConfig(
        num_hidden_layers=2, num_experts=4, num_experts_per_tok=2, norm_topk_prob=True, **experts, **COMMON
    ), torch.float16
    phi3 = dict(hidden_size=32, intermediate_size=41, num_hidden_layers=2, num_attention_heads=4)
    yield "phi3", Phi3ForCausalLM, Phi3Config(
        num_key_value_heads=4, sliding_window=9, rope_parameters=dict(rope_type="default", rope_theta=10000.0),
        **phi3, **COMMON), torch.float32
    yield "phi3_long", Phi3ForCausalLM, Phi3Config(
        num_key_value_heads=2, original_max_position_embeddings=48, rope_parameters=scaling(
            rope_type="longrope", short_factor=SHORT, long_factor=LONG, partial_rotary_factor=0.75,
            original_max_position_embeddings=48), **phi3, **COMMON), torch.float32
    yield "gemma3", Gemma3ForCausalLM, Gemma3TextConfig(
        hidden_size=28, intermediate_size=39, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
        head_dim=10, query_pre_attn_scalar=12, sliding_window=6, sliding_window_pattern=3, final_logit_softcapping=8.0,
        rope_parameters={"full_attention": dict(rope_type="linear", factor=4.0, rope_theta=1000000.0),
                         "sliding_attention": dict(rope_type="default", rope_theta=10000.0)},
        **COMMON), torch.bfloat16


def randomise(model, dtype):
    """Weights that make every part of the network matter; rounded to what the file stores."""
    is_gemma = "Gemma" in type(model).__name__
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() >= 2:
                value = torch.randn(parameter.shape) * (1.4 / parameter.shape[-1] ** 0.5)
                if "embed_tokens" in name:
                    value = torch.randn(parameter.shape) * (0.3 if is_gemma else 1.0)
            elif "norm" in name:
                value = torch.randn(parameter.shape) * 0.2 + (0 if is_gemma else 1)
            else:
                value = torch.randn(parameter.shape) * 0.3
            parameter.copy_(value.to(dtype).float())
    return model.eval()


def forward(model, ids, cache=None):
    with torch.no_grad():
        return model(torch.tensor([ids]), past_key_values=cache, use_cache=cache is not None).logits[0].float()


def golden(model, ids):
    whole = forward(model, ids)
    for length in PROMPTS:
        assert torch.allclose(forward(model, ids[:length]), whole[:length], atol=2e-5), length
        cache = transformers.DynamicCache(config=model.config)
        forward(model, ids[:length], cache)
        for place in range(length, min(length + 6, len(ids))):
            row = forward(model, ids[place:place + 1], cache)[0]
            assert torch.allclose(row, whole[place], atol=2e-5), (length, place, (row - whole[place]).abs().max())
    return whole


def in_the_form_of_transformers_4(config):
    """Published checkpoints mostly have this one."""
    parameters = config.pop("rope_parameters")
    if "full_attention" in parameters:
        config["rope_local_base_freq"] = parameters["sliding_attention"]["rope_theta"]
        parameters = parameters["full_attention"]
        config.pop("layer_types")
        config["sliding_window_pattern"] = 3
    config["rope_theta"] = parameters.pop("rope_theta")
    config["rope_scaling"] = None if parameters["rope_type"] == "default" else parameters
    config["torch_dtype"] = config.pop("dtype")
    config["transformers_version"] = "4.51.0"
    return config


def write_case(folder, name, kind, config, dtype):
    torch.manual_seed(SEED + sum(map(ord, name)))
    config._experts_implementation = "eager"  # the grouped product wants aligned sizes
    model = randomise(kind(config), dtype)
    ids = torch.randint(3, config.vocab_size, (NUM_TOKENS,)).tolist()
    target = folder / name
    target.mkdir(parents=True, exist_ok=True)
    tensors = {"input_ids": torch.tensor(ids), "logits": golden(model, ids)}
    if name == "phi3_long":
        # The long frequencies for every length, as a bundle with a long context has them.
        model.config.rope_parameters["short_factor"] = LONG
        again = kind(model.config)
        again.load_state_dict(model.state_dict())
        tensors["logits_long"] = golden(again.eval(), ids)
        model.config.rope_parameters["short_factor"] = SHORT
    assert 0.5 < tensors["logits"].std() < 20, tensors["logits"].std()
    model.to(dtype).save_pretrained(target)
    text = json.loads((target / "config.json").read_text())
    if name in ("llama", "mistral", "gemma3", "qwen3"):
        text = in_the_form_of_transformers_4(text)
    (target / "config.json").write_text(json.dumps(text, indent=1) + "\n")
    (target / "generation_config.json").unlink(missing_ok=True)
    safetensors.torch.save_file(tensors, target / "golden.safetensors")
    for file in target.iterdir():
        file.chmod(0o644)


def rope_cases():
    yield "default", LlamaConfig(hidden_size=64, num_attention_heads=4), None
    for name, parameters in {
        "linear": dict(rope_type="linear", factor=3.0),
        "dynamic": dict(rope_type="dynamic", factor=2.0),
        "dynamic_longer": dict(rope_type="dynamic", factor=2.0),
        "yarn": dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=1024),
        "yarn_exact": dict(rope_type="yarn", factor=8.0, original_max_position_embeddings=2048, truncate=False,
                           beta_fast=20, beta_slow=2, mscale=0.7, mscale_all_dim=1.2),
        "yarn_given": dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=1024, attention_factor=1.25),
        "llama3": dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                       original_max_position_embeddings=512),
        "longrope_short": dict(rope_type="longrope", short_factor=[1 + i / 9 for i in range(8)],
                               long_factor=[2 + i for i in range(8)], original_max_position_embeddings=512),
        "longrope_long": dict(rope_type="longrope", short_factor=[1 + i / 9 for i in range(8)],
                              long_factor=[2 + i for i in range(8)], original_max_position_embeddings=512),
        "longrope_factor": dict(rope_type="longrope", short_factor=[1.0] * 8, long_factor=[2.0] * 8, factor=16.0,
                                original_max_position_embeddings=512),
    }.items():
        length = {"dynamic_longer": 4096, "longrope_long": 2048}.get(name)
        yield name, LlamaConfig(hidden_size=64, num_attention_heads=4, max_position_embeddings=2048,
                                rope_parameters=scaling(**parameters)), length


def write_ropes(path):
    result = {}
    for name, config, length in rope_cases():
        parameters = dict(config.rope_parameters)
        if parameters["rope_type"] == "default":
            dim = config.head_dim
            frequencies = 1.0 / parameters["rope_theta"] ** (torch.arange(0, dim, 2).float() / dim)
            factor = 1.0
        else:
            frequencies, factor = ROPE_INIT_FUNCTIONS[parameters["rope_type"]](config, "cpu", seq_len=length)
        result[name] = {"rope_parameters": parameters, "head_dim": config.head_dim,
                        "max_position_embeddings": config.max_position_embeddings, "context_length": length or 512,
                        "inverse_frequencies": [float(f) for f in frequencies], "attention_factor": float(factor)}
    path.write_text(json.dumps(result, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    root = pathlib.Path(__file__).resolve().parent.parent.parent
    parser.add_argument("--folder", type=pathlib.Path, default=root / "tests" / "data" / "language")
    parser.add_argument("--case", help="renew this one only")
    arguments = parser.parse_args()
    folder = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, kind, config, dtype in cases():
        if arguments.case not in (None, name):
            continue
        write_case(folder, name, kind, config, dtype)
    write_ropes(folder / "rope.json")
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    (folder / "versions.json").write_text(json.dumps(versions, indent=1) + "\n")


if __name__ == "__main__":
    main()
