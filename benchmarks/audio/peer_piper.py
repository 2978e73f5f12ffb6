#!/usr/bin/env python3
"""Speaks a text with piper-tts, for `run` in this folder: one JSON line with the seconds it took, without loading.

Needs piper-tts and what it needs on PYTHONPATH (.deps/peers/audio).
"""
import argparse
import json
import pathlib
import time


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("voice", help="VOICE.onnx, with VOICE.onnx.json beside it")
    parser.add_argument("text", type=pathlib.Path, help="file of text")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    import onnxruntime
    from piper import PiperVoice

    voice = PiperVoice.load(options.voice)
    # As it loads itself, but with the number of threads asked for.
    session = onnxruntime.SessionOptions()
    session.intra_op_num_threads = options.threads
    voice.session = onnxruntime.InferenceSession(options.voice, sess_options=session, providers=["CPUExecutionProvider"])
    for _ in voice.synthesize("Warm up."):
        pass
    text = options.text.read_text()
    first, samples, start = None, 0, time.monotonic()
    for chunk in voice.synthesize(text):
        first = first or time.monotonic() - start
        samples += len(chunk.audio_float_array)
    print(json.dumps({"seconds": time.monotonic() - start, "first_s": first, "duration_s": samples / chunk.sample_rate}))


if __name__ == "__main__":
    main()
