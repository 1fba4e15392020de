"""Serializers of frames, uploads, and the processing of uploads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.api.fields import (
    DEFAULT_QUALITY,
    MAX_FRAMES,
    BasicUser,
    Constant,
)
from cvat_lambda.rest.fields import INT_MAX, ListField


class RequestRead(serializers.Serializer[Any]):
    """The processing of an upload, as a background request."""

    id = serializers.CharField(source="rq_id")
    status = serializers.ChoiceField(choices=models.RequestStatus.choices)
    message = serializers.CharField()
    operation = serializers.SerializerMethodField()
    progress = serializers.SerializerMethodField()
    created_date = serializers.DateTimeField(source="created_at")
    started_date = serializers.DateTimeField(source="started_at", allow_null=True)
    finished_date = serializers.DateTimeField(source="ended_at", allow_null=True)
    expiry_date = Constant(None)
    owner = BasicUser(source="user")
    result_url = serializers.SerializerMethodField()
    result_id = serializers.SerializerMethodField()

    @extend_schema_field(OpenApiTypes.OBJECT)
    def get_operation(self, request: models.DataRequest | models.Exchange) -> dict[str, Any]:
        is_exchange = isinstance(request, models.Exchange)
        job_id = request.job_id if isinstance(request, models.Exchange) else None
        target = "task" if job_id is None else "job"
        kind = "create:task"
        if isinstance(request, models.Exchange):
            what = "dataset" if request.with_images else "annotations"
            kind = f"{request.kind}:{what}"
        return {
            "type": kind,
            "target": target,
            "task_id": request.task_id,
            "project_id": None,
            "job_id": job_id,
            "format": getattr(request, "format", None) if is_exchange else None,
            "function_id": None,
        }

    @extend_schema_field(serializers.FloatField(allow_null=True))
    def get_progress(self, request: models.DataRequest | models.Exchange) -> float | None:
        return request.progress if isinstance(request, models.Exchange) else None

    @extend_schema_field(serializers.CharField(allow_null=True))
    def get_result_url(self, request: models.DataRequest | models.Exchange) -> str | None:
        if not isinstance(request, models.Exchange):
            return None
        from cvat_lambda.engine.standalone.api.exchange import download_url

        return download_url(request, self.context.get("request"))

    def get_result_id(self, request: models.DataRequest | models.Exchange) -> int | None:
        if isinstance(request, models.Exchange):
            return None
        return request.task_id if request.status == models.RequestStatus.FINISHED else None


class DataParameters(serializers.Serializer[Any]):
    """How uploaded files become frames."""

    image_quality = serializers.IntegerField(min_value=0, max_value=100, default=DEFAULT_QUALITY)
    chunk_size = serializers.IntegerField(
        min_value=1, max_value=10_000, required=False, allow_null=True
    )
    sorting_method = serializers.ChoiceField(
        choices=["lexicographical", "natural", "predefined", "random"], default="lexicographical"
    )
    frame_filter = serializers.RegexField(
        r"^step\s*=\s*[1-9][0-9]{0,8}$", default="", allow_blank=True
    )
    start_frame = serializers.IntegerField(min_value=0, max_value=INT_MAX, default=0)
    stop_frame = serializers.IntegerField(
        min_value=0, max_value=INT_MAX, required=False, allow_null=True
    )
    upload_file_order = serializers.ListField(child=serializers.CharField(), default=list)
    server_files = serializers.ListField(child=serializers.CharField(), default=list)
    remote_files = serializers.ListField(child=serializers.CharField(), default=list)
    use_zip_chunks = serializers.BooleanField(default=True)
    use_cache = serializers.BooleanField(default=True)
    copy_data = serializers.BooleanField(default=False)

    unsupported = ("cloud_storage_id", "job_file_mapping", "filename_pattern", "validation_params")

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            given = [name for name in self.unsupported if data.get(name) not in (None, "", [], {})]
            if given:
                sentence = "This server does not support it. Remove it."
                raise serializers.ValidationError({name: [sentence] for name in given})
        return super().to_internal_value(data)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        stop = attrs.get("stop_frame")
        if stop is not None and stop < attrs["start_frame"]:
            raise serializers.ValidationError({"stop_frame": "Must not be before start_frame."})
        return attrs


class FrameFacts(serializers.Serializer[Any]):
    """Metadata of a frame."""

    name = serializers.CharField()
    width = serializers.IntegerField()
    height = serializers.IntegerField()
    has_related_context = serializers.BooleanField()
    related_files = serializers.IntegerField()


class DataMeta(serializers.Serializer[Any]):
    """Metadata of the frames of a task or a job."""

    chunks_updated_date = serializers.DateTimeField()
    chunk_size = serializers.IntegerField()
    size = serializers.IntegerField()
    image_quality = serializers.IntegerField()
    start_frame = serializers.IntegerField()
    stop_frame = serializers.IntegerField()
    frame_filter = serializers.CharField()
    frames = FrameFacts(many=True)
    deleted_frames = serializers.ListField(child=serializers.IntegerField())
    included_frames = serializers.ListField(child=serializers.IntegerField(), allow_null=True)
    cloud_storage_id = serializers.IntegerField(allow_null=True)
    storage_method = serializers.CharField()
    storage = serializers.CharField()


class DataMetaChange(serializers.Serializer[Any]):
    """A change of the deleted frames."""

    deleted_frames = ListField(
        child=serializers.IntegerField(min_value=0, max_value=INT_MAX), max_length=MAX_FRAMES
    )


class RqId(serializers.Serializer[Any]):
    """The id of a background request."""

    rq_id = serializers.CharField()
