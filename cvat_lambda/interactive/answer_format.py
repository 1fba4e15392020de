"""The format of an interactor's answer: a mask, or the blob that CVAT's page decodes itself.

CVAT's page has a plugin for one function (`BROWSER_DECODED`; cvat-ui/plugins/sam, CVAT 2.54). The
plugin reads only ``blob`` of an answer: the embedding in base64. It keeps the blob and computes all
masks of that frame in the browser. A blob is 5.6 MB of text, so other callers do not get it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from cvat_lambda.functions.spec import FunctionSpec
from cvat_lambda.interactive.params import CallParams

BROWSER_DECODED: Final = "pth-facebookresearch-sam-vit-h"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerFormat:
    """The parts that an answer must hold. The declined part is removed from the answer."""

    mask: bool
    blob: bool
    declined: Literal["mask", "blob"] | None = None

    @classmethod
    def choose(cls, spec: FunctionSpec, params: CallParams) -> AnswerFormat:
        """Return the format by the caller's ``want``, else by the function and the kind of caller.

        A caller of `BROWSER_DECODED` without ``want`` gets the blob, as in CVAT. If the
        caller also gave points or a box and is not a browser, it gets the mask as well.
        """
        if params.want is not None:
            mask = params.want == "mask"
            return cls(mask=mask, blob=not mask, declined="blob" if mask else "mask")
        if spec.id != BROWSER_DECODED:
            return cls(mask=True, blob=False)
        mask = bool(params.pos_points or params.obj_bbox) and not params.from_browser
        return cls(mask=mask, blob=True, declined=None if mask else "mask")

    @property
    def want_field(self) -> str | None:
        """Return the ``want`` to send to a function; None if the function's default fits."""
        return {"mask": "blob", "blob": "mask"}.get(self.declined or "")

    def remove_declined(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Return the answer without the declined part, unless it holds nothing else."""
        if self.declined == "mask" and "blob" in answer:
            return {"blob": answer["blob"]}
        if self.declined == "blob" and "mask" in answer:
            return {name: value for name, value in answer.items() if name != "blob"}
        return answer
