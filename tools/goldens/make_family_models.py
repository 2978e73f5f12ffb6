#!/usr/bin/env python3
"""Makes the family models: tiny random networks of the published families, as their exporters write them, and what the
frameworks' own code finds with them.

Writes tests/data/families/<case>.onnx, photo.png (64 x 64), goldens.json (detections, probabilities; what a test must
find) and versions.json. Needs torch, torchvision, transformers, onnx, onnxscript and Pillow; nothing of the project
runs it but the person who renews the goldens. The YOLO heads are our own modules after the published output layouts;
Faster R-CNN, SSD, RT-DETR, ViT, ResNet and CLIP are the frameworks' own.
"""

import argparse
import contextlib
import io
import json
import sys
import warnings
from pathlib import Path

import numpy
import onnx
import torch
import torchvision
import transformers
from PIL import Image
from torch import nn
from torchvision.ops import batched_nms

SEED = 20260102
SIZE = 64
NAMES = {0: "cat", 1: "dog", 2: "driver's seat"}
STRIDES = (8, 16, 32)


def make_photo(path):
    """A smooth coloured picture of the models' input size, so that no resizing stands between the frameworks."""
    rng = numpy.random.default_rng(SEED)
    small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=numpy.uint8))
    picture = small.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    picture.save(path)
    return numpy.asarray(picture)


class Trunk(nn.Module):
    """Feature maps at strides 8, 16 and 32."""

    def __init__(self, channels=8, norm=True):
        super().__init__()
        def block(a, b):
            return nn.Sequential(nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b), nn.SiLU())
        self.stem = nn.Sequential(block(3, channels), block(channels, channels), block(channels, channels))
        self.p4, self.p5 = block(channels, channels), block(channels, channels)

    def forward(self, x):
        p3 = self.stem(x)
        p4 = self.p4(p3)
        return p3, p4, self.p5(p4)


