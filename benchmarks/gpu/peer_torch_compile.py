#!/usr/bin/env python3
"""The peer of gpu_bench: the same models in PyTorch, compiled by torch.compile into CUDA graphs, in FP16.

Architectures with random weights, written down here or taken from torchvision and transformers; convolutional models in
channels_last, which is PyTorch's fast layout. Times one call at a time with CUDA events around it, input and output on
the GPU, and prints one JSON object a line. What is measured: the model's forward pass, as gpu_bench measures it.
"""

import argparse
import json
import statistics
import sys
import time

import torch
from torch import nn


class ConvSilu(nn.Module):
    """Convolution with its batch normalisation folded in, as at deployment."""

    def __init__(self, in_channels, out_channels, kernel=1, stride=1):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2)

    def forward(self, data):
        return nn.functional.silu(self.conv(data))


class Residual(nn.Module):
    def __init__(self, channels, has_shortcut):
        super().__init__()
        self.first, self.second = ConvSilu(channels, channels, 3), ConvSilu(channels, channels, 3)
        self.has_shortcut = has_shortcut

    def forward(self, data):
        result = self.second(self.first(data))
        return data + result if self.has_shortcut else result


class Stage(nn.Module):
    """YOLOv8's C2f: half of the channels go through a chain of blocks, and every link of it is kept."""

    def __init__(self, in_channels, out_channels, num_blocks=1, has_shortcut=False):
        super().__init__()
        half = out_channels // 2
        self.enter = ConvSilu(in_channels, out_channels)
        self.leave = ConvSilu((2 + num_blocks) * half, out_channels)
        self.blocks = nn.ModuleList(Residual(half, has_shortcut) for _ in range(num_blocks))

    def forward(self, data):
        parts = list(self.enter(data).chunk(2, 1))
        for block in self.blocks:
            parts.append(block(parts[-1]))
        return self.leave(torch.cat(parts, 1))


