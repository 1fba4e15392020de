"""Write models of transformers with random weights, in the sizes that their publishers state.

Run it as ``python -m tests.functions.catalogue.stand_ins.published ID FOLDER`` with the interpreter
of the function's environment. It prints the environment variable that names the folder.

Time and memory of a call do not depend on the values of the weights. The configurations are the
defaults of the classes of transformers, which are those of the published models: SAM 2.1 tiny,
RT-DETR v2 R50, Grounding DINO tiny, OWLv2 base, ViTPose base, Mask2Former with Swin small, SAM 3.
The makers below state what differs from the defaults. The tokenizers have few words or letters:
they give a text fewer or more tokens than the published ones.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image

from tests.functions.catalogue.stand_ins.huggingface import (
    tokenizer_of_letters,
    tokenizer_of_words,
)

PHOTOGRAPH = (
    Path(__file__).resolve().parents[4] / "cvat_lambda" / "server" / "photographs" / "astronaut.png"
)
COCO_CLASSES = 80
GAP = 2.0  # between the logits of the person that is found and of the next best one


def write(folder: Path, model: Any, processor: Any) -> None:
    """Write a model and its processor, or the members of its processor's configuration."""
    model.save_pretrained(folder)
    if isinstance(processor, dict):
        (folder / "preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")
    else:
        processor.save_pretrained(folder)


def make_sam2(folder: Path) -> None:
    """Write SAM 2.1 tiny for video, which is also read as the one for images."""
    config = transformers.Sam2VideoConfig()
    write(folder, transformers.Sam2VideoModel(config), {"image_mean": [0.485, 0.456, 0.406]})


def make_detector(folder: Path) -> None:
    """Write RT-DETR v2 with a ResNet-50."""
    config = transformers.RTDetrV2Config(num_labels=COCO_CLASSES)
    model = transformers.RTDetrV2ForObjectDetection(config)
    write(folder, model, transformers.RTDetrImageProcessorPil())


def make_person_detector(folder: Path) -> None:
    """Write RT-DETR v2 so that it finds exactly one person on the photograph."""
    names = {0: "person", **{number: f"class {number}" for number in range(1, COCO_CLASSES)}}
    config = transformers.RTDetrV2Config(id2label=names)
    model = transformers.RTDetrV2ForObjectDetection(config).eval()
    processor = transformers.RTDetrImageProcessorPil()
    inputs = processor(images=[Image.open(PHOTOGRAPH).convert("RGB")], return_tensors="pt")
    head = model.model.decoder.class_embed[-1]
    with torch.no_grad():
        best, second = model(**inputs).logits[0, :, 0].topk(2).values
        factor = GAP / (best - second)
        middle = (best + second) / 2 - head.bias[0]
        head.weight[0] *= factor
        head.bias[0] = -factor * middle
        head.bias[1:] = -10.0
        found = int((model(**inputs).logits[0] > 0).sum())
    if found != 1:
        raise SystemExit(f"the detector finds {found} persons on the photograph, and not one")
    write(folder, model, processor)


def make_pose(folder: Path) -> None:
    """Write ViTPose base with the simple decoder, and a detector of persons."""
    backbone = transformers.VitPoseBackboneConfig(out_indices=[12])
    names = {number: f"point {number}" for number in range(17)}
    config = transformers.VitPoseConfig(
        backbone_config=backbone, id2label=names, use_simple_decoder=True
    )
    model = transformers.VitPoseForPoseEstimation(config)
    write(folder, model, transformers.VitPoseImageProcessorPil())
    make_person_detector(folder / "detector")


def make_grounding_dino(folder: Path) -> None:
    """Write Grounding DINO tiny."""
    config = transformers.GroundingDinoConfig()
    processor = transformers.GroundingDinoProcessor(
        transformers.GroundingDinoImageProcessorPil(), tokenizer_of_words(folder)
    )
    write(folder, transformers.GroundingDinoForObjectDetection(config), processor)


def make_owl(folder: Path) -> None:
    """Write OWLv2 base with its input of 960 x 960 pixels; the library's default is 768 x 768."""
    config = transformers.Owlv2Config(vision_config={"image_size": 960})
    processor = transformers.Owlv2Processor(
        transformers.Owlv2ImageProcessorPil(), tokenizer_of_letters(folder)
    )
    write(folder, transformers.Owlv2ForObjectDetection(config), processor)


def make_mask2former(folder: Path) -> None:
    """Write Mask2Former with Swin small, whose input the publisher makes 384 x 384 pixels."""
    config = transformers.Mask2FormerConfig(num_labels=COCO_CLASSES)
    processor = transformers.Mask2FormerImageProcessorPil(size={"height": 384, "width": 384})
    write(folder, transformers.Mask2FormerForUniversalSegmentation(config), processor)


def make_sam3(folder: Path) -> None:
    """Write SAM 3."""
    config = transformers.Sam3Config()
    write(folder, transformers.Sam3Model(config), {"image_mean": [0.5, 0.5, 0.5]})
    tokenizer_of_letters(folder).save_pretrained(folder)


MAKERS: dict[str, Callable[[Path], None]] = {
    "hf-facebook-mask2former": make_mask2former,
    "hf-facebook-sam3": make_sam3,
    "hf-google-owlv2": make_owl,
    "hf-idea-research-grounding-dino": make_grounding_dino,
    "hf-pekingu-rtdetr-v2": make_detector,
    "hf-usyd-community-vitpose": make_pose,
    "pth-facebookresearch-sam2": make_sam2,
    "pth-facebookresearch-sam2-tracker": make_sam2,
}


if __name__ == "__main__":
    target = Path(sys.argv[2]).resolve()
    torch.manual_seed(0)
    transformers.utils.logging.disable_progress_bar()
    MAKERS[sys.argv[1]](target)
    sys.stdout.write(f"MODEL_PATH={target}\n")
