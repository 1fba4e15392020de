"""``new yolo`` reads the metadata of an ONNX file."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cvat_lambda.runtime.cli import main

_GRAPH, _METADATA = 7, 14  # numbers of fields of ModelProto
_OUTPUT = 12  # of GraphProto
POSE = {"task": "pose", "names": "{0: 'dog'}"}


def field(number: int, content: bytes) -> bytes:
    """Return a field of a Protocol Buffers message that holds bytes, at most 127."""
    return bytes([number << 3 | 2, len(content)]) + content


def onnx(metadata: dict[str, str]) -> bytes:
    """Return an ONNX file of a graph that has one output, with this metadata."""
    graph = field(_GRAPH, field(_OUTPUT, field(1, b"output0")))
    entries = (field(1, key.encode()) + field(2, text.encode()) for key, text in metadata.items())
    return graph + b"".join(field(_METADATA, entry) for entry in entries)


@pytest.mark.parametrize(
    ("metadata", "sentence"),
    [
        ({"names": "{[]: 'dog'}"}, "names of classes cannot be read"),
        ({"kpt_shape": "[2,"}, "number of keypoints cannot be read: '[2,'"),
        ({"kpt_shape": "2"}, "number of keypoints cannot be read: '2'"),
        ({"kpt_shape": "[]"}, "number of keypoints cannot be read: '[]'"),
        ({"kpt_shape": "[-1, 3]"}, "number of keypoints cannot be read: '[-1, 3]'"),
        ({"kpt_shape": "[10000000000, 3]"}, "number of keypoints cannot be read"),
        ({"kpt_names": "nose"}, "names of keypoints cannot be read: 'nose'"),
        ({"kpt_names": "2"}, "names of keypoints are not a list"),
        ({"kpt_names": "{0: 2}"}, "names of keypoints are not a list"),
        ({"kpt_names": "{}"}, "a label without a name"),
        ({"imgsz": "{[]}"}, "does not state its keypoints"),  # the usual size is taken
    ],
)
def test_unreadable_metadata_are_refused_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], metadata: dict[str, str], sentence: str
) -> None:
    weights, into = tmp_path / "best.onnx", tmp_path / "functions"
    weights.write_bytes(onnx({**POSE, **metadata}))
    command = ["new", "yolo", "dogs", "--weights", str(weights), "--into", str(into)]
    assert main(command) == 1
    assert sentence in capsys.readouterr().err
    assert not into.exists()


def test_new_function_takes_frames_of_videos_as_bmp_files(tmp_path: Path) -> None:
    weights = tmp_path / "best.onnx"
    weights.write_bytes(onnx({**POSE, "kpt_shape": "[2, 3]"}))
    command = ["new", "yolo", "dogs", "--weights", str(weights), "--into", str(tmp_path)]
    assert main(command) == 0
    written = yaml.safe_load((tmp_path / "dogs" / "function.yaml").read_text("utf-8"))
    annotations = written["metadata"]["annotations"]
    assert annotations["binary"] == "true"
    assert "image/bmp" in annotations["accepts"].split(",")
