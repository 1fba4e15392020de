"""An interaction function of CVAT's SDK: all pixels as bright as the clicked ones, in the box."""

from __future__ import annotations

from typing import Any

import cvat_sdk.auto_annotation as cvataa
import numpy as np
import PIL.Image
from cvat_sdk.masks import encode_mask

spec = cvataa.InteractionFunctionSpec(min_pos_points=1, min_neg_points=0, min_bounding_boxes=0)


def preprocess_image(context: cvataa.InteractionFunctionContext, image: PIL.Image.Image) -> Any:
    # The test counts these lines of the log.
    print(f"an image of {image.width} x {image.height} is preprocessed", flush=True)
    return np.asarray(image.convert("L")).astype(int)


def detect(
    context: cvataa.InteractionFunctionContext, pp_image: Any, prompts: cvataa.InteractionPrompts
) -> list[cvataa.InteractionResultShape]:
    found = np.zeros(pp_image.shape, dtype=bool)
    for x, y in prompts.pos_points:
        found |= abs(pp_image - pp_image[int(y), int(x)]) < 20
    for x, y in prompts.neg_points:
        found &= abs(pp_image - pp_image[int(y), int(x)]) >= 20
    if prompts.bounding_box is not None:
        (x0, y0), (x1, y1) = prompts.bounding_box
        inside = np.zeros_like(found)
        inside[int(y0) : int(y1), int(x0) : int(x1)] = True
        found &= inside
    if not found.any():
        return []
    return [cvataa.InteractionResultShape(type="mask", points=encode_mask(found))]
