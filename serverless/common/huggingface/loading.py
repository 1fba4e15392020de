"""Choose a model's class by its task, and load it from the weights folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import transformers
from transformers.utils import logging as transformers_logging

from common.errors import WeightsMissing
from common.huggingface.classification import Classifier
from common.huggingface.concepts import ConceptDetector
from common.huggingface.detection import ObjectDetector, TextDetector
from common.huggingface.interaction import Interactor
from common.huggingface.poses import PoseEstimator
from common.huggingface.segmentation import Segmenter
from common.huggingface.video import VideoTracker
from common.torch_runtime import torch_device
from common.weights import weights_folder

if TYPE_CHECKING:
    from common.entry import Model

#: task (mostly the names of transformers' pipelines) -> function that loads a model for it
TASKS: dict[str, Callable[[Path, torch.device], Model]] = {
    "image-classification": Classifier.load,
    "instance-segmentation": Segmenter.load_instances,
    "keypoint-detection": PoseEstimator.load,
    "mask-generation": Interactor.load,
    "mask-tracking": VideoTracker.load,
    "object-detection": ObjectDetector.load,
    "panoptic-segmentation": Segmenter.load_panoptic,
    "semantic-segmentation": Segmenter.load_semantic,
    "zero-shot-object-detection": TextDetector.load,
    "zero-shot-segmentation": ConceptDetector.load,
}


def load() -> Model:
    """Load the model of the weights folder (environment: HUGGINGFACE_TASK, MODEL_PATH)."""
    task = os.environ.get("HUGGINGFACE_TASK")
    if task not in TASKS:
        raise ValueError(f"HUGGINGFACE_TASK is {task!r}; use one of {', '.join(TASKS)}")
    transformers_logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    return TASKS[task](model_folder(), torch_device())


def model_folder(*, env: str = "MODEL_PATH") -> Path:
    """Return the folder with the files of a published model.

    It is the weights folder, or the folder that the environment variable ``env`` names. Raises
    WeightsMissing when it has no ``config.json``.
    """
    chosen = os.environ.get(env)
    folder = Path(chosen) if chosen else weights_folder()
    folder = folder.parent if folder.is_file() else folder
    if not (folder / "config.json").is_file():
        raise WeightsMissing(
            f"the folder {folder} has no config.json; set {env} to a folder with the files of the "
            "model: config.json, preprocessor_config.json, model.safetensors"
        )
    return folder
