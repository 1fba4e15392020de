"""Tables of the standalone engine."""

from cvat_lambda.engine.standalone.models.annotations import (
    LabeledInterval,
    LabeledShape,
    LabeledTag,
    LabeledTrack,
    TrackedShape,
)
from cvat_lambda.engine.standalone.models.exchange import Exchange, ExchangeKind
from cvat_lambda.engine.standalone.models.labels import AttributeSpec, Label
from cvat_lambda.engine.standalone.models.media import Data, DataKind, Image, Video
from cvat_lambda.engine.standalone.models.tasks import (
    Job,
    JobStage,
    JobState,
    JobType,
    Project,
    Segment,
    Task,
)
from cvat_lambda.engine.standalone.models.tokens import AccessToken, TokenKind
from cvat_lambda.engine.standalone.models.uploads import DataRequest, RequestStatus

__all__ = [
    "AccessToken",
    "AttributeSpec",
    "Data",
    "DataKind",
    "DataRequest",
    "Exchange",
    "ExchangeKind",
    "Image",
    "Job",
    "JobStage",
    "JobState",
    "JobType",
    "Label",
    "LabeledInterval",
    "LabeledShape",
    "LabeledTag",
    "LabeledTrack",
    "Project",
    "RequestStatus",
    "Segment",
    "Task",
    "TokenKind",
    "TrackedShape",
    "Video",
]