def settle(model, pixels, is_random=True):
    """Batch statistics of the photo become the running ones, so that a random network tells its pixels apart."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            if is_random:
                nn.init.uniform_(module.weight, 0.8, 1.6)
                nn.init.uniform_(module.bias, -0.5, 0.5)
    # Turned and mixed pictures beside the photo: statistics of four pixels would make differences of nothing large.
    turned = [pixels, pixels.flip(2), pixels.flip(3), pixels.transpose(2, 3)]
    model.train()
    with torch.no_grad():
        model(torch.cat(turned + [(a + b) / 2 for a in turned for b in turned if a is not b]))
    return model.eval()


def grid_of(size):
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return torch.stack((x, y), -1).float()


class Yolov5(nn.Module):
    """Rows cx, cy, w, h, objectness, classes in pixels; three anchors a cell."""
    ANCHORS = (((10, 13), (16, 30), (33, 23)), ((30, 61), (62, 45), (59, 119)), ((116, 90), (156, 198), (373, 326)))

    def __init__(self):
        super().__init__()
        self.trunk = Trunk()
        self.heads = nn.ModuleList(nn.Conv2d(8, 3 * (5 + len(NAMES)), 1) for _ in STRIDES)

    def forward(self, images):
        rows = []
        for level, (x, head) in enumerate(zip(self.trunk(images), self.heads)):
            batch, _, height, width = x.shape
            y = head(x).view(batch, 3, 5 + len(NAMES), height, width).permute(0, 1, 3, 4, 2).contiguous().sigmoid()
            centre = (y[..., 0:2] * 2 - 0.5 + grid_of(height)) * STRIDES[level]
            anchors = torch.tensor(self.ANCHORS[level]).float().view(1, 3, 1, 1, 2) / 4
            y = torch.cat((centre, (y[..., 2:4] * 2) ** 2 * anchors, y[..., 4:]), 4)
            rows.append(y.view(batch, 3 * height * width, 5 + len(NAMES)))
        return torch.cat(rows, 1)


class Yolov8(nn.Module):
    """Columns cx, cy, w, h, classes in pixels; distances to the sides as expectations over 16 bins (DFL)."""

    def __init__(self, end_to_end=False):
        super().__init__()
        self.trunk = Trunk()
        self.end_to_end = end_to_end
        self.sides = nn.ModuleList(nn.Conv2d(8, 64, 1) for _ in STRIDES)
        self.classes = nn.ModuleList(nn.Conv2d(8, len(NAMES), 1) for _ in STRIDES)
        self.dfl = nn.Conv2d(16, 1, 1, bias=False)
        self.dfl.weight.data[:] = torch.arange(16).float().view(1, 16, 1, 1)

    def forward(self, images):
        maps = self.trunk(images)
        batch = images.shape[0]
        joined = torch.cat([torch.cat((s(x), c(x)), 1).view(batch, 64 + len(NAMES), -1)
                            for x, s, c in zip(maps, self.sides, self.classes)], 2)
        sides, classes = joined.split((64, len(NAMES)), 1)
        distances = self.dfl(sides.view(batch, 4, 16, -1).transpose(2, 1).softmax(1)).view(batch, 4, -1)
        centres = torch.cat([grid_of(x.shape[2]).view(-1, 2) + 0.5 for x in maps]).T.unsqueeze(0)
        strides = torch.cat([torch.full((x.shape[2] * x.shape[3],), float(s)) for x, s in zip(maps, STRIDES)])
        low, high = distances.chunk(2, 1)
        first, last = centres - low / 4, centres + high / 4
        if not self.end_to_end:
            boxes = torch.cat(((first + last) / 2, last - first), 1) * strides
            return torch.cat((boxes, classes.sigmoid()), 1)
        rows = torch.cat((torch.cat((first, last), 1) * strides, classes.sigmoid()), 1).permute(0, 2, 1)
        boxes, scores = rows.split((4, len(NAMES)), -1)
        index = scores.amax(-1).topk(60)[1].unsqueeze(-1)
        boxes = boxes.gather(1, index.repeat(1, 1, 4))
        scores = scores.gather(1, index.repeat(1, 1, len(NAMES)))
        scores, index = scores.flatten(1).topk(60)
        chosen = boxes[torch.arange(batch)[..., None], index // len(NAMES)]
        return torch.cat((chosen, scores[..., None], (index % len(NAMES))[..., None].float()), -1)


class Yolox(nn.Module):
    """Rows in grid units as YOLOX exports them: regression raw, objectness and classes as probabilities."""

    def __init__(self):
        super().__init__()
        self.trunk = Trunk()
        self.boxes = nn.ModuleList(nn.Conv2d(8, 4, 1) for _ in STRIDES)
        self.objects = nn.ModuleList(nn.Conv2d(8, 1, 1) for _ in STRIDES)
        self.classes = nn.ModuleList(nn.Conv2d(8, len(NAMES), 1) for _ in STRIDES)

    def forward(self, images):
        outputs = [torch.cat((b(x), o(x).sigmoid(), c(x).sigmoid()), 1)
                   for x, b, o, c in zip(self.trunk(images), self.boxes, self.objects, self.classes)]
        return torch.cat([x.flatten(start_dim=2) for x in outputs], dim=2).permute(0, 2, 1)


def spread(model, pixels):
    """Larger weights in the heads of the classes, so that scores lie apart."""
    for name, parameter in model.named_parameters():
        if name.startswith(("classes", "objects", "heads")) and name.endswith("weight"):
            parameter.data *= 3
    return settle(model, pixels)


def xyxy(rows):
    return torch.cat((rows[:, :2] - rows[:, 2:4] / 2, rows[:, :2] + rows[:, 2:4] / 2), 1)


def as_detections(boxes, scores, classes, threshold, iou=None, limit=300):
    keep = scores > threshold
    boxes, scores, classes = boxes[keep], scores[keep], classes[keep]
    if iou is not None:
        keep = batched_nms(boxes, scores, classes, iou)
        boxes, scores, classes = boxes[keep], scores[keep], classes[keep]
    boxes = boxes.clamp(0, SIZE)
    keep = (boxes[:, 2:] - boxes[:, :2]).amin(1) > 0
    boxes, scores, classes = boxes[keep], scores[keep], classes[keep]
    order = scores.argsort(descending=True)[:limit]
    return [{"box": [round(v, 4) for v in boxes[i].tolist()], "score": round(scores[i].item(), 6),
             "class": int(classes[i])} for i in order]


class Cases:
    def __init__(self, folder, photo):
        self.folder, self.photo, self.goldens = folder, photo, {}
        self.checkpoints = Path(__file__).resolve().parents[2] / "tests/data/huggingface"
        self.unit = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].float() / 255

    def write(self, name, model, args, metadata=None, dynamo=False, opset=17, **options):
        path = self.folder / f"{name}.onnx"
        kwargs = dict(opset_version=opset, dynamo=dynamo, **options)
        if dynamo:
            kwargs["external_data"] = False
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.onnx.export(model, args, str(path), **kwargs)
        file = onnx.load(path)
        for graph_part in (*file.graph.node, *file.graph.value_info):  # traces of the stack with this machine's paths
            graph_part.doc_string = ""
            del graph_part.metadata_props[:]
        del file.graph.metadata_props[:]
        onnx.helper.set_model_props(file, metadata or {})
        onnx.save(file, path)

    def add(self, name, golden):
        self.goldens[name] = golden


ULTRALYTICS = {"names": str(NAMES), "stride": "32", "task": "detect", "imgsz": f"[{SIZE}, {SIZE}]", "batch": "1",
               "description": "tiny random model", "author": "none"}


def yolos(cases):
    x = cases.unit
    open_batch = {"images": {0: "batch"}, "output0": {0: "batch"}}
    torch.manual_seed(SEED + 1)
    model = spread(Yolov5(), x)
    cases.write("yolov5", model, (x,), {k: ULTRALYTICS[k] for k in ("names", "stride")}, opset=12,
                input_names=["images"], output_names=["output0"])
    rows = model(x)[0]
    score, index = (rows[:, 4:5] * rows[:, 5:]).max(1)
    cases.add("yolov5", {"head": "yolov5", "detections": as_detections(xyxy(rows), score, index, 0.25, 0.45)})

    for name, dynamo in (("yolov8", False), ("yolov8_dynamo", True)):
        torch.manual_seed(SEED + 2)
        model = spread(Yolov8(), x)
        options = {} if dynamo else {"dynamic_axes": open_batch}
        cases.write(name, model, (x,), ULTRALYTICS, dynamo=dynamo, opset=18 if dynamo else 17,
                    input_names=["images"], output_names=["output0"], **options)
        rows = model(x)[0].T
        score, index = rows[:, 4:].max(1)
        cases.add(name, {"head": "yolov8", "detections": as_detections(xyxy(rows), score, index, 0.25, 0.7)})

    torch.manual_seed(SEED + 3)
    model = spread(Yolov8(end_to_end=True), x)
    cases.write("yolov10", model, (x,), {**ULTRALYTICS, "end2end": "True"}, input_names=["images"],
                output_names=["output0"])
    rows = model(x)[0]
    cases.add("yolov10", {"head": "yolo_end2end",
                          "detections": as_detections(rows[:, :4], rows[:, 4], rows[:, 5], 0.25)})

    torch.manual_seed(SEED + 4)
    pixels = x.flip(1) * 255  # BGR 0..255
    model = spread(Yolox(), pixels)
    cases.write("yolox", model, (pixels,), opset=11, input_names=["images"], output_names=["output"])
    rows = model(pixels)[0]
    grids = torch.cat([grid_of(SIZE // s).view(-1, 2) for s in STRIDES])
    strides = torch.cat([torch.full(((SIZE // s) ** 2, 1), float(s)) for s in STRIDES])
    boxes = xyxy(torch.cat(((rows[:, :2] + grids) * strides, rows[:, 2:4].exp() * strides), 1))
    score, index = (rows[:, 4:5] * rows[:, 5:]).max(1)
    cases.add("yolox", {"head": "yolox", "detections": as_detections(boxes, score, index, 0.25, 0.45)})


def rtdetr(cases):
    from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrImageProcessor
    from transformers.models.rt_detr.configuration_rt_detr_resnet import RTDetrResNetConfig
    x = cases.unit
    backbone = RTDetrResNetConfig(embedding_size=8, hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1],
                                  layer_type="basic", out_features=["stage2", "stage3", "stage4"],
                                  downsample_in_first_stage=False)
    config = RTDetrConfig(backbone_config=backbone, encoder_hidden_dim=16, encoder_in_channels=[8, 8, 8],
                          encoder_ffn_dim=32, encoder_attention_heads=2, d_model=16, num_queries=60,
                          decoder_in_channels=[16, 16, 16], decoder_ffn_dim=32, decoder_attention_heads=2,
                          decoder_n_points=2, decoder_layers=2, freeze_backbone_batch_norms=False,
                          encoder_layers=1, num_denoising=0,
                          num_labels=3, id2label=NAMES, anchor_image_size=[SIZE, SIZE])
    for name, dynamo in (("rtdetr", False),):  # dynamo=True works too and gives the same, in 1.5 MB
        torch.manual_seed(SEED + 5)
        model = settle(RTDetrForObjectDetection(config), x, is_random=False)
        for parameter_name, parameter in model.named_parameters():
            if "class_embed" in parameter_name or "enc_score_head" in parameter_name:
                nn.init.normal_(parameter, 0, 0.6)
            elif "bbox_embed" in parameter_name or "enc_bbox_head" in parameter_name:
                nn.init.normal_(parameter, 0, 0.2)

        class Published(nn.Module):
            def __init__(self):
                super().__init__()
                self.model = model

            def forward(self, pixel_values):
                found = self.model(pixel_values)
                return found.logits, found.pred_boxes

        try:
            cases.write(name, Published().eval(), (x,), dynamo=dynamo, opset=18 if dynamo else 16,
                        input_names=["pixel_values"], output_names=["logits", "pred_boxes"])
        except Exception as error:
            print("no", name, type(error).__name__, str(error)[:600], file=sys.stderr)
            continue
        found = RTDetrImageProcessor().post_process_object_detection(
            model(x), threshold=0.3, target_sizes=torch.tensor([[SIZE, SIZE]]))[0]
        # A random decoder magnifies float16's roundings past what the proof allows: TensorRT gets it in float32.
        cases.add(name, {"head": "rtdetr", "threshold": 0.3, "tensorrt_precision": "fp32",
                         "detections": as_detections(found["boxes"], found["scores"], found["labels"], 0.3)})


class SmallBackbone(nn.Module):
    out_channels = 8

    def __init__(self):
        super().__init__()
        self.trunk = Trunk()

    def forward(self, x):
        return {str(i): value for i, value in enumerate(self.trunk(x)[:2])}


def torchvision_detectors(cases):
    from torchvision.models.detection.faster_rcnn import FasterRCNN
    from torchvision.models.detection.ssd import SSD
    from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
    from torchvision.ops import MultiScaleRoIAlign
    x = cases.unit[0]
    def tune(model):
        trunk = model.backbone.trunk
        settle(trunk, (cases.unit - 0.45) / 0.22)
        for name, parameter in model.named_parameters():
            if name == "roi_heads.box_predictor.cls_score.bias" or "classification_head" in name and "bias" in name:
                parameter.data[0::4] = -2  # less background
            elif any(part in name for part in ("cls_logits", "cls_score")):
                nn.init.normal_(parameter, 0, 0.8)
            elif "classification_head" in name:
                nn.init.normal_(parameter, 0, 0.1)
            elif any(part in name for part in ("bbox_pred", "regression_head")):
                nn.init.normal_(parameter, 0, 0.1)
        return model.eval()

    def faster():
        torch.manual_seed(SEED + 6)
        anchors = AnchorGenerator(sizes=((16,), (32,)), aspect_ratios=((0.5, 1.0, 2.0),) * 2)
        pool = MultiScaleRoIAlign(featmap_names=["0", "1"], output_size=3, sampling_ratio=2)
        model = FasterRCNN(SmallBackbone(), min_size=SIZE, max_size=SIZE, rpn_anchor_generator=anchors,
                           box_roi_pool=pool, rpn_pre_nms_top_n_test=60, rpn_post_nms_top_n_test=20,
                           box_detections_per_img=20,
                           box_head=torchvision.models.detection.faster_rcnn.TwoMLPHead(8 * 9, 16),
                           box_predictor=torchvision.models.detection.faster_rcnn.FastRCNNPredictor(16, 4))
        return tune(model)

    def ssd():
        torch.manual_seed(SEED + 7)
        model = SSD(SmallBackbone(), DefaultBoxGenerator([[2], [2]], scales=[0.2, 0.5, 0.9]), (SIZE, SIZE), 4,
                    topk_candidates=30, detections_per_img=20,
                    head=torchvision.models.detection.ssd.SSDHead([8, 8], [4, 4], 4))
        return tune(model)

    names = dict(input_names=["image"], output_names=["boxes", "labels", "scores"])
    for case, make, dynamo, opset, fixed in (("faster_rcnn", faster, False, 11, False),
                                             ("faster_rcnn_opset17", faster, False, 17, True),
                                             ("ssd_torchvision", ssd, False, 17, True)):
        model = make()
        options = dict(names)
        if dynamo:
            options.pop("output_names")
        elif not fixed:
            options["dynamic_axes"] = {"image": {1: "height", 2: "width"}, "boxes": {0: "n"}, "labels": {0: "n"},
                                       "scores": {0: "n"}}
        try:
            cases.write(case, model, ([x],), dynamo=dynamo, opset=opset, **options)
        except Exception as error:
            print("no", case, type(error).__name__, str(error)[-600:], file=sys.stderr)
            continue
        if fixed:
            found = model([x])[0]
        else:  # an open input gets the picture at 800 pixels, which the network makes 64 again
            large = nn.functional.interpolate(x[None] * 255, (800, 800), mode="bilinear").round()[0] / 255
            found = model([large])[0]
            found["boxes"] = found["boxes"] * SIZE / 800
        order = {"head": "faster_rcnn", "threshold": 0.1, "tensorrt_refuses": "NonZero",
                 "detections": as_detections(found["boxes"], found["scores"], found["labels"] - 1, 0.1)}
        cases.add(case, order)


def quantised(cases):
    """Convolutions with Q/DQ as ONNX Runtime's static quantisation writes them: symmetric, weights per channel."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    torch.manual_seed(SEED + 13)
    network = settle(Trunk(), cases.unit)
    model = nn.Sequential(network.stem, network.p4, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)).eval()
    nn.init.normal_(model[-1].weight, 0, 0.5)
    cases.write("quantised", model, (cases.unit,), opset=17, input_names=["input"], output_names=["output"])

    class Reader(CalibrationDataReader):
        def __init__(self):
            turned = (cases.unit, cases.unit.flip(2), torch.rand(1, 3, SIZE, SIZE), torch.zeros(1, 3, SIZE, SIZE))
            self.batches = iter([{"input": value.numpy()} for value in turned])

        def get_next(self):
            return next(self.batches, None)

    path = cases.folder / "quantised.onnx"
    quantize_static(path, path, Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
                    activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
                    extra_options={"ActivationSymmetric": True, "WeightSymmetric": True})
    cases.add("quantised", {"task": "none"})


