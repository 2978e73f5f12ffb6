#!/usr/bin/env python3
"""Makes tests/data/media: tiny pictures in every format variant, and what Pillow and OpenCV make of them when scaled.

Run with Python, numpy, Pillow and opencv-python-headless; the tests read only the files. Pictures are smooth patterns
from a fixed formula, so that lossy formats stay comparable. Versions used last are written into goldens.json.
"""

import argparse
import io
import json
import struct
from pathlib import Path

import cv2
import numpy as np
import PIL
from PIL import Image

WIDTH, HEIGHT = 37, 23  # odd on purpose


def pattern(width, height):
    """Smooth colours with a clear top left corner, as uint8 RGB."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    u, v = x / max(width - 1, 1), y / max(height - 1, 1)
    rgb = np.stack([255 * u, 255 * v, 127 + 100 * np.sin(5 * u + 3 * v)], axis=-1)
    rgb[: max(height // 4, 1), : max(width // 4, 1)] = (250, 40, 10)
    return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)


def noise(width, height, seed):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def exif_bytes(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def save(image, path, **options):
    image.save(path, **options)


def write_formats(folder):
    """Every variant of every format; returns the pixels Pillow sees for each, as rows of a .json."""
    rgb = pattern(WIDTH, HEIGHT)
    image = Image.fromarray(rgb)
    grey = image.convert("L")
    alpha = Image.fromarray(np.dstack([rgb, np.full(rgb.shape[:2], 90, np.uint8)]))
    deep = (rgb[..., 0].astype(np.uint16) << 8) | rgb[..., 1]
    save(image, folder / "rgb.jpg", quality=95, subsampling=0)
    save(image, folder / "rgb_420.jpg", quality=90, subsampling=2)
    save(image, folder / "progressive.jpg", quality=92, progressive=True)
    save(grey, folder / "grey.jpg", quality=95)
    save(image.convert("CMYK"), folder / "cmyk.jpg", quality=95, subsampling=0)
    for orientation in range(1, 9):
        save(image, folder / f"exif_{orientation}.jpg", quality=95, subsampling=0, exif=exif_bytes(orientation))
    save(image, folder / "rgb.png")
    save(image, folder / "exif_6.png", exif=exif_bytes(6))
    save(alpha, folder / "rgba.png")
    save(grey, folder / "grey.png")
    save(Image.fromarray(deep), folder / "grey16.png")
    save(image.quantize(16), folder / "palette.png")
    save(grey.point(lambda level: 255 * (level > 99)).convert("1"), folder / "bilevel.png")
    cv2.imwrite(str(folder / "rgb16.png"), rgb[..., ::-1].astype(np.uint16) * 257)
    save(image, folder / "lossless.webp", lossless=True)
    save(image, folder / "lossy.webp", quality=95)
    save(image, folder / "exif_3.webp", lossless=True, exif=exif_bytes(3))
    save(alpha, folder / "alpha.webp", lossless=True, exact=True)
    save(image, folder / "animated.webp", lossless=True, save_all=True,
         append_images=[Image.fromarray(255 - rgb)], duration=100)
    save(image, folder / "rgb.bmp")
    save(image.quantize(16), folder / "palette.bmp")
    save(Image.fromarray(pattern(1, 1)), folder / "one_pixel.png")
    write_interlaced_png(folder / "interlaced.png", rgb)
    write_top_down_bmp(folder / "top_down.bmp", rgb)


def write_interlaced_png(path, rgb):
    """Pillow writes no Adam7 interlacing; the format is simple enough to write it here."""
    import zlib

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width = rgb.shape[:2]
    raw = b""
    for x0, y0, dx, dy in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
                           (0, 1, 1, 2)):
        part = rgb[y0::dy, x0::dx]
        if part.size:
            raw += b"".join(b"\0" + row.tobytes() for row in part)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) +
                     chunk(b"IEND", b""))


def write_top_down_bmp(path, rgb):
    height, width = rgb.shape[:2]
    stride = (3 * width + 3) // 4 * 4
    rows = b"".join(row[:, ::-1].tobytes().ljust(stride, b"\0") for row in rgb)
    path.write_bytes(struct.pack("<2sIHHI", b"BM", 54 + len(rows), 0, 0, 54) +
                     struct.pack("<IiiHHIIiiII", 40, width, -height, 1, 24, 0, len(rows), 0, 0, 0, 0) + rows)


def decoded(path):
    """RGB as the contract says: orientation applied, alpha dropped (not blended), 16 bits reduced by rounding."""
    image = Image.open(path)
    image.seek(0)
    from PIL import ImageOps
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        array = np.asarray(image).astype(np.int64)
        return np.repeat(((array * 255 + 32767) // 65535).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode == "RGBA":
        return np.asarray(image)[..., :3]
    return np.asarray(image.convert("RGB"))


def resize_cases():
    """(name, source size, target size, method) with the library whose answer counts."""
    sizes = [((37, 23), (16, 16)), ((37, 23), (64, 48)), ((64, 64), (32, 32)), ((5, 1), (9, 7)), ((1, 1), (4, 3)),
             ((50, 7), (3, 40)), ((33, 90), (33, 11)), ((200, 3), (7, 2))]
    for index, (source, target) in enumerate(sizes):
        for method in ("pil_nearest", "pil_bilinear", "pil_bicubic", "cv_bilinear", "cv_bicubic"):
            yield index, source, target, method


def resized(array, target, method):
    if method.startswith("pil"):
        filters = {"pil_nearest": Image.Resampling.NEAREST, "pil_bilinear": Image.Resampling.BILINEAR,
                   "pil_bicubic": Image.Resampling.BICUBIC}
        return np.asarray(Image.fromarray(array).resize(target, filters[method]))
    return cv2.resize(array, target, interpolation=cv2.INTER_LINEAR if method == "cv_bilinear" else cv2.INTER_CUBIC)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path,
                        default=Path(__file__).resolve().parents[2] / "tests" / "data" / "media")
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    write_formats(folder)
    goldens = io.BytesIO()
    index = {"pillow": PIL.__version__, "opencv": cv2.__version__, "numpy": np.__version__, "decoded": [],
             "resized": []}

    def append(array):
        offset = goldens.tell()
        goldens.write(np.ascontiguousarray(array).tobytes())
        return {"offset": offset, "width": array.shape[1], "height": array.shape[0]}

    for path in sorted(folder.iterdir()):
        if path.suffix in (".jpg", ".png", ".webp", ".bmp"):
            index["decoded"].append({"file": path.name, **append(decoded(path))})
    sources = {}
    for number, source, target, method in resize_cases():
        if number not in sources:
            sources[number] = noise(*source, seed=number)
        index["resized"].append({"method": method, "source": append(sources[number]),
                                 "result": append(resized(sources[number], target, method))})
    (folder / "goldens.bin").write_bytes(goldens.getvalue())
    (folder / "goldens.json").write_text(json.dumps(index, indent=1) + "\n")


if __name__ == "__main__":
    main()
