#!/usr/bin/env python3
"""Prints gpu_bench's figures beside the peer's, measured in the same run, against the goals where there are any."""

import json
import sys

# GPU time in ms on one H200 that the cuda target must reach in FP16: (model, batch).
GOALS = {
    ("yolov8n", 1): 0.25, ("yolov8n", 16): 0.90, ("resnet50", 1): 0.26, ("resnet50", 16): 0.58,
    ("vit_b_16", 1): 0.40, ("vit_b_16", 16): 1.25, ("whisper_tiny_encoder", 1): 0.22,
    ("whisper_tiny_encoder", 16): 1.3, ("whisper_large_encoder", 1): 4.1, ("whisper_large_encoder", 16): 60.0,
}


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: ratios.py OURS.json PEER.jsonl")
    with open(sys.argv[1], encoding="utf-8") as file:
        ours = json.load(file)["results"]
    with open(sys.argv[2], encoding="utf-8") as file:
        peers = {(row["model"], row["batch"]): row for row in map(json.loads, file)}
    print(f"{'model':<24}{'batch':>6}{'ours ms':>10}{'peer ms':>10}{'ratio':>8}{'goal ms':>9}  ")
    is_ahead = True
    for result in ours:
        key = result["model"], result["batch"]
        peer = peers.get(key, {}).get("gpu_ms")
        goal = GOALS.get(key)
        if "error" in result:
            print(f"{key[0]:<24}{key[1]:>6}  no figure: {result['error'][:100]}")
            is_ahead = False
            continue
        mine = result["time"]["gpu_ms"]["p50"]
        ratio = f"{peer / mine:.2f}x" if peer else "-"
        verdict = "" if goal is None else ("reached" if mine <= goal else "missed")
        is_ahead = is_ahead and (peer is None or mine < peer)
        print(f"{key[0]:<24}{key[1]:>6}{mine:>10.4f}{peer if peer else 0:>10.4f}{ratio:>8}"
              f"{goal if goal else 0:>9.2f}  {verdict}")
    print("ahead of the peer in every cell" if is_ahead else "NOT ahead of the peer in every cell")
    return 0 if is_ahead else 1


if __name__ == "__main__":
    sys.exit(main())
