"""``python random_weights.py FOLDER MODEL ...``: write random weights for models of torchvision.

FOLDER is what the variable TORCH_HOME names: torchvision reads weights from there before it
downloads them. The files have the names and the shapes of the official weights.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torchvision.models


def main(folder: Path, names: list[str]) -> None:
    """Write the file of each model."""
    (folder / "hub" / "checkpoints").mkdir(parents=True)
    for name in names:
        torch.manual_seed(0)
        weights = torchvision.models.get_model_weights(name).DEFAULT
        options: dict[str, object] = {"num_classes": len(weights.meta["categories"])}
        if "rcnn" in name:
            options["weights_backbone"] = None
        if "keypoint_names" in weights.meta:
            options["num_keypoints"] = len(weights.meta["keypoint_names"])
        model = torchvision.models.get_model(name, weights=None, **options)
        state = model.state_dict()
        # As with trained networks, boxes are not much larger than the image, and there are no items
        # with a number that no category has.
        for key, value in state.items():
            if "bbox_pred" in key:
                value.zero_()
        unused = [i for i, each in enumerate(weights.meta["categories"]) if each == "N/A"]
        if unused:
            state["roi_heads.box_predictor.cls_score.bias"][unused] = -1000.0
        torch.save(state, folder / "hub" / "checkpoints" / Path(weights.url).name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
