"""The data classes of a function, made from its metadata by `cvat_lambda.functions.metadata`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Literal

from cvat_lambda.annotations.types import Label


class Kind(str, Enum):
    """The task that a function solves."""

    DETECTOR = "detector"
    INTERACTOR = "interactor"
    TRACKER = "tracker"
    REID = "reid"


State = Literal["ready", "building", "error", "unhealthy", "scaled_to_zero", "missing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a function can be called."""

    platform: Literal["nuclio", "endpoint", "native"] = "nuclio"
    namespace: str = ""
    http_port: int | None = None
    internal_urls: tuple[str, ...] = ()  # host:port, no scheme, as Nuclio gives them
    external_urls: tuple[str, ...] = ()
    endpoint_url: str = ""  # a plain HTTP endpoint: the whole URL
    token: str = ""  # bearer token of an endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Audience:
    """The users who may see a private function; administrators see every function."""

    owner_id: int | None
    organization_id: int | None  # its members; None: nobody else


@dataclass(frozen=True, slots=True, kw_only=True)
class InteractorSpec:
    """What CVAT's canvas must know to use an interactor."""

    min_pos_points: int = 1
    min_neg_points: int = -1  # -1: negative points are not taken
    startswith_box: bool = False
    startswith_box_optional: bool = False
    help_message: str = ""
    animated_gif: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionSpec:
    """A function: identity, contract, capacity and limits."""

    id: str
    kind: Kind
    name: str
    description: str = ""
    version: int = 1
    revision: str = ""  # identifies the deployed content (hash of metadata and image)
    labels: tuple[Label, ...] = ()
    left_out: tuple[str, ...] = ()  # labels and attributes that cannot be used: a sentence each
    interactor: InteractorSpec | None = None  # of interactors
    supported_shape_types: tuple[str, ...] = ()  # of trackers
    legacy_tracker: bool = False  # takes and returns bare point arrays
    embedding: bool = False  # can return and take embeddings
    keeps_embeddings: bool = False  # keeps the last ones by their keys, so that a key may suffice
    binary: bool = False  # takes binary bodies (gateway/payload.py), and may answer them
    prompts: tuple[str, ...] = ()  # what a detector takes in a call: "text", "exemplar"
    max_batch: int = 1  # frames in one invocation of a detector
    max_frames: int = 1  # frames in one invocation of a tracker, in order
    accepts: tuple[str, ...] = ()  # image types it declares to take; (): any
    max_image_side: int | None = None  # pixels; a larger image may be downscaled before sending
    workers: int = 1  # concurrent invocations: workers x replicas
    max_body_bytes: int = 4_194_304  # Nuclio's default maxRequestBodySize
    availability_timeout_s: float = 10.0  # how long a call may wait for a free worker
    timeout_s: float | None = None  # the function's own eventTimeout
    state: State = "ready"
    state_message: str = ""  # of the platform: why the function does not run
    missing_since: datetime | None = None  # when its platform last listed it; None: still listed
    address: Address = Address()
    audience: Audience | None = None  # None: all users see it

    @property
    def is_native(self) -> bool:
        """Whether agents of its owner run it. They read the frames themselves."""
        return self.address.platform == "native"

    @property
    def least_images(self) -> int:
        """The number of images in its smallest call: a ReID function compares two."""
        return 2 if self.kind is Kind.REID else 1
