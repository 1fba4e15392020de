"""Write the stand-ins of one function: ``python -m tests.functions.catalogue.stand_ins ID FOLDER``.

Run it with an interpreter that has the function's own libraries. It prints the environment
variables under which the function finds the files, one NAME=PATH a line, so that a function can be
served and checked without its official weights.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

#: function -> environment variable, file name, and the function that writes the file
STAND_INS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "onnx-wongkinyiu-yolov7": (("MODEL_PATH", "yolov7.onnx", "yolov7.make"),),
    "tf-faster-rcnn-inception-v2-coco": (("MODEL_PATH", "frozen.pb", "faster_rcnn.make"),),
    "openvino-omz-intel-face-detection-0205": (
        ("DETECTOR_MODEL_PATH", "", "faces.make_detector"),
        ("AGE_GENDER_MODEL_PATH", "", "faces.make_age_gender"),
        ("EMOTIONS_MODEL_PATH", "", "faces.make_emotion"),
    ),
    "openvino-omz-public-mask-rcnn-inception-resnet-v2-atrous-coco": (
        ("MODEL_PATH", "mask_rcnn.xml", "mask_rcnn.make"),
    ),
    "openvino-omz-intel-person-reidentification-retail-0277": (
        ("MODEL_PATH", "reid.xml", "reidentification.make"),
    ),
    "pth-facebookresearch-detectron2-retinanet-r101": (
        ("MODEL_PATH", "retinanet.pkl", "checkpoints.make_retinanet"),
    ),
    "pth-facebookresearch-sam-vit-h": (("MODEL_PATH", "sam.pth", "checkpoints.make_sam"),),
    "pth-mmpose-hrnet32": (
        ("MODEL_PATH", "pose.pth", "checkpoints.make_pose"),
        ("DETECTOR_MODEL_PATH", "people.pth", "checkpoints.make_one_person"),
    ),
    "pth-dschoerk-transt": (("MODEL_PATH", "transt.pth", "checkpoints.make_transt"),),
    "hf-facebook-mask2former": (("MODEL_PATH", "mask2former", "huggingface.make_mask2former"),),
    "hf-facebook-sam3": (("MODEL_PATH", "sam3", "huggingface.make_sam3"),),
    "hf-google-owlv2": (("MODEL_PATH", "owl", "huggingface.make_owl"),),
    "hf-idea-research-grounding-dino": (("MODEL_PATH", "dino", "huggingface.make_grounding_dino"),),
    "hf-pekingu-rtdetr-v2": (("MODEL_PATH", "detector", "huggingface.make_detector"),),
    "hf-usyd-community-vitpose": (("MODEL_PATH", "pose", "huggingface.make_pose"),),
    "pth-facebookresearch-sam2": (("MODEL_PATH", "sam2", "huggingface.make_sam2"),),
    "pth-facebookresearch-sam2-tracker": (("MODEL_PATH", "sam2", "huggingface.make_sam2"),),
    "pth-shiyinzhang-iog": (("MODEL_PATH", "iog.pth", "checkpoints.make_iog"),),
}


def write(function: str, folder: Path) -> dict[str, Path]:
    """Write the stand-ins of a function; return environment variables and files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for variable, file, maker in STAND_INS[function]:
        module, _, name = maker.partition(".")
        make = getattr(importlib.import_module(f"{__package__}.{module}"), name)
        files[variable] = make(folder / file if file else folder)
    return files


if __name__ == "__main__":
    for variable, path in write(sys.argv[1], Path(sys.argv[2]).resolve()).items():
        sys.stdout.write(f"{variable}={path}\n")
