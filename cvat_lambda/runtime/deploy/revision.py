"""The revision of a function: a hash of everything that its answers depend on."""

from __future__ import annotations

import json
from typing import Final

from cvat_lambda.runtime.errors import NotPrepared
from cvat_lambda.runtime.paths import digest, file_digest, files_below
from cvat_lambda.runtime.spec.discovery import FUNCTION_FILES
from cvat_lambda.runtime.spec.fields import JsonObject
from cvat_lambda.runtime.spec.function_file import FunctionConfig

REVISION_ANNOTATION: Final = "cvat-lambda/revision"

_LENGTH: Final = 32  # hexadecimal digits
# The origin of the code and the build of an image are not part of the content.
_NOT_IN_SPEC: Final = frozenset({"build", "image"})


def revision_of(config: FunctionConfig, environment: str, weights: str) -> str:
    """Return the revision of a version; equal content gives equal revisions on every machine.

    It covers the files of the folder, the annotations and the spec of the function file, and the
    fingerprints of the environment and of the weights. Raise NotPrepared or Cancelled.
    """
    metadata, spec = config.document["metadata"], config.document["spec"]
    annotations = dict(metadata.get("annotations") or {})
    annotations.pop(REVISION_ANNOTATION, None)
    described = [annotations, {key: spec[key] for key in spec if key not in _NOT_IN_SPEC}]
    parts = [json.dumps(described, sort_keys=True), environment, weights]
    try:
        for file in sorted(files_below(config.folder)):
            name = file.relative_to(config.folder).as_posix()
            if name not in FUNCTION_FILES:  # the document contains it
                parts += [name, file_digest(file)]
    except OSError as exc:
        raise NotPrepared(f"the folder of the function cannot be read: {exc}") from exc
    return digest(*parts)[:_LENGTH]


def with_revision(document: JsonObject, revision: str) -> JsonObject:
    """Return a copy of a function's document that states a revision, or none for ""."""
    metadata = dict(document["metadata"])
    annotations = dict(metadata.get("annotations") or {})
    annotations.pop(REVISION_ANNOTATION, None)
    if revision:
        annotations[REVISION_ANNOTATION] = revision
    if annotations or "annotations" in metadata:
        metadata["annotations"] = annotations
    return {**document, "metadata": metadata}