def with_photo(processor, photo):
    return processor(Image.fromarray(photo), return_tensors="pt")["pixel_values"]


def checkpoints(cases):
    """What transformers finds in the photo with the checkpoints of make_hf_goldens.py, preprocessing included."""
    from transformers import AutoImageProcessor, CLIPModel, CLIPTokenizer, ResNetForImageClassification, \
        ViTForImageClassification
    for name, kind in (("vit_classifier", ViTForImageClassification), ("resnet_basic", ResNetForImageClassification)):
        folder = cases.checkpoints / name
        pixels = with_photo(AutoImageProcessor.from_pretrained(folder, use_fast=False), cases.photo)
        logits = kind.from_pretrained(folder).eval()(pixels).logits
        cases.add("checkpoint/" + name, {"probabilities": logits.softmax(-1)[0].tolist()})
    folder = cases.checkpoints / "clip"
    model, tokenizer = CLIPModel.from_pretrained(folder).eval(), CLIPTokenizer.from_pretrained(folder)
    pixels = with_photo(AutoImageProcessor.from_pretrained(folder, use_fast=False), cases.photo)
    ids = tokenizer(["a photo of a cat", "a photo of a dog"], padding="max_length", max_length=11, truncation=True,
                    return_tensors="pt").input_ids
    found = model(input_ids=ids, pixel_values=pixels)
    cases.add("checkpoint/clip", {"embedding": found.image_embeds[0].tolist(),
                                  "text_embedding": found.text_embeds[0].tolist(),
                                  "zero_shot": found.logits_per_image.softmax(-1)[0].tolist()})


