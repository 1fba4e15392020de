"""``new huggingface``: a function for a published model of the package `transformers`.

A model is a folder of this machine, or ``ORG/ID`` on the hub of Hugging Face. The hub's address is
the variable HF_ENDPOINT, as for the hub's own tools.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cvat_lambda.runtime.errors import RuntimeFault
from cvat_lambda.runtime.scaffold import labels as label_names
from cvat_lambda.runtime.scaffold.model_folder import ModelFolder, Weights
from cvat_lambda.runtime.scaffold.model_folder import write as write_folder

HELP: Final = "a function for a model of Hugging Face's transformers; no code to write"
_HUB: Final = "https://huggingface.co"
_CONFIG: Final = "config.json"
_NETWORK: Final = "model.safetensors"
# Small files: they are copied into the folder. A model has only some of them.
_SMALL: Final = (
    *(_CONFIG, "preprocessor_config.json", "processor_config.json", "tokenizer.json"),
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt"),
    *("vocab.json", "merges.txt"),
)
_TIMEOUT_S: Final = 60.0
# Of models in other formats, or in several files.
_ONE_FILE: Final = (
    'load the model with transformers, save it with save_pretrained(FOLDER, max_shard_size="100GB")'
    ", and give that folder"
)
_NOTHING_TO_NAME: Final = "N/A"  # unused class numbers of COCO


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """A task of `common.huggingface.loading`."""

    label_type: str = ""  # of the model's classes or texts; "": it has no labels
    is_prompted: bool = False  # the labels are texts
    annotations: tuple[tuple[str, str], ...] = ()
    kind: str = "detector"


_BATCHES: Final = ("max_batch", "8")
_TASKS: Final = {
    "object-detection": _Task(label_type="rectangle", annotations=(_BATCHES,)),
    "instance-segmentation": _Task(label_type="mask"),
    "panoptic-segmentation": _Task(label_type="mask"),
    "semantic-segmentation": _Task(label_type="mask"),
    "image-classification": _Task(label_type="tag", annotations=(_BATCHES,)),
    "keypoint-detection": _Task(label_type="skeleton"),
    "zero-shot-object-detection": _Task(
        label_type="rectangle", is_prompted=True, annotations=(("prompts", "text"), _BATCHES)
    ),
    "zero-shot-segmentation": _Task(
        label_type="mask", is_prompted=True, annotations=(("prompts", "text,exemplar"),)
    ),
    "mask-generation": _Task(
        kind="interactor",
        annotations=(
            ("version", "2"),
            ("min_pos_points", "1"),
            ("min_neg_points", "0"),
            ("startswith_box_optional", "true"),
            ("embedding", "true"),
            ("keeps_embeddings", "true"),
            ("help_message", "Click on an object, or draw a box around it"),
        ),
    ),
}
# Words in the name of a model's class -> its task; the first match counts.
_CLASSES: Final = (
    ("OwlViT", "zero-shot-object-detection"),
    ("Owlv2", "zero-shot-object-detection"),
    ("GroundingDino", "zero-shot-object-detection"),
    ("OmDetTurbo", "zero-shot-object-detection"),
    ("ForObjectDetection", "object-detection"),
    ("ForUniversalSegmentation", "instance-segmentation"),
    ("ForInstanceSegmentation", "instance-segmentation"),
    ("ForSemanticSegmentation", "semantic-segmentation"),
    ("ForImageClassification", "image-classification"),
    ("ForPoseEstimation", "keypoint-detection"),
    ("Sam3Model", "zero-shot-segmentation"),
    ("Sam", "mask-generation"),
    ("EdgeTam", "mask-generation"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this family."""
    parser.add_argument(
        "--model", required=True, metavar="ORG/ID|FOLDER", help="a model of the hub, or its files"
    )
    parser.add_argument("--revision", default="main", help="commit, tag or branch on the hub")
    parser.add_argument("--task", choices=tuple(_TASKS), help="default: by the model's class")
    parser.add_argument(
        "--text",
        metavar="TEXTS|FILE",
        help="what a model that is prompted by text finds where a call has no texts: they become "
        "the labels of the function",
    )
    parser.add_argument("--licence", help="the licence of the weights (an SPDX id)")
    parser.add_argument("--threshold", type=float, help="where a call has none")


def write(options: Mapping[str, Any]) -> Path:
    """Write the folder and return it; raise RuntimeFault."""
    folder = Path(options["model"]).expanduser()
    with tempfile.TemporaryDirectory(prefix="cvat-lambda-") as scratch:
        is_local = folder.is_dir()
        weights = _local_files(folder) if is_local else _hub_files(options, Path(scratch))
        model = _model(options, weights)
        return write_folder(model, update=options["update"])


