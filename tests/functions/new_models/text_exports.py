"""Exports YOLOE and YOLO-World with random weights, and prints what Ultralytics finds with them.

``python text_exports.py FOLDER IMAGE`` runs in an environment of its own with ultralytics.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

TEXTS = ["a red car", "cat", "person on a bike"]
SIDE = 320


def export(folder: Path) -> dict[str, Path]:
    """Write both networks and return their files. The embeddings of the texts are random."""
    torch: Any = importlib.import_module("torch")
    ultralytics: Any = importlib.import_module("ultralytics")
    torch.manual_seed(3)
    normalize = torch.nn.functional.normalize
    yoloe = ultralytics.YOLOE("yoloe-11s-seg.yaml")
    world = ultralytics.YOLOWorld("yolov8s-worldv2.yaml")
    texts = normalize(torch.randn(1, len(TEXTS), 512), dim=-1)
    # Its set_classes would fetch CLIP for the embeddings, and then sets these three members.
    world.model.txt_feats = texts
    world.model.model[-1].nc = len(TEXTS)
    world.model.names = dict(enumerate(TEXTS))
    # Statistics of the layers: without them all scores of an untrained network are equal.
    noise = torch.nn.functional.interpolate(torch.rand(4, 3, 20, 20), (SIDE, SIDE), mode="bicubic")
    for model in (yoloe.model, world.model):
        for part in model.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.momentum = None
        with torch.no_grad():
            model.train().predict(noise, **({"tpe": texts} if model is yoloe.model else {}))
        model.eval()
    yoloe.set_classes(TEXTS, texts)
    files = {}
    for name, model in (("yoloe", yoloe), ("world", world)):
        for part in model.model.model[-1].modules():
            if type(part).__name__ in ("ContrastiveHead", "BNContrastiveHead"):
                part.bias.data += 9.0  # else the scores are near zero
        made = Path(model.export(format="onnx", imgsz=SIDE, simplify=False))
        files[name] = made.replace(folder / f"{name}.onnx")
    return files


def found(file: Path, image: str, task: str) -> list[dict[str, Any]]:
    """Return the boxes and the sizes of the masks that Ultralytics' predictor finds."""
    ultralytics: Any = importlib.import_module("ultralytics")
    [result] = ultralytics.YOLO(str(file), task=task).predict(
        image, imgsz=SIDE, conf=0.001, iou=0.7, rect=False, retina_masks=True, verbose=False
    )
    masks = [None] * len(result.boxes)
    if result.masks is not None:
        masks = [int(mask.sum()) for mask in result.masks.data]
    return [
        {"label": result.names[int(box.cls)], "score": float(box.conf), "area": area}
        | {"points": box.xyxy[0].tolist()}
        for box, area in zip(result.boxes, masks, strict=True)
    ]


files = export(Path(sys.argv[1]))
answer = {
    name: found(files[name], sys.argv[2], task)
    for name, task in (("yoloe", "segment"), ("world", "detect"))
}
print(json.dumps(answer))
