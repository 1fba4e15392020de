"""The test modules of the catalogue's networks, and the functions that each of them tests.

A function's environment runs the modules of its functions only. The environments of PyTorch and of
transformers both have PyTorch, so that each of them could run most modules.
"""

from __future__ import annotations

from collections.abc import Iterable

_MODELS = (
    "hf-facebook-mask2former",
    "hf-facebook-sam3",
    "hf-google-owlv2",
    "hf-idea-research-grounding-dino",
    "hf-pekingu-rtdetr-v2",
    "hf-usyd-community-vitpose",
    "pth-facebookresearch-sam2",
)
_TRACKER = "pth-facebookresearch-sam2-tracker"
#: Their stand-ins are tiny models, which prove answers and say nothing about speed.
TRANSFORMERS = (*_MODELS, _TRACKER)
_REIDENTIFICATION = "openvino-omz-intel-person-reidentification-retail-0277"
TESTED: dict[str, tuple[str, ...]] = {
    "test_devices.py": (_REIDENTIFICATION, "pth-shiyinzhang-iog"),
    "test_face_detection.py": ("openvino-omz-intel-face-detection-0205",),
    "test_faster_rcnn.py": ("tf-faster-rcnn-inception-v2-coco",),
    "test_hrnet.py": ("pth-mmpose-hrnet32",),
    "test_huggingface.py": _MODELS,
    "test_iog.py": ("pth-shiyinzhang-iog",),
    "test_mask_rcnn.py": ("openvino-omz-public-mask-rcnn-inception-resnet-v2-atrous-coco",),
    "test_reidentification.py": (_REIDENTIFICATION,),
    "test_retinanet.py": ("pth-facebookresearch-detectron2-retinanet-r101",),
    "test_sam.py": ("pth-facebookresearch-sam-vit-h",),
    "test_sam2_tracker.py": (_TRACKER,),
    "test_transt.py": ("pth-dschoerk-transt",),
    "test_yolov7.py": ("onnx-wongkinyiu-yolov7",),
}


def modules_of(functions: Iterable[str]) -> list[str]:
    """Return the names of the modules that test at least one of the functions."""
    chosen = set(functions)
    return [module for module, tested in TESTED.items() if chosen.intersection(tested)]
