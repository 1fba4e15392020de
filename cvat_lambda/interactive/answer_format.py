"""What the answer to a click must hold: a mask, or the blob that CVAT's page decodes itself.

CVAT's page has a plugin for one function (`BROWSER_DECODED`; cvat-ui/plugins/sam, CVAT 2.54). It
reads nothing of an answer but ``blob``, the bare embedding in base64, keeps it, and computes all
masks of that frame in the browser. The blob is 5.6 MB of text, so it goes to whom it serves only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from cvat_lambda.functions.spec import FunctionSpec
from cvat_lambda.interactive.params import CallParams

BROWSER_DECODED: Final = "pth-facebookresearch-sam-vit-h"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an answer must hold; what the caller declined is taken out of it."""

    mask: bool
    blob: bool
    declined: Literal["mask", "blob"] | None = None

    @classmethod
    def of(cls, spec: FunctionSpec, params: CallParams) -> Wanted:
        """By the caller's ``want``; else by the function and by who asks.

        Who asks that function without saying what for gets the blob, as from CVAT, and beside it
        the mask of what was pointed at, unless it is a browser: its plugin would not read it.
        """
        if params.want is not None:
            mask = params.want == "mask"
            return cls(mask=mask, blob=not mask, declined="blob" if mask else "mask")
        if spec.id != BROWSER_DECODED:
            return cls(mask=True, blob=False)
        mask = bool(params.pos_points or params.obj_bbox) and not params.from_browser
        return cls(mask=mask, blob=True, declined=None if mask else "mask")

    @property
    def word(self) -> str | None:
        """The ``want`` that says this to a function; None where it need not be said."""
        return {"mask": "blob", "blob": "mask"}.get(self.declined or "")

    def trim(self, answer: dict[str, Any]) -> dict[str, Any]:
        """The answer without what was declined, unless nothing else is in it."""
        if self.declined == "mask" and "blob" in answer:
            return {"blob": answer["blob"]}
        if self.declined == "blob" and "mask" in answer:
            return {name: value for name, value in answer.items() if name != "blob"}
        return answer
