#!/usr/bin/env python3
"""Makes the small audio files of tests/data/audio: a tone in every container and encoding that the reader meets.

Run with Python, numpy and the program ffmpeg. Channel c of n holds 0.5 / (c + 1) * sin(2 pi 440 t), 0.2 s long, so that
the mean of the channels is known; the tests read only the files.
"""

import argparse
import subprocess
from pathlib import Path

import numpy as np

SECONDS = 0.2
# name -> rate, channels, arguments of ffmpeg
FILES = {
    "pcm16_stereo_44100.wav": (44100, 2, ["-c:a", "pcm_s16le"]),
    "u8_mono_8000.wav": (8000, 1, ["-c:a", "pcm_u8"]),
    "pcm24_three_24000.wav": (24000, 3, ["-c:a", "pcm_s24le"]),
    "pcm32_mono_11025.wav": (11025, 1, ["-c:a", "pcm_s32le"]),
    "float_stereo_32000.wav": (32000, 2, ["-c:a", "pcm_f32le"]),
    "double_mono_16000.wav": (16000, 1, ["-c:a", "pcm_f64le"]),
    "mulaw_mono_8000.wav": (8000, 1, ["-c:a", "pcm_mulaw"]),
    "alaw_mono_8000.wav": (8000, 1, ["-c:a", "pcm_alaw"]),
    "adpcm_mono_22050.wav": (22050, 1, ["-c:a", "adpcm_ima_wav"]),
    "rf64_mono_16000.wav": (16000, 1, ["-c:a", "pcm_s16le", "-rf64", "always"]),
    "stereo_44100.flac": (44100, 2, ["-c:a", "flac", "-sample_fmt", "s16"]),
    "stereo_44100.mp3": (44100, 2, ["-c:a", "libmp3lame", "-b:a", "64k"]),
    "mono_22050.ogg": (22050, 1, ["-c:a", "libvorbis", "-q:a", "4"]),
    "stereo_48000.opus": (48000, 2, ["-c:a", "libopus", "-b:a", "48k"]),
    "mono_16000.aiff": (16000, 1, ["-c:a", "pcm_s16be"]),
    "mono_16000.au": (16000, 1, ["-c:a", "pcm_s16be"]),
    "stereo_44100.m4a": (44100, 2, ["-c:a", "aac", "-b:a", "64k", "-movflags", "+faststart"]),
}


def samples(rate, num_channels):
    t = np.arange(round(SECONDS * rate)) / rate
    tone = np.sin(2 * np.pi * 440 * t)
    return np.stack([0.5 / (c + 1) * tone for c in range(num_channels)], axis=1).astype("<f4")


def ffmpeg(arguments, data=b""):
    subprocess.run(["ffmpeg", "-v", "error", "-y", *arguments], input=data, check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path(__file__).resolve().parents[2] / "tests/data/audio")
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    exact = ["-bitexact", "-map_metadata", "-1"]
    for name, (rate, num_channels, codec) in FILES.items():
        ffmpeg(["-f", "f32le", "-ar", str(rate), "-ac", str(num_channels), "-i", "pipe:0", *codec, *exact,
                str(folder / name)], samples(rate, num_channels).tobytes())
    picture = ["-f", "lavfi", "-i", "color=size=16x16:rate=5:duration=0.4"]
    ffmpeg([*picture, "-f", "f32le", "-ar", "16000", "-ac", "1", "-i", "pipe:0", "-c:v", "mpeg4", "-c:a", "aac", *exact,
            str(folder / "video.mp4")], samples(16000, 1).tobytes())
    ffmpeg([*picture, "-c:v", "mpeg4", *exact, str(folder / "silent_video.mp4")])


if __name__ == "__main__":
    main()
