"""``deploy --watch``: a new training or an edit is deployed without another command."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cvat_lambda.runtime.deploy.archives import pack
from cvat_lambda.runtime.paths import files_below
from cvat_lambda.runtime.watch import FolderWatch
from tests.integration.new_models.conftest import MakeGraphs, picture, run_cli
from tests.integration.runtime.harness import REPOSITORY, Runtime, write_function
from tests.waiting import wait_for

NUMBER = "import json\ndef handler(context, event):\n    return json.dumps(%d)\n"


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory, make_graphs: MakeGraphs) -> list[Path]:
    """The weights of two trainings. Each finds one object, of the last of its classes."""
    folder = tmp_path_factory.mktemp("trainings")
    described: list[dict[str, Any]] = []
    for classes in (["cat"], ["cat", "dog"]):
        table = [[0.0] * 6 for _ in range(300)]
        table[0] = [22, 27, 42, 37, 0.75, len(classes) - 1]
        names = {"names": str(dict(enumerate(classes)))}
        described.append(
            {
                "path": str(folder / f"{len(classes)}.onnx"),
                "input": [1, 3, 64, 64],
                "metadata": {"stride": "32", "imgsz": "[64, 64]", "task": "detect", **names},
                "outputs": {"output0": [table]},
            }
        )
    make_graphs(described)
    return [Path(each["path"]) for each in described]


@contextmanager
def watching(folder: Path, runtime: Runtime) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Run ``deploy --watch`` until the block ends; yield the process and the lines it writes."""
    command = [sys.executable, "-m", "cvat_lambda.runtime", "deploy", str(folder)]
    process = subprocess.Popen(
        [*command, "--url", runtime.url, "--watch"],
        cwd=REPOSITORY,
        env=dict(os.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: list[str] = []
    assert process.stdout is not None
    reader = threading.Thread(target=lines.extend, args=(process.stdout,), daemon=True)
    reader.start()
    try:
        wait_for(
            "the start of the watch",
            lambda: list(lines),
            lambda found: any(line.startswith("watching 1 function folder") for line in found),
            timeout_s=300,
        )
        yield process, lines
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        reader.join(10)
        process.stdout.close()


def labels_found(runtime: Runtime, name: str) -> list[str]:
    """Call a detector with a white image and return the labels of its items."""
    answer = runtime.call(name, {"image": picture(64, 64)})
    assert answer.status_code == 200, answer.text
    return [item["label"] for item in answer.json()]


def revision(runtime: Runtime, name: str) -> str:
    """Return the revision of a function."""
    return str(runtime.function(name)["metadata"]["annotations"]["cvat-lambda/revision"])


def test_weights_of_a_new_training_answer_without_another_command(
    trainings: list[Path], served: Runtime, tmp_path: Path
) -> None:
    best = tmp_path / "runs" / "best.onnx"
    best.parent.mkdir()
    shutil.copy(trainings[0], best)
    words = ("new", "yolo", "watched", "--weights", best, "--into", tmp_path / "functions")
    run_cli(*words, "--threshold", "0.5")
    with watching(tmp_path / "functions", served) as (process, lines):
        assert labels_found(served, "watched") == ["cat"]
        first = revision(served, "watched")
        best.unlink()  # a training deletes its weights before it writes the new ones
        shutil.copy(trainings[1], best)
        found = wait_for(
            "the answer of the second training",
            lambda: labels_found(served, "watched"),
            lambda labels: labels == ["dog"],
            timeout_s=300,
        )
        assert found == ["dog"]
        assert revision(served, "watched") != first
        # The options of `new` are kept.
        settings = json.loads((tmp_path / "functions" / "watched" / "model.json").read_text())
        assert settings["threshold"] == 0.5
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert lines[-1] == "stopped watching; the functions keep running\n"
    assert labels_found(served, "watched") == ["dog"]


def test_an_edit_is_deployed_and_a_failed_deployment_does_not_end_the_watch(
    served: Runtime, tmp_path: Path
) -> None:
    main = write_function(tmp_path, "watched-code", NUMBER % 1) / "main.py"
    with watching(tmp_path, served) as (_process, lines):
        assert served.call("watched-code").json() == 1
        main.write_text("raise RuntimeError('half of an edit')\n")
        wait_for(
            "the error",
            lambda: "".join(lines),
            lambda text: "half of an edit" in text,
            timeout_s=300,
        )
        assert served.call("watched-code").json() == 1
        main.write_text(NUMBER % 22)
        wait_for(
            "the second edit",
            lambda: served.call("watched-code").json(),
            lambda number: number == 22,
            timeout_s=300,
        )


def test_a_file_that_is_being_written_is_not_deployed(tmp_path: Path) -> None:
    main = write_function(tmp_path, "growing", NUMBER % 1) / "main.py"
    deployed: list[int] = []
    watch = FolderWatch(main.parent, lambda _folder: deployed.append(main.stat().st_size))
    for size in (100, 200, 300):
        main.write_bytes(b"#" * size)
        watch.poll(print)
    assert deployed == []
    watch.poll(print)
    watch.poll(print)
    assert deployed == [300]


def test_paths_of_the_machine_are_neither_deployed_nor_part_of_the_revision(
    trainings: list[Path], tmp_path: Path
) -> None:
    run_cli("new", "yolo", "here", "--weights", trainings[0], "--into", tmp_path)
    options = json.loads((tmp_path / "here" / ".new.json").read_text())
    assert options["weights"] == str(trainings[0])
    assert ".new.json" not in {path.name for path in files_below(tmp_path / "here")}
    with zipfile.ZipFile(io.BytesIO(pack(tmp_path / "here"))) as archive:
        assert "model.json" in archive.namelist()
        assert ".new.json" not in archive.namelist()