def _model(options: Mapping[str, Any], weights: Sequence[Weights]) -> ModelFolder:
    config = _read_config(weights)
    name = options["task"] or _task_of(config)
    task = _TASKS[name]
    texts = () if options["text"] is None else label_names.read_labels(options["text"])
    if texts and not task.is_prompted:
        raise RuntimeFault(f"a model for {name} takes no texts: remove --text")
    env = {"HUGGINGFACE_TASK": name}
    if texts:
        env["TEXT_PROMPTS"] = json.dumps(texts, ensure_ascii=False)
    if options["threshold"] is not None:
        if not 0 <= options["threshold"] <= 1:
            raise RuntimeFault("--threshold must be from 0 to 1")
        env["DETECTOR_THRESHOLD"] = str(options["threshold"])
    return ModelFolder(
        name=options["name"],
        parent=options["into"],
        description=f"{options['model']} of transformers ({name})",
        command=(
            f"python -m cvat_lambda.runtime new huggingface {options['name']} "
            f"--model {options['model']}"
        ),
        decoder="huggingface/loading",
        model_file="huggingface",
        requirements="huggingface",
        labels=_labels(task, texts, config),
        settings={"model": options["model"], "revision": options["revision"], "task": name},
        weights=weights,
        annotations={"framework": "pytorch", **dict(task.annotations)},
        env=env,
        kind=task.kind,
    )


def _labels(task: _Task, texts: Sequence[str], config: Mapping[str, Any]) -> list[dict[str, Any]]:
    if task.is_prompted:
        return [{"name": text, "type": task.label_type} for text in texts]
    if not task.label_type:
        return []
    classes = config.get("id2label")
    if not isinstance(classes, dict) or not classes:
        raise RuntimeFault(f"{_CONFIG} of the model does not name its classes (id2label)")
    names = [str(classes[number]) for number in sorted(classes, key=int)]
    names = list(dict.fromkeys(name for name in names if name != _NOTHING_TO_NAME))
    if task.label_type == "skeleton":
        return [label_names.skeleton("person", names)]
    return [{"name": name, "type": task.label_type} for name in names]


def _task_of(config: Mapping[str, Any]) -> str:
    names = config.get("architectures") or [""]
    for words, task in _CLASSES:
        if words in str(names[0]):
            return task
    raise RuntimeFault(
        f"the task of a model of class {names[0]!r} is not known: name it with --task, one of "
        f"{', '.join(_TASKS)}"
    )


def _read_config(weights: Sequence[Weights]) -> dict[str, Any]:
    path = next(each.path for each in weights if each.file == _CONFIG)
    assert path is not None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as exc:
        raise RuntimeFault(f"{_CONFIG} of the model is not JSON: {exc}") from exc
    if not isinstance(found, dict):
        raise RuntimeFault(f"{_CONFIG} of the model is not an object")
    return found


def _local_files(folder: Path) -> list[Weights]:
    """Return the files of a model's folder, and those of its folder ``detector``."""
    for name in (_CONFIG, _NETWORK):
        if not (folder / name).is_file():
            raise RuntimeFault(f"{folder} has no {name}: {_ONE_FILE}")
    return [
        Weights(file=f"{inner}{name}", path=folder / f"{inner}{name}")
        for inner in ("", "detector/")
        for name in (*_SMALL, _NETWORK)
        if (folder / f"{inner}{name}").is_file()
    ]


def _hub_files(options: Mapping[str, Any], scratch: Path) -> list[Weights]:
    """Return the files of a model on the hub: small ones fetched, the network by its URL.

    The hub states the commit and, for large files, the SHA-256 in headers of its answers.
    """
    hub = f"{os.environ.get('HF_ENDPOINT') or _HUB}/{options['model']}/resolve"
    revision = options["revision"]
    found: list[Weights] = []
    for name in _SMALL:
        answer = _get(f"{hub}/{revision}/{name}", optional=name != _CONFIG)
        if answer is not None:
            content, headers = answer
            revision = headers.get("X-Repo-Commit") or revision
            (scratch / name).write_bytes(content)
            found.append(Weights(file=name, path=scratch / name))
    url = f"{hub}/{revision}/{_NETWORK}"
    sha256 = _linked_sha256(url)
    return [
        *found,
        Weights(file=_NETWORK, url=url, sha256=sha256, licence=options.get("licence")),
    ]


def _get(url: str, *, optional: bool) -> tuple[bytes, Mapping[str, str]] | None:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
            return answer.read(), answer.headers
    except urllib.error.HTTPError as exc:
        if optional and exc.code == 404:
            return None
        raise RuntimeFault(f"{url} was answered with {exc.code}") from exc
    except OSError as exc:
        raise RuntimeFault(f"{url} cannot be fetched: {exc}") from exc


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Keeps the first answer: a redirected one lacks the hub's headers."""

    def redirect_request(self, *args: Any, **more: Any) -> None:
        return None


def _linked_sha256(url: str) -> str:
    """Return the SHA-256 that the hub states for a large file; raise RuntimeFault."""
    request = urllib.request.Request(url, method="HEAD")
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=_TIMEOUT_S) as answer:
            headers = answer.headers
    except urllib.error.HTTPError as exc:
        if exc.code == 404:
            raise RuntimeFault(f"the hub has no {url}: {_ONE_FILE}") from exc
        if exc.code not in (301, 302, 303, 307, 308):
            raise RuntimeFault(f"{url} was answered with {exc.code}") from exc
        headers = exc.headers
    except OSError as exc:
        raise RuntimeFault(f"{url} cannot be fetched: {exc}") from exc
    digits = str(headers.get("X-Linked-Etag") or "").strip('"')
    if len(digits) != 64:
        raise RuntimeFault(f"the hub states no SHA-256 for {url}: download the model's files")
    return digits