def classifiers(cases):
    """Exports of classifiers and encoders, with ImageNet's and CLIP's ways to prepare a picture."""
    from torchvision.models import MobileNetV3
    from torchvision.models.mobilenetv3 import InvertedResidualConfig
    from torchvision.models.vision_transformer import VisionTransformer
    from transformers import CLIPConfig, CLIPModel, ViTConfig, ViTForImageClassification
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    # ImageNet's convention: shortest edge to 256/224 of the extent, bilinear with antialiasing, middle cut out.
    large = Image.fromarray(cases.photo).resize((73, 73), Image.Resampling.BILINEAR)
    cut = torch.from_numpy(numpy.asarray(large)[4:68, 4:68].copy()).permute(2, 0, 1)[None].float() / 255
    x = (cut - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)

    def add(name, model, take, args=None, inputs=("pixel_values",), outputs=("logits",), dynamo=False, opset=17,
            axes=None, **golden):
        class Published(nn.Module):
            def __init__(self):
                super().__init__()
                self.model = model

            def forward(self, *values):
                return take(self.model, *values)

        wrapped = Published().eval()
        args = args or (x,)
        options = dict(input_names=list(inputs), output_names=list(outputs))
        if not dynamo:
            options["dynamic_axes"] = {name: {0: "batch"} for name in (*inputs, *outputs)}
        cases.write(name, wrapped, args, dynamo=dynamo, opset=opset, **options)
        values = wrapped(*args)
        golden = golden or {"probabilities": values.softmax(-1)[0].tolist()}
        cases.add(name, golden)

    torch.manual_seed(SEED + 8)
    blocks = [InvertedResidualConfig(8, 3, 16, 8, True, "RE", 1, 1, 1),
              InvertedResidualConfig(8, 5, 24, 12, True, "HS", 2, 1, 1)]
    model = settle(MobileNetV3(blocks, 32, num_classes=10), x)
    add("mobilenet_v3", model, lambda m, v: m(v), inputs=("input",), outputs=("output",), task="classification",
        probabilities=model(x).softmax(-1)[0].tolist())
    torch.manual_seed(SEED + 9)
    model = VisionTransformer(image_size=SIZE, patch_size=16, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32,
                              num_classes=10).eval()
    nn.init.normal_(model.heads.head.weight, 0, 0.5)
    for name, dynamo in (("vit_torchvision_dynamo", True),):
        add(name, model, lambda m, v: m(v), inputs=("input",), outputs=("output",), task="classification",
            dynamo=dynamo, opset=18 if dynamo else 14, probabilities=model(x).softmax(-1)[0].tolist())
    torch.manual_seed(SEED + 10)
    config = ViTConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
                       image_size=SIZE, patch_size=16, num_labels=10, attn_implementation="eager")
    model = ViTForImageClassification(config).eval()
    nn.init.normal_(model.classifier.weight, 0, 0.5)
    for name, dynamo in (("vit_transformers", False),):
        add(name, model, lambda m, v: m(v).logits, dynamo=dynamo, opset=18 if dynamo else 14)
    torch.manual_seed(SEED + 12)
    config = CLIPConfig(text_config=dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                                         intermediate_size=24, vocab_size=60, max_position_embeddings=11,
                                         eos_token_id=59, bos_token_id=58),
                        vision_config=dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                                           intermediate_size=24, image_size=SIZE, patch_size=16), projection_dim=12)
    config._attn_implementation = "eager"
    model = CLIPModel(config).eval()
    mean, std = torch.tensor([0.48145466, 0.4578275, 0.40821073]), torch.tensor([0.26862954, 0.26130258, 0.27577711])
    pixels = (cases.unit - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    ids = torch.randint(1, 58, (2, 11))
    ids[:, 0], ids[0, 7:], ids[1, 10] = 58, 59, 59
    encode = lambda m, v: m.visual_projection(m.vision_model(v).pooler_output)
    embedding = nn.functional.normalize(encode(model, pixels), dim=-1)[0].tolist()
    for name, dynamo in (("clip_image", False),):
        add(name, model, encode, (pixels,), outputs=("image_embeds",), dynamo=dynamo, opset=18 if dynamo else 14,
            embedding=embedding)
    add("clip_text", model, lambda m, v: m.text_projection(m.text_model(v).pooler_output), (ids,),
        inputs=("input_ids",), outputs=("text_embeds",), opset=14, task="none")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--only", nargs="*")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    torch.set_grad_enabled(False)
    torch.backends.mha.set_fastpath_enabled(False)  # the fused operator has no ONNX form
    cases = Cases(arguments.output, make_photo(arguments.output / "photo.png"))
    for part in (yolos, rtdetr, torchvision_detectors, classifiers, quantised, checkpoints):
        if arguments.only and part.__name__ not in arguments.only:
            continue
        part(cases)
        print(part.__name__, {k: len(v.get("detections", ())) for k, v in cases.goldens.items()})
    (arguments.output / "goldens.json").write_text(json.dumps(cases.goldens, separators=(",", ":")) + "\n")
    versions = {"torch": torch.__version__, "torchvision": torchvision.__version__,
                "transformers": transformers.__version__, "onnx": onnx.__version__, "seed": SEED}
    (arguments.output / "versions.json").write_text(json.dumps(versions, indent=2) + "\n")


if __name__ == "__main__":
    main()
