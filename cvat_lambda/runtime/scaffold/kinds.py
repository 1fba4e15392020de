"""New function folders from templates, one for each kind."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cvat_lambda.runtime.errors import RuntimeFault

TEMPLATES: Final = Path(__file__).resolve().parents[1] / "templates"
_NAME: Final = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """The differences between the kinds, except for model.py."""

    annotations: tuple[str, ...]  # lines of YAML
    call: str  # the expression that answers a call, in main.py
    description: str


_KINDS: Final = {
    "detector": _Kind(
        annotations=('spec: \'[{"id": 1, "name": "object", "type": "rectangle"}]\'',),
        call='context.user_data.model.detect(picture(body), number(body, "threshold"))',
        description="Finds objects",
    ),
    "interactor": _Kind(
        annotations=(
            'spec: ""',
            'version: "2"',
            'min_pos_points: "1"',
            'min_neg_points: "0"',
            "help_message: Click on an object",
        ),
        call="context.user_data.model.segment(\n"
        '            picture(body), body.get("pos_points") or [], body.get("neg_points") or []\n'
        "        )",
        description="Segments what is clicked",
    ),
    "tracker": _Kind(
        annotations=('spec: ""', 'supported_shape_types: "rectangle"', 'max_frames: "16"'),
        call="track(context.user_data.model, body)",
        description="Follows boxes from frame to frame",
    ),
    "reid": _Kind(
        annotations=('spec: ""',),
        call="context.user_data.model.match(\n"
        '            picture(body, "image0"),\n'
        '            picture(body, "image1"),\n'
        '            body.get("boxes0") or [],\n'
        '            body.get("boxes1") or [],\n'
        '            number(body, "threshold"),\n'
        '            number(body, "max_distance"),\n'
        "        )",
        description="Finds the boxes of one object in two frames",
    ),
}
KINDS: Final = tuple(_KINDS)
_TRACK: Final = '''

MAX_FRAMES = 16  # as in function.yaml


def track(model, body):
    """Start the objects that come as shapes, follow those that come as states.

    A call with ``images`` is a clip: the objects are followed through its frames.
    """
    if "images" not in body:
        return step(model, picture(body), body.get("shapes"), body.get("states"))
    images = body["images"]
    if not isinstance(images, list) or not 1 <= len(images) <= MAX_FRAMES:
        raise BadInput(f"'images' must be a list of 1 to {MAX_FRAMES} pictures")
    shapes, states, results = body.get("shapes"), body.get("states"), []
    for index, image in enumerate(images):
        try:
            frame = picture({"image": image})
        except BadInput as exc:
            if index == 0:
                raise
            results.append({"error": str(exc)})
            continue
        answer = step(model, frame, shapes, states)
        results.append(answer["shapes"])
        shapes, states = None, answer["states"]
    return {"results": results, "states": states}


def step(model, frame, shapes, states):
    """Return a shape and a state for each object on one frame."""
    found, new = [], []
    states = states or []
    for index, shape in enumerate(shapes or [None] * len(states)):
        if shape is not None:
            state = model.start(frame, shape)
        elif index < len(states) and states[index] is not None:
            shape, state = model.follow(frame, states[index])
        else:
            shape, state = None, None
        found.append(shape)
        new.append(state)
    return {"shapes": found, "states": new}
'''


def new_function(kind: str, name: str, parent: Path) -> Path:
    """Write a folder for a function of a kind below `parent` and return it.

    Raise RuntimeFault for an unknown kind, a name that Nuclio refuses, or an existing folder.
    """
    if kind not in _KINDS:
        raise RuntimeFault(f"{kind!r} is not a kind of function: one of {', '.join(KINDS)}")
    folder = empty_folder(name, parent)
    for file, text in _files(kind, name).items():
        (folder / file).write_text(text, encoding="utf-8")
    return folder


def empty_folder(name: str, parent: Path) -> Path:
    """Make the folder of a function and return it.

    Raise RuntimeFault for a name that Nuclio refuses, or an existing folder.
    """
    check_name(name)
    folder = parent / name
    if folder.exists():
        raise RuntimeFault(f"{folder} exists already: choose another name")
    folder.mkdir(parents=True)
    return folder


def check_name(name: str) -> None:
    """Raise RuntimeFault for a name that Nuclio refuses."""
    if _NAME.match(name) is None:
        raise RuntimeFault(
            f"{name!r} cannot name a function: at most 63 lower case letters, digits and '-', "
            "with a letter or digit at both ends"
        )


def _files(kind: str, name: str) -> dict[str, str]:
    described = _KINDS[kind]
    words = {
        "name": name,
        "kind": kind,
        "title": name.replace("-", " ").capitalize(),
        "annotations": "\n".join(f"    {line}" for line in described.annotations),
        "call": described.call,
        "description": described.description,
        "handler": "main:handler",
        "extras": "",
    }
    files = {
        file: filled(TEMPLATES / f"{file}.template", words)
        for file in ("function.yaml", "main.py", "requirements.txt", "README.md")
    }
    if kind == "tracker":
        files["main.py"] += _TRACK
    files["model.py"] = filled(TEMPLATES / f"{kind}.model.py.template", words)
    return files


def filled(path: Path, words: dict[str, str]) -> str:
    """Return a template with each ``{{word}}`` replaced."""
    text = path.read_text(encoding="utf-8")
    for word, value in words.items():
        text = text.replace(f"{{{{{word}}}}}", value)
    return text
