#!/usr/bin/env python3
"""Makes tests/data/tasks/detection.{json,bin}: random detector outputs and the detections that follow from them.

An independent statement of every detection head in plain numpy (float64), from head to boxes in the picture, including
suppression and the way back from the model's input. Draws again until no decision hangs on rounding (scores near the
threshold or each other, overlaps near the IoU threshold). Run with Python and numpy.
"""

import argparse
import json
from pathlib import Path

import numpy as np

SCORE_THRESHOLD, IOU_THRESHOLD = 0.3, 0.45


class TooClose(Exception):
    """A decision hangs on rounding: draw again."""


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def center_to_corners(box):
    cx, cy, w, h = np.moveaxis(np.asarray(box, np.float64), -1, 0)
    return np.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], -1)


def single_class(boxes, scores):
    """One (box, score, class) a box, its best class."""
    best = scores.argmax(-1)
    return [(box, score[c], int(c)) for box, score, c in zip(boxes, scores, best)]


def every_class(boxes, scores):
    return [(boxes[i], scores[i, c], c) for i in range(len(boxes)) for c in range(scores.shape[1])]


def grid(width, height, strides):
    """Top left cell coordinates and stride of every YOLO box."""
    rows = []
    for stride in strides:
        for y in range(height // stride):
            for x in range(width // stride):
                rows.append((x, y, stride))
    return np.array(rows, np.float64)


def ssd_anchors(spec):
    """Rows of centre y, centre x, height, width, following the TensorFlow object detection API."""
    maps = spec["feature_map_sizes"]
    count = len(maps)
    scales = [spec["min_scale"] + (spec["max_scale"] - spec["min_scale"]) * i / (count - 1) for i in range(count)] + [1.0]
    anchors = []
    for layer, (rows, columns) in enumerate(maps):
        if layer == 0 and spec["reduce_boxes_in_lowest_layer"]:
            kinds = [(0.1, 1.0), (scales[0], 2.0), (scales[0], 0.5)]
        else:
            kinds = [(scales[layer], ratio) for ratio in spec["aspect_ratios"]]
            if spec["interpolated_scale_aspect_ratio"] > 0:
                kinds.append(((scales[layer] * scales[layer + 1]) ** 0.5, spec["interpolated_scale_aspect_ratio"]))
        ys, xs = np.meshgrid((np.arange(rows) + 0.5) / rows, (np.arange(columns) + 0.5) / columns, indexing="ij")
        cell = np.stack([ys, xs], -1).reshape(-1, 1, 2).repeat(len(kinds), 1)
        size = np.array([(s / r ** 0.5, s * r ** 0.5) for s, r in kinds])[None].repeat(rows * columns, 0)
        anchors.append(np.concatenate([cell, size], -1).reshape(-1, 4))
    return np.concatenate(anchors)


# --- outputs drawn at random: enough boxes that matter, most that do not ---


def random_scores(rng, shape):
    return (rng.random(shape) ** 6).astype(np.float32)


def random_centers(rng, count, width, height):
    return np.stack([rng.uniform(0, width, count), rng.uniform(0, height, count), rng.uniform(2, width * 0.6, count),
                     rng.uniform(2, height * 0.6, count)], -1).astype(np.float32)


def draw_yolov8(rng, case):
    width, height = case["canvas"]
    count = len(grid(width, height, case["strides"]))
    outputs, found = [], []
    for _ in range(case["batch"]):
        boxes, scores = random_centers(rng, count, width, height), random_scores(rng, (count, case["num_classes"]))
        outputs.append(np.concatenate([boxes, scores], -1).T)
        found.append(single_class(center_to_corners(boxes), scores.astype(np.float64)))
    return {"boxes": np.stack(outputs)}, found


def draw_yolov5(rng, case):
    width, height = case["canvas"]
    outputs, found = [], []
    for _ in range(case["batch"]):
        boxes = random_centers(rng, 50, width, height)
        objectness, scores = rng.random((50, 1)).astype(np.float32), random_scores(rng, (50, case["num_classes"]))
        outputs.append(np.concatenate([boxes, objectness, scores], -1))
        found.append(single_class(center_to_corners(boxes), objectness.astype(np.float64) * scores))
    return {"boxes": np.stack(outputs)}, found


def draw_yolox(rng, case):
    cells = grid(*case["canvas"], case["strides"])
    outputs, found = [], []
    for _ in range(case["batch"]):
        raw = np.concatenate([rng.normal(0.5, 1, (len(cells), 2)), rng.normal(0.3, 0.7, (len(cells), 2))],
                             -1).astype(np.float32)
        objectness = rng.random((len(cells), 1)).astype(np.float32)
        scores = random_scores(rng, (len(cells), case["num_classes"]))
        outputs.append(np.concatenate([raw, objectness, scores], -1))
        stride = cells[:, 2:]
        boxes = np.concatenate([(raw[:, :2] + cells[:, :2]) * stride, np.exp(raw[:, 2:].astype(np.float64)) * stride], -1)
        found.append(single_class(center_to_corners(boxes), objectness.astype(np.float64) * scores))
    return {"boxes": np.stack(outputs)}, found


def draw_end_to_end(rng, case):
    outputs, found = [], []
    for _ in range(case["batch"]):
        boxes = center_to_corners(random_centers(rng, 30, *case["canvas"])).astype(np.float32)
        scores = np.sort(rng.random(30).astype(np.float32))[::-1]
        classes = rng.integers(0, case["num_classes"], 30)
        outputs.append(np.concatenate([boxes, scores[:, None], classes[:, None]], -1))
        found.append([(b, s, int(c)) for b, s, c in zip(boxes.astype(np.float64), scores.astype(np.float64), classes)])
    return {"boxes": np.stack(outputs)}, found


def draw_rtdetr(rng, case):
    width, height = case["canvas"]
    boxes = rng.uniform(0.05, 0.7, (case["batch"], 20, 4)).astype(np.float32)
    logits = rng.normal(-3, 2, (case["batch"], 20, case["num_classes"])).astype(np.float32)
    scores = sigmoid(logits) if case["is_score_logit"] else random_scores(rng, logits.shape).astype(np.float64)
    raw = logits if case["is_score_logit"] else scores.astype(np.float32)
    found = [every_class(center_to_corners(b) * [width, height, width, height], s) for b, s in zip(boxes, scores)]
    if case["is_joined"]:
        return {"boxes": np.concatenate([boxes, raw], -1)}, found
    return {"boxes": boxes, "scores": raw}, found


def draw_ssd(rng, case):
    width, height = case["canvas"]
    anchors = ssd_anchors(case["ssd"])
    batch, background, scales = case["batch"], case["background_classes"], case["ssd"]["box_coder_scales"]
    encodings = rng.normal(0, 2, (batch, len(anchors), 1, 4)).astype(np.float32)
    raw = rng.normal(-4.5, 2.2, (batch, len(anchors), background + case["num_classes"])).astype(np.float32)
    raw[..., :background] = 9
    found = []
    for encoding, logits in zip(encodings[:, :, 0].astype(np.float64), raw):
        cy = encoding[:, 0] / scales[0] * anchors[:, 2] + anchors[:, 0]
        cx = encoding[:, 1] / scales[1] * anchors[:, 3] + anchors[:, 1]
        h = np.exp(encoding[:, 2] / scales[2]) * anchors[:, 2]
        w = np.exp(encoding[:, 3] / scales[3]) * anchors[:, 3]
        boxes = center_to_corners(np.stack([cx, cy, w, h], -1)) * [width, height, width, height]
        found.append(every_class(boxes, sigmoid(logits[:, background:])))
    return {"boxes": encodings, "scores": raw}, found


def draw_faster_rcnn(rng, case):
    boxes = center_to_corners(random_centers(rng, 25, *case["canvas"])).astype(np.float32)
    scores = rng.random(25).astype(np.float32)
    labels = rng.integers(case["background_classes"], case["background_classes"] + case["num_classes"], 25)
    found = [[(b, s, int(c) - case["background_classes"])
              for b, s, c in zip(boxes.astype(np.float64), scores.astype(np.float64), labels)]]
    return {"boxes": boxes, "scores": scores, "labels": labels.astype(np.float32)}, found


# --- from candidates to detections ---


def iou(a, b):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / both if width * height > 0 else 0.0


def suppressed(candidates, is_agnostic):
    kept = []
    for box, score, class_index in candidates:
        overlaps = [iou(box, other) for other, _, c in kept if is_agnostic or c == class_index]
        if any(abs(value - IOU_THRESHOLD) < 1e-4 for value in overlaps):
            raise TooClose
        if all(value <= IOU_THRESHOLD for value in overlaps):
            kept.append((box, score, class_index))
    return kept


def finished(found, case):
    if any(abs(score - SCORE_THRESHOLD) < 1e-5 for _, score, _ in found):
        raise TooClose
    candidates = sorted((f for f in found if f[1] > SCORE_THRESHOLD), key=lambda f: -f[1])
    if any(a[1] - b[1] < 1e-6 for a, b in zip(candidates, candidates[1:])):
        raise TooClose
    if case["head"] in ("yolov5", "yolov8", "yolox", "ssd") or case["is_agnostic"]:
        candidates = suppressed(candidates, case["is_agnostic"])
    place = case["placement"]
    rows = []
    for box, score, class_index in candidates[: case["max_detections"]]:
        back = (np.asarray(box) - [place["left"], place["top"]] * 2) * (
            [place["source"][0] / place["scaled"][0], place["source"][1] / place["scaled"][1]] * 2)
        back = np.clip(back, 0, place["source"] * 2)
        if min(back[2] - back[0], back[3] - back[1]) < 1e-2 and back[2] > back[0] and back[3] > back[1]:
            raise TooClose
        if back[2] > back[0] and back[3] > back[1]:
            rows.append({"box": [round(float(v), 4) for v in back], "score": round(float(score), 7), "class": class_index})
    return rows


def cases():
    plain = {"strides": [8, 16, 32], "batch": 1, "background_classes": 0, "is_score_logit": False, "is_joined": False,
             "is_agnostic": False, "max_detections": 300}
    boxed = {"source": [192, 100], "scaled": [96, 50], "left": 0, "top": 7}  # letterboxed into 96 × 64
    whole = {"source": [75, 40], "scaled": [96, 64], "left": 0, "top": 0}  # stretched
    ssd = {"feature_map_sizes": [[5, 4], [3, 3], [1, 2]], "min_scale": 0.2, "max_scale": 0.95,
           "aspect_ratios": [1.0, 2.0, 0.5, 3.0, 1 / 3], "interpolated_scale_aspect_ratio": 1.0,
           "reduce_boxes_in_lowest_layer": True, "box_coder_scales": [10.0, 10.0, 5.0, 5.0]}
    for name, draw, changes in (
            ("yolov8", draw_yolov8, {"head": "yolov8", "num_classes": 7, "batch": 3}),
            ("yolov8 one class", draw_yolov8, {"head": "yolov8", "num_classes": 1}),
            ("yolov8 agnostic", draw_yolov8, {"head": "yolov8", "num_classes": 3, "is_agnostic": True}),
            ("yolov8 few", draw_yolov8, {"head": "yolov8", "num_classes": 7, "max_detections": 2}),
            ("yolov5", draw_yolov5, {"head": "yolov5", "num_classes": 5, "batch": 2}),
            ("yolov5 one class", draw_yolov5, {"head": "yolov5", "num_classes": 1}),
            ("yolox", draw_yolox, {"head": "yolox", "num_classes": 5, "batch": 2}),
            ("yolox own strides", draw_yolox, {"head": "yolox", "num_classes": 2, "strides": [16, 32, 64]}),
            ("end to end", draw_end_to_end, {"head": "yolo_end2end", "num_classes": 11, "batch": 2}),
            ("end to end agnostic", draw_end_to_end, {"head": "yolo_end2end", "num_classes": 11, "is_agnostic": True}),
            ("rtdetr logits", draw_rtdetr, {"head": "rtdetr", "num_classes": 9, "batch": 2, "is_score_logit": True,
                                            "placement": whole}),
            ("rtdetr joined", draw_rtdetr, {"head": "rtdetr", "num_classes": 3, "is_joined": True, "placement": whole}),
            ("ssd", draw_ssd, {"head": "ssd", "num_classes": 6, "batch": 2, "background_classes": 1,
                               "is_score_logit": True, "ssd": ssd, "placement": whole}),
            ("ssd all boxes", draw_ssd, {"head": "ssd", "num_classes": 2, "background_classes": 1,
                                         "is_score_logit": True, "placement": whole,
                                         "ssd": {**ssd, "reduce_boxes_in_lowest_layer": False,
                                                 "interpolated_scale_aspect_ratio": 0.0,
                                                 "aspect_ratios": [1.0, 2.0]}}),
            ("faster rcnn", draw_faster_rcnn, {"head": "faster_rcnn", "num_classes": 4, "background_classes": 1,
                                               "placement": whole}),
    ):
        yield draw, {"name": name, "canvas": [96, 64], "placement": boxed, **plain, **changes}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path,
                        default=Path(__file__).resolve().parents[2] / "tests" / "data" / "tasks")
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    binary, index = b"", {"numpy": np.__version__, "score_threshold": SCORE_THRESHOLD, "iou_threshold": IOU_THRESHOLD,
                          "cases": []}
    for number, (draw, case) in enumerate(cases()):
        for attempt in range(1000):
            try:
                outputs, found = draw(np.random.default_rng([number, attempt]), case)
                case["detections"] = [finished(one, case) for one in found]
                break
            except TooClose:
                continue
        else:
            raise SystemExit(f"{case['name']}: no draw without close decisions")
        case["outputs"] = {}
        for name, values in outputs.items():
            values = np.ascontiguousarray(values, np.float32)
            case["outputs"][name] = {"offset": len(binary), "shape": values.shape}
            binary += values.tobytes()
        index["cases"].append(case)
        print(f"{case['name']}: {[len(d) for d in case['detections']]} detections, attempt {attempt}")
    (folder / "detection.bin").write_bytes(binary)
    (folder / "detection.json").write_text(json.dumps(index) + "\n")


if __name__ == "__main__":
    main()
