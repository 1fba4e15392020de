"""Tasks on cloud storages, shared folders and point clouds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from cvat_lambda.engine.cvat import frames, stream
from cvat_lambda.interactive.caches import get_caches
from tests.inside_cvat import test_frames, test_requests
from tests.inside_cvat.s3 import BUCKET, Bucket, bucket_server
from tests.inside_cvat.scenarios import CvatScenarios
from tests.inside_cvat.test_requests import left_edges, run
from tests.integration.requests.function_server import FunctionServer

pytestmark = pytest.mark.django_db(transaction=True)

function = test_requests.function
chunks_read = test_frames.chunks_read

POINTS = """VERSION .7
FIELDS x y z
SIZE 4 4 4
TYPE F F F
COUNT 1 1 1
WIDTH 2
HEIGHT 1
VIEWPOINT 0 0 0 1 0 0 0
POINTS 2
DATA ascii
0 0 0
1 2 3
"""


@pytest.fixture
def bucket(cvat: CvatScenarios) -> Iterator[Bucket]:
    """A bucket of eight images."""
    frames.clear_caches()
    get_caches().reset()
    with bucket_server() as found:
        found.files = {path.name: path.read_bytes() for path in cvat.pictures(8)}
        yield found


@pytest.fixture
def in_cloud(cvat: CvatScenarios, bucket: Bucket) -> int:
    """A task of the images 1, 3, 5 and 7 of the bucket, in two jobs."""
    storage = {
        "provider_type": "AWS_S3_BUCKET",
        "resource": BUCKET,
        "display_name": BUCKET,
        "credentials_type": "KEY_SECRET_KEY_PAIR",
        "key": "key",
        "secret_key": "secret",
        "specific_attributes": f"endpoint_url={bucket.url}&region=us-east-1",
        "manifests": [],
    }
    storage_id = cvat.send("post", "/api/cloudstorages", storage)["id"]
    return cvat.task(
        files=(),
        segment_size=2,
        start_frame=1,
        step=2,
        data={
            "cloud_storage_id": storage_id,
            **{f"server_files[{place}]": name for place, name in enumerate(sorted(bucket.files))},
        },
    )


def empty_cache() -> None:
    from django.core.cache import caches

    caches["media"].clear()


def test_image_in_a_cloud_storage_is_fetched_once(
    cvat: CvatScenarios,
    function: FunctionServer,
    bucket: Bucket,
    in_cloud: int,
    chunks_read: list[str],
) -> None:
    empty_cache()
    bucket.fetched.clear()
    run(cvat, task=in_cloud)
    assert left_edges(cvat, f"tasks/{in_cloud}") == [(0, 1.0), (1, 3.0), (2, 5.0), (3, 7.0)]
    assert sorted(bucket.fetched) == ["001.png", "003.png", "005.png", "007.png"]
    chunks_read.clear()
    body = {"task": in_cloud}
    for frame, picture in ((2, 5.0), (3, 7.0), (2, 5.0)):
        answer = cvat.send("post", "/api/lambda/functions/cars", {**body, "frame": frame})
        assert [shape["points"][0] for shape in answer["shapes"]] == [picture]
    assert len(chunks_read) == 1  # both frames are in one chunk


def test_request_retries_while_a_cloud_storage_does_not_answer(
    cvat: CvatScenarios, function: FunctionServer, bucket: Bucket, in_cloud: int
) -> None:
    empty_cache()
    bucket.failures_left = 20
    assert run(cvat, task=in_cloud).done == 4
    assert bucket.failures_left == 0


def test_cloud_storage_that_never_answers_is_named_in_the_error(
    cvat: CvatScenarios,
    function: FunctionServer,
    bucket: Bucket,
    in_cloud: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from cvat_lambda.models import Request

    monkeypatch.setattr(stream, "RETRY_FOR_S", 0.3)
    empty_cache()
    bucket.failures_left = 1_000_000
    call = {"task": in_cloud, "frame": 1}
    answer = cvat.try_to_send("post", "/api/lambda/functions/cars", call)
    assert (answer.status_code, answer.json()["code"]) == (503, "engine_unavailable")
    assert answer.json()["message"].startswith(f"the cloud storage of task #{in_cloud} does not")
    body = {"function": "cars", "task": in_cloud}
    request = Request.objects.get(pk=cvat.send("post", "/api/lambda/requests", body)["id"])
    assert request.status == "failed"
    assert "the cloud storage of task" in request.error_message


def test_file_missing_in_a_cloud_storage_fails_the_frames_of_its_chunk(
    cvat: CvatScenarios, function: FunctionServer, bucket: Bucket, in_cloud: int
) -> None:
    from cvat_lambda.models import Request

    empty_cache()
    del bucket.files["003.png"]
    bucket.fetched.clear()
    body = {"function": "cars", "task": in_cloud}
    request = Request.objects.get(pk=cvat.send("post", "/api/lambda/requests", body)["id"])
    assert (request.status, request.done, request.failed) == ("finished", 2, 2)
    # The chunk is tried twice, since the storage may not have answered, and not once a frame.
    assert sorted(bucket.fetched) == ["001.png"] * 2 + ["005.png", "007.png"]
    assert left_edges(cvat, f"tasks/{in_cloud}") == [(2, 5.0), (3, 7.0)]
    first, second = (
        row.message for row in request.outcomes.filter(status="failed").order_by("frame")
    )
    assert first.startswith(f"frame 0 of task #{in_cloud} is missing in its cloud storage, or")
    assert second == f"frame 1 of task #{in_cloud} is in a chunk that cannot be made"


@pytest.mark.parametrize("use_cache", [False, True])
def test_image_in_a_shared_folder_is_read_without_a_chunk(
    cvat: CvatScenarios,
    function: FunctionServer,
    settings: Settings,
    chunks_read: list[str],
    use_cache: bool,
) -> None:
    folder = Path(settings.SHARE_ROOT) / "shared"
    folder.mkdir(exist_ok=True)
    paths = cvat.pictures(3)
    for path in paths:
        shutil.copy(path, folder)
    files = {f"server_files[{place}]": f"shared/{path.name}" for place, path in enumerate(paths)}
    task_id = cvat.task(files=(), data={"use_cache": use_cache, "copy_data": False, **files})
    chunks_read.clear()
    run(cvat, task=task_id)
    assert left_edges(cvat, f"tasks/{task_id}") == [(0, 0.0), (1, 1.0), (2, 2.0)]
    assert chunks_read == []


def test_point_cloud_is_rejected_with_its_reason(
    cvat: CvatScenarios, function: FunctionServer, tmp_path: Path
) -> None:
    path = tmp_path / "points.pcd"
    path.write_text(POINTS)
    task_id = cvat.task(files=[path])
    (job,) = cvat.engine.task(task_id).jobs
    for body in ({"task": task_id}, {"job": job.id}):
        answer = cvat.try_to_send("post", "/api/lambda/requests", {"function": "cars", **body})
        assert answer.status_code == 400
        assert "is a 3D task: functions work on images and video" in answer.json()["message"]
        body = {**body, "frame": 0}
        answer = cvat.try_to_send("post", "/api/lambda/functions/cars", body)
        assert answer.status_code == 422
        assert "is a point cloud: functions work on images and video" in answer.json()["message"]
    assert function.payloads == []
