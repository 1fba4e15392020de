"""Names of classes that `new` reads from an argument, a file or a model's metadata."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from cvat_lambda.runtime.errors import RuntimeFault
from cvat_lambda.runtime.scaffold.labels import COCO_KEYPOINTS, names_in, read_labels, skeleton


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data.yaml", "path: street\nnames: [car, traffic light]\n"),
        ("data.yml", "names:\n  1: traffic light\n  0: car\n"),
        ("labels.txt", "car\n\n traffic light \n"),
    ],
)
def test_labels_are_read_from_a_file(tmp_path: Path, name: str, content: str) -> None:
    file = tmp_path / name
    file.write_text(content)
    assert read_labels(str(file)) == ("car", "traffic light")


def test_labels_are_separated_by_commas() -> None:
    assert read_labels("car, traffic light") == ("car", "traffic light")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("missing.txt", None, "cannot be read"),
        ("labels.txt", "", "a label without a name"),
        ("labels.txt", "car\ncar\n", "two classes have the name 'car'"),
        ("data.yaml", "names: [", "is not YAML"),
        ("data.yaml", "- car\n", "has no 'names'"),
        ("data.yaml", "nc: 2\n", "has no 'names'"),
        ("data.yaml", "names: car\n", "neither a list nor a mapping"),
        ("data.yaml", "names: {0: car, 2: bus}\n", "not numbered from 0 without a gap"),
        # A number and a text as keys ended the command with a traceback.
        ("data.yaml", "names: {0: car, x: bus}\n", "not numbered from 0 without a gap"),
        ("data.yaml", "names: " + "[" * 5000, "is not YAML"),
    ],
)
def test_file_without_usable_labels_is_refused(
    tmp_path: Path, name: str, content: str | None, sentence: str
) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_text(content)
    with pytest.raises(RuntimeFault, match=sentence):
        read_labels(str(file))


def test_names_of_classes_are_read_from_the_metadata_of_a_model() -> None:
    assert names_in("{0: 'car', 1: 'bus'}") == ["car", "bus"]


# The last two ended the command with a traceback: a list as a key, and signs without end.
@pytest.mark.parametrize("text", ["{0: 'car'", "car", "{[]: 'car'}", "-" * 100_000 + "1"])
def test_names_of_classes_that_are_not_python_are_refused(text: str) -> None:
    with pytest.raises(RuntimeFault, match="names of classes cannot be read"):
        names_in(text)


@pytest.mark.parametrize("points", [COCO_KEYPOINTS, ("nose",), ('left "ear"', "a<b", "c&d") * 3])
def test_drawing_of_a_skeleton_has_each_point_with_its_name(points: tuple[str, ...]) -> None:
    label = skeleton("animal", points)
    assert [each["name"] for each in label["sublabels"]] == list(points)
    circles = ElementTree.fromstring(f"<svg>{label['svg']}</svg>").findall("circle")
    assert [circle.get("data-label-name") for circle in circles] == list(points)
    assert [circle.get("data-element-id") for circle in circles] == [
        str(number) for number in range(1, len(points) + 1)
    ]
