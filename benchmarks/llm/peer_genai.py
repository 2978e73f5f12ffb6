#!/usr/bin/env python3
"""OpenVINO GenAI on a GGUF file: prefill and decode at several numbers of requests, as `pajamas bench` measures them.

Prints one JSON line a number of requests. Needs openvino-genai (benchmarks/llm/run installs it into .deps/peers).
Usage: peer_genai.py MODEL.gguf --input 512 --output 128 --concurrency 1,4,8 --threads 2 --repeats 3
"""
import argparse
import json
import random
import statistics
import time

import numpy
import openvino
import openvino_genai


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--input", type=int, default=512)
    parser.add_argument("--output", type=int, default=128)
    parser.add_argument("--concurrency", default="1,4,8")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--vocab", type=int, default=49152, help="tokens are drawn below this")
    options = parser.parse_args()
    counts = [int(n) for n in options.concurrency.split(",")]

    scheduler = openvino_genai.SchedulerConfig()
    scheduler.max_num_batched_tokens = 512
    scheduler.max_num_seqs = max(counts)
    scheduler.enable_prefix_caching = False
    scheduler.cache_size = 2  # GB
    start = time.monotonic()
    pipe = openvino_genai.LLMPipeline(options.model, "CPU", scheduler_config=scheduler,
                                      INFERENCE_NUM_THREADS=options.threads)
    load_s = time.monotonic() - start
    rng = random.Random(1)

    def seconds(count, num_output):
        ids = numpy.array([[rng.randrange(options.vocab) for _ in range(options.input)] for _ in range(count)],
                          dtype=numpy.int64)
        inputs = openvino_genai.TokenizedInputs(openvino.Tensor(ids), openvino.Tensor(numpy.ones_like(ids)))
        config = openvino_genai.GenerationConfig()
        config.max_new_tokens = num_output
        config.min_new_tokens = num_output
        config.ignore_eos = True
        config.do_sample = False
        begin = time.monotonic()
        pipe.generate(inputs, config)
        return time.monotonic() - begin

    for count in counts:
        seconds(count, 4)
        prefill, decode = [], []
        for _ in range(options.repeats):
            one, all_tokens = seconds(count, 1), seconds(count, options.output)
            prefill.append(count * options.input / one)
            decode.append(count * (options.output - 1) / max(all_tokens - one, 1e-9))
        print(json.dumps({"peer": f"openvino-genai {openvino_genai.__version__}", "concurrency": count,
                          "prefill_tokens_per_s": statistics.median(prefill),
                          "decode_tokens_per_s": statistics.median(decode), "load_ms": load_s * 1000}), flush=True)


if __name__ == "__main__":
    main()
