"""Folders as people write them for CVAT and Nuclio: all of them run, by one runtime.

Each entry of FOLDERS is one habit of such folders. Heavy packages are replaced by small ones of the
same name and the version 9999.0, which a local index and a folder of wheels offer.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from PIL import Image

from cvat_lambda.functions.metadata import parse_function
from tests.http_server import files_of, http_server
from tests.integration.runtime.harness import Runtime, running
from tests.integration.runtime.test_environments import write_wheel

# Packages of one module, whose attribute `NAME` is the name of the package.
SMALL = ("torch", "torchvision", "ultralytics", "openvino", "tensorflow", "segment_anything")
LABELS = '[{"id": 0, "name": "thing", "type": "rectangle"}]'
ITEM = {"confidence": "0.9", "label": "thing", "points": [1, 2, 30, 20], "type": "rectangle"}

MAIN = """
import base64, io, json, os
{imports}

def init_context(context):
    context.logger.info("Init context...  0%")
    {init}
    context.logger.info("Init context...100%")

def handler(context, event):
    context.logger.info("Run model")
    {body}
    {decode}
    results = [{{"confidence": "0.9", "label": "thing", "points": [1, 2, 30, 20],
                "type": "rectangle"}}]
    {respond}
"""
PIL = "image = Image.open(io.BytesIO(base64.b64decode(data['image'])))"
RESPONSE = """return context.Response(body=json.dumps(results), headers={},
        content_type='application/json', status_code=200)"""
FILE = """metadata:
  name: {name}
  namespace: cvat
  annotations:
    name: {title}
    type: detector
    framework: {framework}
    spec: |
      {spec}
{annotations}
spec:
  description: {name}
  runtime: 'python:3.11'
  handler: {handler}
  eventTimeout: 30s
{extra}
  build:
    image: cvat.{name}
    baseImage: {image}
    directives:
      preCopy:
{lines}
  triggers:
    myHttpTrigger:
      maxWorkers: 1
      kind: 'http'
      workerAvailabilityTimeoutMilliseconds: 10000
      attributes:
        maxRequestBodySize: 33554432
  platform:
    attributes:
      restartPolicy:
        name: always
        maximumRetryCount: 3
      mountMode: volume
"""
PILLOW = "RUN pip install pillow"
GPU = "  resources:\n    limits:\n      nvidia.com/gpu: 1"
HANDLER_PAIR = """
class ModelHandler:
    def __init__(self, labels):
        self.labels = labels

    def infer(self, image, threshold):
        assert image.size[0] > 0
        return [{"confidence": str(0.9), "label": self.labels.get(0, "unknown"),
                 "points": [1, 2, 30, 20], "type": "rectangle"}]
