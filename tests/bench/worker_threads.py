"""``python -m tests.bench.worker_threads``: memory of workers that are processes, and threads.

The runtime serves RT-DETR v2 with random weights of the published size, with 1 and 4 workers of
both kinds. ``--large`` serves Segment Anything with ViT-H instead (2.6 GB of weights): one process,
and two threads. All workers answer calls at the same time before the memory is read.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import yaml

from cvat_lambda.runtime.commands import read_config
from cvat_lambda.runtime.environments.build import EnvironmentBuilder
from cvat_lambda.runtime.paths import cache_folder
from tests.bench.function_cases import CALL_TIMEOUT_S, ON_TRANSFORMERS
from tests.bench.functions import body_of, call_for, progress, row, weights_of, with_workers
from tests.bench.process_usage import peak_memory, workers_memory
from tests.functions.__main__ import folders
from tests.integration.runtime.harness import REPOSITORY, running

DETECTOR = "hf-pekingu-rtdetr-v2"
INTERACTOR = "pth-facebookresearch-sam-vit-h"
TIME_LIMIT = f"{CALL_TIMEOUT_S:.0f}s"


def vit_h(place: Path) -> Mapping[str, str]:
    """Write random weights of ViT-H. Return the variable that names them."""
    folder = folders()[INTERACTOR]
    builder = EnvironmentBuilder(cache_folder() / "environments")
    python = builder.prepare(folder, read_config(folder).python, progress).interpreter
    place.mkdir(parents=True)
    file = place / "sam_vit_h.pth"
    command = [str(python), "-m", "tests.bench.sam_weights", "vit_h", str(file)]
    subprocess.run(command, cwd=REPOSITORY, check=True)
    return {"MODEL_PATH": str(file)}


def main(*, large: bool) -> None:
    """Print each measurement as a line of JSON."""
    name = INTERACTOR if large else DETECTOR
    case = next(case for case in ON_TRANSFORMERS if case.function == name)
    kinds = (
        (("processes", 1), ("threads", 2))
        if large
        else (("processes", 1), ("processes", 4), ("threads", 1), ("threads", 4))
    )
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        variables = vit_h(place / "weights") if large else weights_of(case, place / "weights")
        for kind, workers in kinds:
            folder = place / f"{kind}-{workers}" / "function"
            with_workers(folders()[name], folder, workers, kind=kind)
            file = folder / "function.yaml"
            document = yaml.safe_load(file.read_text())
            document["spec"]["eventTimeout"] = TIME_LIMIT
            file.write_text(yaml.safe_dump(document, sort_keys=False))
            with running([folder], folder.parent / "state", env=variables) as runtime:
                runtime.wait_for_state(name)
                body = body_of(name, case.make(runtime, name))
                call_for(runtime.address(name), body, 5.0, at_once=workers)
                memory, peak = workers_memory(runtime) / 2**20, peak_memory(runtime) / 2**20
            print(json.dumps(row(f"{workers} {kind}", memory, "MiB", False)), flush=True)
            print(json.dumps(row(f"{workers} {kind} peak", peak, "MiB", False)), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.bench.worker_threads")
    parser.add_argument("--large", action="store_true", help="ViT-H of Segment Anything")
    main(large=parser.parse_args().large)
