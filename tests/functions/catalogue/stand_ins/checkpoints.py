"""Stand-ins for PyTorch checkpoints: official names, shapes and packing, random weights."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.functions.catalogue.recipes import fixture, official_shapes, random_weights

WIDE = 100.0  # cells of RTMDet from a person's middle to each side


class TrainingSettings:
    """Stand-in for the settings object that some official checkpoints contain."""


def tensors(shapes: str, gains: Mapping[str, float]) -> dict[str, torch.Tensor]:
    """Return random weights under the names of a file of shapes."""
    weights = random_weights(official_shapes(shapes), gains)
    return {name: torch.from_numpy(value) for name, value in weights.items()}


def retinanet_weights() -> dict[str, np.ndarray]:
    """Return the weights with which the outputs of the fixture were computed."""
    expected = fixture("retinanet_r101.outputs.json")
    weights = random_weights(official_shapes("retinanet_r101.shapes.json"), expected["gains"])
    weights["head.cls_score.bias"] = weights["head.cls_score.bias"] + expected["class_bias"]
    return weights


def make_retinanet(path: Path) -> Path:
    """Write a pickle as Detectron2 does: arrays under 'model', constants among them."""
    model: dict[str, Any] = {
        **retinanet_weights(),
        "pixel_mean": np.zeros((3, 1, 1), np.float32),
        "anchor_generator.cell_anchors.0": np.zeros((9, 4), np.float32),
    }
    path.write_bytes(pickle.dumps({"model": model, "__author__": "Detectron2"}, protocol=2))
    return path


def make_sam(path: Path) -> Path:
    """Write a checkpoint of the smallest official size."""
    torch.save(tensors("sam_vit_b.shapes.json", fixture("sam_small.outputs.json")["gains"]), path)
    return path


def make_pose(path: Path) -> Path:
    """Write the pose network's checkpoint as MMEngine does."""
    return _of_mmengine(path, "hrnet_w32")


def make_people(path: Path) -> Path:
    """Write the person detector's checkpoint as MMEngine does."""
    return _of_mmengine(path, "rtmdet_nano")


def make_one_person(path: Path) -> Path:
    """Write the person detector's checkpoint so that it finds one person on every picture.

    All cells of the coarsest level predict the same wide box, so only one of them remains.
    """
    state = _weights_of("rtmdet_nano")
    state["bbox_head.rtm_cls.2.bias"] += 100.0
    state["bbox_head.rtm_reg.2.bias"] += WIDE
    torch.save({"meta": {"epoch": 1}, "state_dict": state}, path)
    return path


def _weights_of(name: str) -> dict[str, torch.Tensor]:
    return tensors(f"{name}.shapes.json", fixture(f"{name}.outputs.json")["gains"])


def _of_mmengine(path: Path, name: str) -> Path:
    state = _weights_of(name)
    torch.save({"meta": {"epoch": 1}, "state_dict": state}, path)
    return path


def make_transt(path: Path) -> Path:
    """Write a checkpoint as the authors' trainer does, with an object of its own class."""
    state = tensors("transt.shapes.json", fixture("transt.outputs.json")["gains"])
    torch.save({"net": state, "epoch": 1000, "settings": TrainingSettings()}, path)
    return path


def make_iog(path: Path) -> Path:
    """Write a checkpoint that is only the mapping."""
    torch.save(tensors("iog.shapes.json", fixture("iog.outputs.json")["gains"]), path)
    return path
