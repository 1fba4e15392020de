"""The real, unchanged cvat-sdk against a live server."""

from __future__ import annotations

import importlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cvat_sdk.auto_annotation as cvataa
import pytest
import requests
from cvat_sdk.api_client import exceptions
from cvat_sdk.core.client import AccessTokenCredentials, Client, Config, make_client
from cvat_sdk.core.exceptions import BackgroundRequestException
from cvat_sdk.core.proxies.annotations import AnnotationUpdateAction
from cvat_sdk.core.proxies.tasks import ResourceType, Task
from cvat_sdk.core.uploading import DataUploader
from django.contrib.auth.models import User
from PIL import Image

from cvat_lambda.engine.standalone.models import AccessToken
from cvat_lambda.engine.standalone.models import Task as TaskRow
from tests.e2e.conftest import Server

models: Any = importlib.import_module("cvat_sdk.api_client.models")  # the package has no type hints

pytestmark = pytest.mark.filterwarnings("default")  # warnings of the SDK itself

LABELS: list[dict[str, Any]] = [
    {
        "name": "car",
        "color": "#ff0000",
        "attributes": [
            {
                "name": "parked",
                "mutable": True,
                "input_type": "checkbox",
                "default_value": "false",
                "values": ["false"],
            }
        ],
    },
    {
        "name": "person",
        "type": "skeleton",
        "sublabels": [{"name": "head", "type": "points"}, {"name": "foot", "type": "points"}],
        "svg": '<circle data-type="element node" data-element-id="1" data-label-name="head">',
    },
]


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    paths = []
    for number in range(5):
        path = tmp_path / f"picture{number}.jpg"
        Image.new("RGB", (64, 48), (40 * number, 10, 20)).save(path, quality=95)
        paths.append(path)
    return paths


@pytest.fixture
def client(transactional_db: None, server: Server, alice: User) -> Iterator[Client]:
    config = Config(status_check_period=1, allow_unsupported_server=False)
    with Client(server.url, config=config) as client:
        client.login(("alice", "alice-secret"))
        yield client


def create(client: Client, files: list[Path], **data_params: Any) -> Task:
    spec: Any = {"name": "five", "labels": LABELS, "segment_size": 3, "overlap": 1}
    return client.tasks.create_from_data(
        spec=spec,
        resource_type=ResourceType.LOCAL,
        resources=[str(file) for file in files],
        data_params={"image_quality": 90, **data_params},
    )


def label_ids(task: Task) -> dict[str, int]:
    return {label.name: label.id for label in task.get_labels()}


def test_login_works_through_make_client(
    transactional_db: None, server: Server, alice: User
) -> None:
    host, _, port = server.url.rpartition(":")
    with make_client(host, port=int(port), credentials=("alice", "alice-secret")) as client:
        assert client.users.retrieve_current_user().username == "alice"
        client.logout()


def test_login_with_a_wrong_password_raises_an_error(server: Server, alice: User) -> None:
    with Client(server.url) as client, pytest.raises(exceptions.ApiException) as caught:
        client.login(("alice", "wrong"))
    assert caught.value.status == 400
    assert "non_field_errors" in str(caught.value.body)


def test_task_from_images_shows_frames_labels_and_jobs(
    client: Client, pictures: list[Path], tmp_path: Path
) -> None:
    task = create(client, pictures)
    assert (task.size, task.name, task.mode) == (5, "five", "annotation")
    assert [(job.start_frame, job.stop_frame) for job in task.get_jobs()] == [(0, 2), (2, 4)]
    car, person = task.get_labels()
    assert (car.name, car.color, car.attributes[0].name) == ("car", "#ff0000", "parked")
    assert [sublabel.name for sublabel in person.sublabels] == ["head", "foot"]
    assert f'data-label-id="{person.sublabels[0].id}"' in person.svg
    for number, path in enumerate(pictures):
        assert task.get_frame(number, quality="original").read() == path.read_bytes()
    assert Image.open(io.BytesIO(task.get_frame(1, quality="compressed").read())).format == "JPEG"
    task.download_frames([0, 3], outdir=tmp_path / "out", quality="original")
    assert len(list((tmp_path / "out").iterdir())) == 2
    names = [frame.name for frame in task.get_frames_info()]
    assert names == [path.name for path in pictures]
    assert Image.open(io.BytesIO(task.get_preview().read())).size == (64, 48)
    with task.get_jobs()[1].get_frame(3, quality="original") as frame:
        assert frame.read() == pictures[3].read_bytes()


