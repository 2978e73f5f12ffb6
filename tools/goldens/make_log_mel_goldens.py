#!/usr/bin/env python3
"""Makes tests/data/audio/log_mel.bin and .json: what OpenAI's own program makes of signals that the test makes again.

Run with Python, numpy, torch and the unpacked source package openai-whisper (its whisper/audio.py and mel_filters.npz
are read, nothing of it is kept): make_log_mel_goldens.py --whisper DIR. Signals follow from formulas in 32-bit integers,
so that the test has the same samples to the last bit. Of each chunk every 13th frame and the last is kept.
"""

import argparse
import importlib.util
import json
import sys
import types
from pathlib import Path

import numpy as np
import torch

NUM_FRAMES = 3000
FRAMES = [*range(0, NUM_FRAMES, 251), 1, 2, 2997, 2998, 2999]


def load_audio_module(folder):
    """whisper/audio.py alone: the package around it wants more than is needed here."""
    package = types.ModuleType("whisper")
    package.__path__ = [str(folder / "whisper")]
    sys.modules["whisper"] = package
    for name in ("utils", "audio"):
        spec = importlib.util.spec_from_file_location(f"whisper.{name}", folder / "whisper" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[f"whisper.{name}"] = module
        spec.loader.exec_module(module)
    return sys.modules["whisper.audio"]


def noise(num_samples, seed):
    """Linear congruential numbers, top 16 bits, as samples of 16 bits."""
    values = np.empty(num_samples, np.int64)
    state = seed
    for i in range(num_samples):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        values[i] = (state >> 16) - 32768
    return values


def signals():
    """name -> samples as multiples of 1/32768."""
    ramp = np.arange(480000, dtype=np.int64)
    # A triangle wave whose period falls: a sweep with harmonics, loud beside quiet frequencies.
    phase = (ramp * ramp // 4096 + 40 * ramp) % 8192
    triangle = np.where(phase < 4096, phase, 8192 - phase) * 8 - 16384
    return {
        "sweep": triangle,
        "noise": noise(480000, 1) // 8,
        "short": noise(16001, 2) // 2,
        "quiet": noise(240000, 3) // 8192,
        "one_sample": np.array([32767]),
        "silence": np.zeros(4000, np.int64),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--whisper", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path(__file__).resolve().parents[2] / "tests/data/audio")
    arguments = parser.parse_args()
    audio = load_audio_module(arguments.whisper)
    cases, values = [], []
    for name, samples in signals().items():
        chunk = audio.pad_or_trim((samples / 32768).astype(np.float32))
        for num_mels in (80, 128):
            features = audio.log_mel_spectrogram(chunk, n_mels=num_mels).numpy()
            assert features.shape == (num_mels, NUM_FRAMES)
            cases.append({"signal": name, "num_mels": num_mels})
            values.append(features[:, FRAMES].astype("<f4"))
    filters = {str(n): [float(x) for x in audio.mel_filters("cpu", n).double().sum(1)] for n in (80, 128)}
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "log_mel.bin").write_bytes(b"".join(value.tobytes() for value in values))
    (arguments.output / "log_mel.json").write_text(json.dumps({
        "openai_whisper": "20250625", "torch": torch.__version__, "num_frames": NUM_FRAMES, "frames": FRAMES,
        "filter_sums": filters, "cases": cases}, indent=1) + "\n")


if __name__ == "__main__":
    main()
