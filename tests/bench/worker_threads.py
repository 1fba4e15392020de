"""``python -m tests.bench.worker_threads``: memory of workers that are processes, and threads.

The runtime serves RT-DETR v2 with random weights of the published size, with 1 and 4 workers of
both kinds. All workers answer calls at the same time before the memory is read.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from tests.bench.function_cases import ON_TRANSFORMERS
from tests.bench.functions import body_of, call_for, row, weights_of, with_workers
from tests.bench.process_usage import workers_memory
from tests.functions.__main__ import folders
from tests.integration.runtime.harness import running

FUNCTION = "hf-pekingu-rtdetr-v2"


def main() -> None:
    """Print each measurement as a line of JSON."""
    [case] = [case for case in ON_TRANSFORMERS if case.function == FUNCTION]
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        variables = weights_of(case, place / "weights")
        for kind in ("processes", "threads"):
            for workers in (1, 4):
                folder = place / f"{kind}-{workers}" / "function"
                with_workers(folders()[FUNCTION], folder, workers, kind=kind)
                with running([folder], folder.parent / "state", env=variables) as runtime:
                    runtime.wait_for_state(FUNCTION)
                    body = body_of(FUNCTION, case.make(runtime, FUNCTION))
                    call_for(runtime.address(FUNCTION), body, 5.0, at_once=workers)
                    memory = workers_memory(runtime) / 2**20
                print(json.dumps(row(f"{workers} {kind}", memory, "MiB", False)), flush=True)


if __name__ == "__main__":
    main()
