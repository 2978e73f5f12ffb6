#!/usr/bin/env python3
"""Makes tests/data/audio/voice.json: speech segments as the Python package silero-vad finds them.

Run with Python, numpy, torch, onnxruntime, the package silero-vad 6.2.3 (--silero DIR, unpacked) and Debian's
pocketsphinx-testdata. "rules" are random probabilities, from a formula that the test repeats, through the package's
post-processing; "clips" are recordings with noise and silence between them, put together as the test does it, through
the package's network frame by frame.
"""

import argparse
import json
import sys
import wave
from pathlib import Path

import numpy as np

SPEECH = Path("/usr/share/pocketsphinx/test/data/librivox")
NAMES = [f"sense_and_sensibility_01_austen_64kb-0{number}.wav" for number in (870, 880, 890, 920, 930)]
OPTIONS = [
    {"max_speech_duration_s": 30},
    {"max_speech_duration_s": 5},
    {"max_speech_duration_s": 3, "min_silence_duration_ms": 2000, "speech_pad_ms": 400},
    {"max_speech_duration_s": 30, "threshold": 0.3, "min_speech_duration_ms": 0, "min_silence_duration_ms": 50},
    {"max_speech_duration_s": 2, "threshold": 0.6, "neg_threshold": 0.6, "speech_pad_ms": 100,
     "min_silence_duration_ms": 32},
]


class Numbers:
    """Linear congruential numbers, as in the test."""

    def __init__(self, seed):
        self.state = seed

    def next(self):
        self.state = (self.state * 1664525 + 1013904223) & 0xFFFFFFFF
        return self.state >> 16


def random_probabilities(seed, count):
    """Stretches of like values, so that there are speech, pauses and doubt of all lengths."""
    numbers = Numbers(seed)
    values = []
    while len(values) < count:
        base = numbers.next() % 5 * 12500
        for _ in range(1 + numbers.next() % (4 << numbers.next() % 5)):
            values.append((base + numbers.next() % 15000) / 65536)
    return values[:count]


def read_clip(name):
    with wave.open(str(SPEECH / name)) as file:
        assert file.getframerate() == 16000 and file.getnchannels() == 1 and file.getsampwidth() == 2
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.int64)


def noise(count, seed, divisor):
    numbers = Numbers(seed)
    return np.array([(numbers.next() - 32768) // divisor for _ in range(count)], np.int64)


def signals():
    """name -> samples of 16 bits."""
    clips = [read_clip(name) for name in NAMES]
    zeros = np.zeros
    yield "clips_and_silence", np.concatenate(
        [zeros(16000, np.int64), clips[0], zeros(24000, np.int64), clips[1], zeros(4801, np.int64), clips[4]])
    yield "clips_in_noise", np.concatenate(
        [noise(48000, 1, 64), clips[2] + noise(len(clips[2]), 2, 64), noise(32000, 3, 64), clips[1], noise(20000, 4, 8)])
    yield "without_pause", np.concatenate([clip[3200:-3200] for clip in clips] * 2)
    yield "nothing", noise(160000, 5, 16)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--silero", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path(__file__).resolve().parents[2] / "tests/data/audio")
    arguments = parser.parse_args()
    sys.path.insert(0, str(arguments.silero))
    import torch
    from silero_vad import utils_vad

    rules = []
    for seed in range(1, 41):
        count = 1 + seed * 23
        num_samples = count * 512 - seed * 11 % 512
        for i, options in enumerate(OPTIONS):
            speech = utils_vad.get_speech_timestamps_from_probs(random_probabilities(seed, count),
                                                                audio_length_samples=num_samples, **options)
            rules.append({"seed": seed, "num_frames": count, "num_samples": num_samples, "options": i,
                          "segments": [[one["start"], one["end"]] for one in speech]})
    model = utils_vad.OnnxWrapper(str(arguments.silero / "silero_vad/data/silero_vad.onnx"), force_onnx_cpu=True)
    clips = []
    for name, samples in signals():
        audio = torch.from_numpy((np.clip(samples, -32768, 32767) / 32768).astype(np.float32))
        probabilities = model.audio_forward(audio[None], 16000)[0].tolist()
        for i, options in enumerate(OPTIONS):
            speech = utils_vad.get_speech_timestamps(audio, model, **options)
            clips.append({"signal": name, "num_samples": len(samples), "options": i,
                          "segments": [[one["start"], one["end"]] for one in speech]})
        clips[-len(OPTIONS)]["every_16th_probability"] = [round(value, 6) for value in probabilities[::16]]
    (arguments.output / "voice.json").write_text(json.dumps(
        {"silero_vad": "6.2.3", "options": OPTIONS, "rules": rules, "clips": clips}, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