class Pyramid(nn.Module):
    """YOLOv8's SPPF."""

    def __init__(self, channels):
        super().__init__()
        self.enter, self.leave = ConvSilu(channels, channels // 2), ConvSilu(channels * 2, channels)
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, data):
        parts = [self.enter(data)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        return self.leave(torch.cat(parts, 1))


class YoloV8n(nn.Module):
    """With the decoding of its head, without NMS: what the ONNX file computes."""

    NUM_CLASSES, NUM_BINS = 80, 16

    def __init__(self, size=640):
        super().__init__()
        self.stem = nn.Sequential(ConvSilu(3, 16, 3, 2), ConvSilu(16, 32, 3, 2), Stage(32, 32, 1, True),
                                  ConvSilu(32, 64, 3, 2), Stage(64, 64, 2, True))
        self.middle = nn.Sequential(ConvSilu(64, 128, 3, 2), Stage(128, 128, 2, True))
        self.deep = nn.Sequential(ConvSilu(128, 256, 3, 2), Stage(256, 256, 1, True), Pyramid(256))
        self.up = nn.Upsample(scale_factor=2)
        self.up_middle, self.up_fine = Stage(384, 128), Stage(192, 64)
        self.down_fine, self.down_middle = ConvSilu(64, 64, 3, 2), ConvSilu(128, 128, 3, 2)
        self.out_middle, self.out_deep = Stage(192, 128), Stage(384, 256)
        widths = (64, 128, 256)
        self.boxes = nn.ModuleList(self.head(width, 64, 4 * self.NUM_BINS) for width in widths)
        self.classes = nn.ModuleList(self.head(width, 80, self.NUM_CLASSES) for width in widths)
        self.register_buffer("bins", torch.arange(float(self.NUM_BINS)))
        centres, strides = [], []
        for stride in (8, 16, 32):
            steps = torch.arange(size // stride) + 0.5
            y, x = torch.meshgrid(steps, steps, indexing="ij")
            centres.append(torch.stack([x.flatten(), y.flatten()]))
            strides.append(torch.full(((size // stride) ** 2,), float(stride)))
        self.register_buffer("centres", torch.cat(centres, 1)[None])
        self.register_buffer("strides", torch.cat(strides)[None, None])

    @staticmethod
    def head(in_channels, width, out_channels):
        return nn.Sequential(ConvSilu(in_channels, width, 3), ConvSilu(width, width, 3), nn.Conv2d(width, out_channels, 1))

    def forward(self, data):
        fine = self.stem(data)
        middle = self.middle(fine)
        deep = self.deep(middle)
        middle = self.up_middle(torch.cat([self.up(deep), middle], 1))
        fine = self.up_fine(torch.cat([self.up(middle), fine], 1))
        middle = self.out_middle(torch.cat([self.down_fine(fine), middle], 1))
        deep = self.out_deep(torch.cat([self.down_middle(middle), deep], 1))
        levels = [torch.cat([box(level), cls(level)], 1).flatten(2)
                  for level, box, cls in zip((fine, middle, deep), self.boxes, self.classes)]
        box, cls = torch.cat(levels, 2).split((4 * self.NUM_BINS, self.NUM_CLASSES), 1)
        batch, _, anchors = box.shape
        sides = (box.view(batch, 4, self.NUM_BINS, anchors).softmax(2) * self.bins.view(1, 1, -1, 1)).sum(2)
        near, far = self.centres - sides[:, :2], self.centres + sides[:, 2:]
        box = torch.cat([(near + far) / 2, far - near], 1) * self.strides
        return torch.cat([box, cls.sigmoid()], 1)


WHISPER = {"tiny": (384, 4, 6, 80), "base": (512, 6, 8, 80), "large": (1280, 32, 20, 128)}


def build(name):
    """The model and the shape of one item of its input."""
    if name == "yolov8n":
        return YoloV8n(), (3, 640, 640)
    if name.startswith("whisper_"):
        from transformers import WhisperConfig
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        hidden_dim, num_layers, num_heads, num_mels = WHISPER[name.split("_")[1]]
        config = WhisperConfig(d_model=hidden_dim, encoder_layers=num_layers, encoder_attention_heads=num_heads,
                               encoder_ffn_dim=4 * hidden_dim, num_mel_bins=num_mels)
        config._attn_implementation = "sdpa"
        return WhisperEncoder(config), (num_mels, 3000)
    import torchvision

    return getattr(torchvision.models, name)(), (3, 224, 224)


def median_ms(call, num_runs):
    for _ in range(10):
        call()
    torch.cuda.synchronize()
    times = []
    for _ in range(num_runs):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        call()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="+", help="yolov8n, resnet50, vit_b_16, whisper_tiny_encoder, "
                                                  "whisper_large_encoder")
    parser.add_argument("--batch", default="1,16")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--mode", default="reduce-overhead")
    parser.add_argument("--json", help="also append the lines to this file")
    options = parser.parse_args()
    torch.backends.cudnn.benchmark = True
    out = open(options.json, "a", encoding="utf-8") if options.json else None
    for name in options.models:
        for batch in map(int, options.batch.split(",")):
            torch.manual_seed(1)
            row = {"model": name, "batch": batch, "peer": f"torch {torch.__version__} compile {options.mode} fp16"}
            try:
                model, item = build(name)
                model = model.eval().half().cuda()
                data = torch.randn(batch, *item, device="cuda", dtype=torch.float16)
                if data.dim() == 4:
                    model = model.to(memory_format=torch.channels_last)
                    data = data.to(memory_format=torch.channels_last)
                with torch.no_grad():
                    compiled = torch.compile(model, mode=options.mode)
                    begin = time.monotonic()
                    compiled(data)
                    torch.cuda.synchronize()
                    row["compile_s"] = round(time.monotonic() - begin, 1)
                    row["gpu_ms"] = round(median_ms(lambda: compiled(data), options.runs), 4)
            except Exception as error:  # noqa: BLE001  (the other models still count)
                row["error"] = f"{type(error).__name__}: {str(error)[:300]}"
            text = json.dumps(row)
            print(text, flush=True)
            if out:
                out.write(text + "\n")
                out.flush()
            model = compiled = None
            torch._dynamo.reset()
            torch.cuda.empty_cache()
    return 0


if __name__ == "__main__":
    sys.exit(main())