"""
READ_LABELS = """with open("{path}", "rb") as function_file:
        functionconfig = yaml.safe_load(function_file)
    labels_spec = functionconfig["metadata"]["annotations"]["spec"]
    labels = {{item["id"]: item["name"] for item in json.loads(labels_spec)}}
    context.user_data.model = ModelHandler(labels)"""
INFER = "results = context.user_data.model.infer(image, float(data.get('threshold', 0.5)))"


@dataclass(frozen=True, kw_only=True)
class Folder:
    """What differs from the usual folder."""

    lines: tuple[str, ...] = (PILLOW,)  # of the build: the kind, then the value
    image: str = "python:3.11-slim"
    file: str = "function.yaml"
    handler: str = "main:handler"
    imports: str = "from PIL import Image"
    init: str = "context.user_data.model = object()"  # "": no init_context
    body: str = "data = event.body"
    decode: str = PIL
    respond: str = RESPONSE
    extra: str = ""  # of spec
    annotations: str = ""
    title: str = "A thing"
    framework: str = "pytorch"
    spec: str = LABELS
    files: Mapping[str, str] = field(default_factory=dict)
    edit: tuple[str, str] = ("", "")  # a text of the function file, and what is there instead
    name: str = ""  # default: that of the entry
    message: str = ""  # that the state of the function contains


def torch_of(index: str) -> dict[str, Folder]:
    """Return the folders whose build lines name an index."""
    uses = "import torch; assert torch.NAME == 'torch'\nfrom PIL import Image"
    return {
        "index-of-torch": Folder(
            lines=(f"RUN pip install torch==9999.0 torchvision --index-url {index}", PILLOW),
            imports=uses,
        ),
        "extra-index-short": Folder(
            lines=(f"RUN pip3 install -i {index} --trusted-host 127.0.0.1 torch pillow",),
            imports=uses,
        ),
        "index-in-env": Folder(
            lines=(f"ENV PIP_EXTRA_INDEX_URL={index}", "RUN pip install torch>=2.0 pillow"),
            imports=uses,
        ),
    }


FOLDERS: dict[str, Folder] = {
    "plain-pillow": Folder(),
    "several-commands": Folder(
        lines=(
            "USER root",
            "RUN apt-get update && apt-get install --no-install-recommends -y libgl1 git",
            "WORKDIR /opt/nuclio",
            "RUN pip install --upgrade pip && pip install --no-cache-dir pillow 'numpy>=1.23'",
            "RUN ln -s /usr/bin/pip3 /usr/local/bin/pip && rm -rf /var/lib/apt/lists/*",
        ),
        imports="import numpy as np\nfrom PIL import Image",
    ),
    "opencv-decodes": Folder(
        lines=(
            "RUN apt update && apt install -y libglib2.0-0",
            "RUN bash -c 'pip install opencv-python' 2>&1",
        ),
        imports="import cv2, numpy as np",
        decode="image = cv2.imdecode(np.frombuffer(base64.b64decode(data['image']), np.uint8), 1)\n"
        "    assert image.shape[2] == 3",
    ),
    "requirements-file": Folder(
        lines=(
            "COPY requirements.txt /opt/nuclio/requirements.txt",
            "RUN pip install -r /opt/nuclio/requirements.txt",
        ),
        files={"requirements.txt": "pillow\nPyYAML # reads the labels\n"},
        imports="import yaml\nfrom PIL import Image",
    ),
    "requirements-of-another-name": Folder(
        lines=("RUN python3 -m pip install -r deploy/reqs.txt",),
        files={"deploy/reqs.txt": "pillow\n"},
    ),
    "base-image-ultralytics": Folder(
        image="ultralytics/ultralytics:latest-cpu",
        imports="import ultralytics; assert ultralytics.NAME\nfrom PIL import Image",
    ),
    "base-image-pytorch": Folder(
        image="pytorch/pytorch:2.1.0-cuda12.1-cudnn8-runtime",
        imports="import torch, torchvision; assert torchvision.NAME\nfrom PIL import Image",
    ),
    "base-image-openvino": Folder(
        image="openvino/ubuntu20_runtime:2022.3.0",
        imports="import openvino; assert openvino.NAME\nfrom PIL import Image",
    ),
    "base-image-tensorflow": Folder(
        image="tensorflow/tensorflow:2.11.1",
        imports="import tensorflow as tf; assert tf.NAME\nfrom PIL import Image",
    ),
    "gpu-file-alone": Folder(file="function-gpu.yaml", extra=GPU),
    "function-yml": Folder(file="function.yml"),
    "tab-behind-value": Folder(edit=("  namespace: cvat\n", "  namespace: cvat\t\n")),
    "number-as-title": Folder(title="2024"),
    "flag-as-annotation": Folder(annotations="    version: 2\n    animated: true"),
    "one-bad-label": Folder(
        spec='[{"name": "thing", "type": "rectangle"}, {"name": "' + "x" * 100 + '"},'
        ' {"name": "car", "attributes": [{"name": "c", "input_type": "select", "values": []}]}]'
    ),
    "capital-in-name": Folder(name="pth-MyModel-V2"),
    "dot-in-name": Folder(name="pth.my.model"),
    "model-handler-pair": Folder(
        lines=("RUN pip install pillow pyyaml",),
        imports="import yaml\nfrom PIL import Image\nfrom model_handler import ModelHandler",
        init=READ_LABELS.format(path="/opt/nuclio/function.yaml"),
        respond=INFER + "\n    " + RESPONSE,
        files={"model_handler.py": HANDLER_PAIR},
    ),
    "relative-function-file": Folder(
        lines=("RUN pip install pillow pyyaml",),
        imports="import yaml\nfrom PIL import Image\nfrom model_handler import ModelHandler",
        init=READ_LABELS.format(path="function.yaml"),
        respond=INFER + "\n    " + RESPONSE,
        files={"model_handler.py": HANDLER_PAIR},
    ),
    "several-modules": Folder(
        imports="from PIL import Image\nfrom detectors.thing import find",
        respond="results = find(image)\n    " + RESPONSE,
        files={
            "detectors/__init__.py": "",
            "detectors/thing.py": "from .names import NAME\n"
            f"def find(image):\n    return [{{**{ITEM!r}, 'label': NAME}}]\n",
            "detectors/names.py": "NAME = 'thing'\n",
        },
    ),
    "variables-of-spec": Folder(
        extra="  env:\n    - name: MODEL_PATH\n      value: /opt/nuclio/weights\n"
        "    - name: PYTHONPATH\n      value: /opt/nuclio/src",
        imports="from PIL import Image\nimport inner",
        init="assert open(os.path.join(os.environ['MODEL_PATH'], 'w.txt')).read() == 'ok'",
        files={"weights/w.txt": "ok", "src/inner.py": ""},
    ),
    "variables-of-build": Folder(
        lines=(PILLOW, "ENV THRESHOLD=0.5 SIZE=640", "ENV MODE fast and good"),
        init="assert os.environ['SIZE'] == '640' and os.environ['MODE'] == 'fast and good'",
    ),
    "arguments-of-build": Folder(
        lines=(
            "ARG SIDE=640",
            "ENV SIZE=${SIDE}",
            "ARG ALL='pillow pyyaml'",
            "RUN pip install $ALL",
        ),
        imports="import yaml\nfrom PIL import Image",
        init="assert os.environ['SIZE'] == '640' and 'SIDE' not in os.environ",
    ),
    "nuclio-sdk-response": Folder(
        imports="import nuclio_sdk\nfrom PIL import Image",
        respond="return nuclio_sdk.Response(body=json.dumps(results), headers={},\n"
        "        content_type='application/json', status_code=200)",
    ),
    "text-as-answer": Folder(respond="return json.dumps(results)"),
    "body-is-parsed-by-hand": Folder(
        body="data = event.body if isinstance(event.body, dict) else json.loads(event.body)",
    ),
    "encoded-before-decoding": Folder(
        decode="image = Image.open(io.BytesIO(base64.b64decode(data['image'].encode('utf-8'))))\n"
        "    image = image.convert('RGB')",
    ),
    "model-at-import": Folder(
        imports="from PIL import Image\nMODEL = open(os.path.dirname(os.path.abspath(__file__)) "
        "+ '/model.bin').read()",
        files={"model.bin": "weights"},
    ),
    "no-init-context": Folder(init=""),
    "setattr-on-user-data": Folder(
        init="setattr(context.user_data, 'model_handler', lambda image: image.size)",
        decode=PIL + "\n    assert context.user_data.model_handler(image)",
    ),
    "download-beside-the-code": Folder(
        lines=(PILLOW, "RUN wget https://example.invalid/weights.pt -O /opt/nuclio/weights.pt"),
        init="assert os.path.exists('/opt/nuclio/weights.pt')",
        files={"weights.pt": "weights"},
    ),
    "clone-of-its-own-code": Folder(
        lines=(PILLOW, "RUN git clone https://example.invalid/repo.git /opt/nuclio/repo"),
        imports="import sys; sys.path.insert(0, '/opt/nuclio/repo')\n"
        "from PIL import Image\nimport thing_of_repo",
        files={"repo/thing_of_repo.py": ""},
    ),
    "handler-in-another-file": Folder(handler="serve_model:handler"),
    "wheel-in-the-folder": Folder(
        lines=("COPY segment_anything-9999.0-py3-none-any.whl /opt/nuclio/",
               "RUN pip install ./segment_anything-9999.0-py3-none-any.whl pillow"),
        imports="import segment_anything; assert segment_anything.NAME\nfrom PIL import Image",
        files={"segment_anything-9999.0-py3-none-any.whl": "wheel"},
    ),
}  # fmt: skip
OF_INDEX = tuple(torch_of(""))


def write(root: Path, entry: str, folder: Folder, wheels: Path) -> str:
    """Write a folder and return the id of its function."""
    place = root / entry
    place.mkdir(parents=True)
    name = folder.name or entry
    lines = [
        f"        - kind: {kind}\n          value: {json.dumps(value)}"
        for kind, _, value in (line.partition(" ") for line in folder.lines)
    ]
    words = {key: getattr(folder, key) for key in ("handler", "image", "extra", "title", "spec")}
    words |= {"annotations": folder.annotations, "framework": folder.framework, "name": name}
    text = FILE.format(lines="\n".join(lines), **words)
    (place / folder.file).write_text(text.replace(*folder.edit) if folder.edit[0] else text)
    code = MAIN.format(
        imports=folder.imports,
        init=folder.init,
        body=folder.body,
        decode=folder.decode,
        respond=folder.respond,
    )
    if not folder.init:
        code = re.sub(r"def init_context.*?(?=def handler)", "", code, flags=re.DOTALL)
    (place / f"{folder.handler.partition(':')[0]}.py").write_text(code)
    for path, content in folder.files.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        if content == "wheel":
            (place / path).write_bytes((wheels / path).read_bytes())
        else:
            (place / path).write_text(content)
    return name


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """A runtime that serves all folders, those for a GPU as well."""
    home = tmp_path_factory.mktemp("written-for-cvat")
    wheels = home / "wheels"
    for name in SMALL:
        write_wheel(wheels, name, "9999.0", f"NAME = {name!r}\n")
        place = home / "index" / name.replace("_", "-")
        write_wheel(place, name, "9999.0", f"NAME = {name!r}\n")
    with http_server(files_of(home / "index")) as index:
        for entry, folder in {**FOLDERS, **torch_of(index.url)}.items():
            write(home / "functions", entry, folder, wheels)
        # Environments are named by their requirements: those of real packages must not be found.
        env = {
            "UV_FIND_LINKS": str(wheels),
            "UV_CONSTRAINT": os.devnull,  # pip's settings may limit versions
            "CVAT_LAMBDA_CACHE": str(home / "cache"),
            "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR") or str(Path.home() / ".cache" / "uv"),
        }
        with running([home / "functions"], home / "state", "--gpu", "yes", env=env) as runtime:
            yield runtime


def image() -> str:
    """Return a JPEG file in base64."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), (9, 90, 200)).save(buffer, "JPEG")
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.mark.parametrize("entry", [*FOLDERS, *OF_INDEX])
def test_a_folder_written_for_cvat_answers_and_is_listed_as_a_detector(
    served: Runtime, entry: str
) -> None:
    name = FOLDERS[entry].name or entry if entry in FOLDERS else entry
    found = served.wait_for_state(name, "ready", "error", "unhealthy")
    assert found["status"]["state"] == "ready", found["status"].get("message")
    answer = served.call(name, {"image": image(), "threshold": 0.5})
    assert (answer.status_code, answer.json()) == (200, [ITEM])
    spec = parse_function(found)
    assert spec.kind.value == "detector"
    assert "thing" in [label.name for label in spec.labels]


def test_the_folders_have_thirty_habits_or_more() -> None:
    assert len({*FOLDERS, *OF_INDEX}) >= 30