def test_sdk_reads_the_annotations_that_it_wrote(client: Client, pictures: list[Path]) -> None:
    task = create(client, pictures)
    ids = label_ids(task)
    (parked,) = next(label for label in task.get_labels() if label.name == "car").attributes
    shape = models.LabeledShapeRequest(
        type="rectangle",
        frame=2,
        label_id=ids["car"],
        points=[1.5, 2.0, 30.25, 40.0],
        source="auto",
        score=0.75,
        attributes=[models.AttributeValRequest(spec_id=parked.id, value="true")],
    )
    task.update_annotations(
        models.PatchedLabeledDataRequest(shapes=[shape]), action=AnnotationUpdateAction.CREATE
    )
    (found,) = task.get_annotations().shapes
    assert (found.frame, found.points, found.source) == (2, [1.5, 2.0, 30.25, 40.0], "auto")
    assert [(item.spec_id, item.value) for item in found.attributes] == [(parked.id, "true")]
    for job in task.get_jobs():  # both jobs have frame 2
        assert [item.id for item in job.get_annotations().shapes] == [found.id]
    task.set_annotations(models.LabeledDataRequest(tags=[], shapes=[], tracks=[]))
    assert task.get_annotations().shapes == []


def test_sdk_reads_the_tracks_and_skeletons_that_it_wrote(
    client: Client, pictures: list[Path]
) -> None:
    task = create(client, pictures)
    person = next(label for label in task.get_labels() if label.name == "person")
    head, foot = person.sublabels
    ids = label_ids(task)
    elements = [
        models.SubLabeledShapeRequest(type="points", frame=0, label_id=head.id, points=[1, 2]),
        models.SubLabeledShapeRequest(type="points", frame=0, label_id=foot.id, points=[3, 4]),
    ]
    skeleton = models.LabeledShapeRequest(
        type="skeleton", frame=0, label_id=person.id, elements=elements
    )
    track = models.LabeledTrackRequest(
        frame=1,
        label_id=ids["car"],
        shapes=[
            models.TrackedShapeRequest(type="rectangle", frame=1, points=[0, 0, 5, 5]),
            models.TrackedShapeRequest(
                type="rectangle", frame=3, points=[1, 1, 6, 6], outside=True
            ),
        ],
    )
    task.set_annotations(
        models.LabeledDataRequest(
            shapes=[skeleton],
            tracks=[track],
            tags=[models.LabeledImageRequest(frame=4, label_id=ids["car"])],
        )
    )
    found = task.get_annotations()
    assert [item.points for item in found.shapes[0].elements] == [[1, 2], [3, 4]]
    assert [(item.frame, item.outside) for item in found.tracks[0].shapes] == [
        (1, False),
        (3, True),
    ]
    assert [item.frame for item in found.tags] == [4]
    removed = models.LabeledImageRequest(id=found.tags[0].id, frame=4, label_id=ids["car"])
    task.update_annotations(
        models.PatchedLabeledDataRequest(tags=[removed]),
        action=AnnotationUpdateAction.DELETE,
    )
    left = task.get_annotations()
    assert (len(left.shapes), len(left.tracks), len(left.tags)) == (1, 1, 0)


@pytest.mark.parametrize("clear_existing", [False, True])
def test_annotate_task_writes_what_the_function_found(
    client: Client, pictures: list[Path], clear_existing: bool
) -> None:
    class Finder:
        spec = cvataa.DetectionFunctionSpec(labels=[cvataa.label_spec("car", 0)])

        def detect(self, context: cvataa.DetectionFunctionContext, image: Image.Image) -> list[Any]:
            return [cvataa.rectangle(0, [1, 1, image.width - 1, image.height - 1])]

    task = create(client, pictures)
    for expected in (5, 5 if clear_existing else 10):
        cvataa.annotate_task(
            client, task.id, Finder(), clear_existing=clear_existing, allow_unmatched_labels=True
        )
        shapes = task.get_annotations().shapes
        assert len(shapes) == expected
        assert {shape.source for shape in shapes} == {"auto"}
        assert sorted({shape.frame for shape in shapes}) == [0, 1, 2, 3, 4]


def test_sdk_uploads_a_large_file_in_parts(client: Client, pictures: list[Path]) -> None:
    task = client.tasks.create(spec={"name": "pieces", "labels": LABELS})
    url = client.api_map.make_endpoint_url(
        client.api_client.tasks_api.create_data_endpoint.path, kwsub={"id": task.id}
    )
    uploader = DataUploader(client, max_request_size=1)  # one request per file
    response = uploader.upload_files(url, pictures, image_quality=70, sorting_method="predefined")
    client.wait_for_completion(response.json()["rq_id"], status_check_period=1)
    task.fetch()
    assert task.size == 5
    assert task.get_frame(4, quality="original").read() == pictures[4].read_bytes()


