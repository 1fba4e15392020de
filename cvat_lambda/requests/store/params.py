"""The parameters of a request: checked, frozen, and stored as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from cvat_lambda.annotations.prompts import Exemplar, Prompts
from cvat_lambda.errors import InvalidRequest

Replace = Literal["none", "all", "automatic", "function"]
Output = Literal["shapes", "tracks"]
REPLACE: tuple[Replace, ...] = get_args(Replace)
OUTPUTS: tuple[Output, ...] = get_args(Output)
OnRedeploy = Literal["continue", "stop"]
ON_REDEPLOY: tuple[OnRedeploy, ...] = get_args(OnRedeploy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """The parameters of one request, for functions of all kinds."""

    mapping: Mapping[str, Any] | None = None  # as given; None: labels of the same name
    threshold: float | None = None  # in [0, 1]; None: the function's own default
    replace: Replace = "none"
    conv_mask_to_poly: bool = False
    max_distance: float | None = None  # pixels, of ReID
    only_unannotated: bool = False
    output: Output = "shapes"  # of detectors
    roi: tuple[int, int, int, int] | None = None  # of detectors, as `Region.box`; None: all
    tracking: Mapping[str, Any] | None = None  # of a tracker, as `Tracking.to_json` writes it
    text: tuple[str, ...] | None = None  # of detectors that are prompted by text
    exemplars: tuple[Mapping[str, Any], ...] | None = None  # as `Exemplar.to_json` writes them
    labels: tuple[str, ...] | None = None  # of the function; None: all
    replace_labels: tuple[str, ...] | None = None  # of the task; None: see `replaced_label_names`
    link: Mapping[str, Any] | None = None  # of requests that make tracks, as `Link.to_json`
    on_redeploy: OnRedeploy = "continue"  # what a new version of the function does to the run

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise InvalidRequest(f"threshold must be in [0, 1], not {self.threshold:g}")
        if self.replace not in REPLACE:
            raise InvalidRequest(
                f"replace must be one of {', '.join(REPLACE)}, not {self.replace!r}"
            )
        if self.output not in OUTPUTS:
            raise InvalidRequest(f"output must be one of {', '.join(OUTPUTS)}, not {self.output!r}")
        if self.on_redeploy not in ON_REDEPLOY:
            raise InvalidRequest(
                f"on_redeploy must be one of {', '.join(ON_REDEPLOY)}, not {self.on_redeploy!r}"
            )
        if self.max_distance is not None and not 0 <= self.max_distance < float("inf"):
            raise InvalidRequest(f"max_distance must be 0 or more, not {self.max_distance:g}")

    @property
    def prompts(self) -> Prompts:
        """What the function is asked to find."""
        return Prompts(
            text=tuple(self.text or ()),
            exemplars=tuple(Exemplar.from_json(each) for each in self.exemplars or ()),
            labels=tuple(self.labels or ()),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the parameters that are set, as JSON; the inverse of `from_json`."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Params:
        """Return the parameters of a stored request; ignore keys of later versions."""
        given = {name: stored[name] for name in cls.__slots__ if name in stored}
        if given.get("roi") is not None:
            given["roi"] = tuple(given["roi"])  # JSON has lists only
        for name in ("text", "exemplars", "labels", "replace_labels"):
            if given.get(name) is not None:
                given[name] = tuple(given[name])
        return cls(**given)
