#!/usr/bin/env python3
"""faster-whisper on files of audio: seconds and text of each, as JSON, one line a file. Loading is not counted."""
import argparse
import json
import time

from faster_whisper import BatchedInferencePipeline, WhisperModel


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="folder of a CTranslate2 model")
    parser.add_argument("files", nargs="+")
    parser.add_argument("--beam", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=0, help="0: one window after another; else the batched pipeline")
    parser.add_argument("--compute", default="int8")
    options = parser.parse_args()
    model = WhisperModel(options.model, device="cpu", compute_type=options.compute, cpu_threads=options.threads,
                         local_files_only=True)
    extra = {}
    pipeline = model
    if options.batch:
        pipeline = BatchedInferencePipeline(model=model)
        extra["batch_size"] = options.batch
        extra["without_timestamps"] = False
    else:
        extra["condition_on_previous_text"] = False
    for warm in (True, False):
        for file in options.files[:1] if warm else options.files:
            start = time.monotonic()
            segments, _ = pipeline.transcribe(file, language="en", beam_size=options.beam, vad_filter=True, **extra)
            text = " ".join(segment.text.strip() for segment in segments)
            if not warm:
                print(json.dumps({"file": file, "seconds": time.monotonic() - start, "text": text}), flush=True)


if __name__ == "__main__":
    main()