def test_sdk_resumes_a_broken_upload(
    client: Client, server: Server, alice: User, pictures: list[Path]
) -> None:
    task = client.tasks.create(spec={"name": "broken", "labels": LABELS})
    content = pictures[1].read_bytes()
    session = requests.Session()
    _, key = AccessToken.create(alice)
    session.headers["Authorization"] = f"Bearer {key}"
    url = f"{server.url}/api/tasks/{task.id}/data/"
    assert session.post(url, headers={"Upload-Start": ""}).status_code == 202
    begun = session.post(
        url,
        headers={
            "Upload-Length": str(len(content)),
            "Upload-Metadata": "filename cGljdHVyZS5qcGc=",
            "Tus-Resumable": "1.0.0",
        },
    )
    assert (begun.status_code, begun.headers["Upload-Filename"]) == (201, "picture.jpg")
    place = begun.headers["Location"]

    def send(offset: int, piece: bytes) -> requests.Response:
        headers = {
            "Upload-Offset": str(offset),
            "Content-Type": "application/offset+octet-stream",
        }
        return session.patch(place, data=piece, headers=headers)

    assert send(0, content[:100]).headers["Upload-Offset"] == "100"
    stale = send(0, content[:100])  # the client sends a part again
    assert (stale.status_code, stale.headers["Upload-Offset"]) == (409, "100")
    assert session.head(place).headers["Upload-Offset"] == "100"
    assert send(100, content[100:]).status_code == 204
    done = session.post(url, headers={"Upload-Finish": ""}, json={"image_quality": 70})
    assert done.status_code == 202
    client.wait_for_completion(done.json()["rq_id"], status_check_period=1)
    assert task.get_frame(0, quality="original").read() == content


def test_upload_with_a_broken_image_fails_with_its_name(
    client: Client, pictures: list[Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(pictures[0].read_bytes()[:200])
    task = client.tasks.create(spec={"name": "bad", "labels": LABELS})
    with pytest.raises(BackgroundRequestException, match=r"broken\.jpg"):
        task.upload_data([*pictures, broken])
    task.upload_data(pictures)
    assert task.size == 5


def test_remote_files_are_off_unless_the_server_allows_them(client: Client) -> None:
    task = client.tasks.create(spec={"name": "remote", "labels": LABELS})
    with pytest.raises(exceptions.ApiException) as caught:
        task.upload_data(["http://127.0.0.1:1/x.jpg"], resource_type=ResourceType.REMOTE)
    assert caught.value.status == 400


def test_frame_step_and_deleted_frames_are_stored(client: Client, pictures: list[Path]) -> None:
    task = create(client, pictures, frame_step=2, start_frame=1)
    assert task.size == 2
    assert task.get_frame(1, quality="original").read() == pictures[3].read_bytes()
    task.remove_frames_by_ids([1])
    meta = task.get_meta()
    assert meta.deleted_frames == [1]
    assert (meta.start_frame, meta.stop_frame, meta.frame_filter) == (1, 3, "step=2")


def test_task_is_listed_changed_and_deleted(client: Client, pictures: list[Path]) -> None:
    task = create(client, pictures)
    assert [found.id for found in client.tasks.list()] == [task.id]
    task.update({"name": "renamed"})
    task.fetch()
    assert task.name == "renamed"
    job = task.get_jobs()[0]
    job.update({"state": "completed"})
    job.fetch()
    assert job.state == "completed"
    task.remove()
    with pytest.raises(exceptions.NotFoundException):
        client.tasks.retrieve(task.id)
    assert not TaskRow.objects.exists()


def test_sdk_logs_in_with_an_access_token(
    transactional_db: None, server: Server, alice: User, pictures: list[Path]
) -> None:
    _, key = AccessToken.create(alice, name="program")
    with Client(server.url) as client:
        client.login(AccessTokenCredentials(key))
        task = create(client, pictures)
        assert task.size == 5
        assert task.owner.username == "alice"


def test_read_only_access_token_changes_nothing(
    transactional_db: None, server: Server, alice: User
) -> None:
    _, key = AccessToken.create(alice, name="reader", read_only=True)
    with Client(server.url) as client:
        client.login(AccessTokenCredentials(key))
        assert client.tasks.list() == []
        with pytest.raises(exceptions.ForbiddenException):
            client.tasks.create(spec={"name": "no", "labels": LABELS})


def test_sdk_task_of_a_project_has_the_labels_of_the_project(
    client: Client, pictures: list[Path]
) -> None:
    project = client.projects.create(spec={"name": "many", "labels": LABELS})
    spec: Any = {"name": "in it", "project_id": project.id}
    task = client.tasks.create_from_data(
        spec=spec,
        resource_type=ResourceType.LOCAL,
        resources=pictures,
    )
    assert set(label_ids(task)) == {"car", "person"}
    assert [found.id for found in project.get_tasks()] == [task.id]
    assert {label.name for label in project.get_labels()} == {"car", "person"}


def test_chunk_is_an_archive_of_frames_in_order(client: Client, pictures: list[Path]) -> None:
    import zipfile

    task = create(client, pictures, chunk_size=2)
    assert task.data_chunk_size == 2
    buffer = io.BytesIO()
    task.download_chunk(1, buffer, quality="original")
    with zipfile.ZipFile(buffer) as archive:
        contents = [archive.read(name) for name in archive.namelist()]
    assert contents == [pictures[2].read_bytes(), pictures[3].read_bytes()]
