"""Functions whose packages are named in ``spec.build``, as in Nuclio."""

from __future__ import annotations

from tests.integration.runtime.conftest import Serve, Write
from tests.integration.runtime.harness import Runtime
from tests.integration.runtime.test_environments import write_wheel

CODE = """
import os, cvl_probe
def handler(context, event):
    return f"{cvl_probe.VALUE} {os.environ['SIZE']}"
"""


def build(*lines: tuple[str, str]) -> dict[str, object]:
    return {"directives": {"preCopy": [{"kind": kind, "value": value} for kind, value in lines]}}


def test_function_has_packages_and_variables_of_its_build_lines(
    runtime: Runtime, write: Write
) -> None:
    install = "pip install --no-cache-dir /opt/nuclio/cvl_probe-1.0-py3-none-any.whl"
    lines = build(
        ("RUN", f"apt-get update && apt-get install -y git && {install}"), ("ENV", "SIZE=640")
    )
    folder = write(CODE, build=lines)
    write_wheel(folder, "cvl_probe", "1.0", "VALUE = 42\n")
    runtime.deploy(folder)
    runtime.wait_for_state(folder.name)
    assert runtime.call(folder.name, {}).text == "42 640"


def test_requirements_file_has_precedence_over_build_lines(runtime: Runtime, write: Write) -> None:
    lines = build(("RUN", "pip install nothing-of-that-name-anywhere"), ("ENV", "SIZE=640"))
    folder = write(CODE, build=lines)
    write_wheel(folder, "cvl_probe", "1.0", "VALUE = 42\n")
    (folder / "requirements.txt").write_text("./cvl_probe-1.0-py3-none-any.whl\n")
    runtime.deploy(folder)
    runtime.wait_for_state(folder.name)
    assert runtime.call(folder.name, {}).text == "42 640"


def test_state_names_the_build_lines_that_were_not_run(runtime: Runtime, serve: Serve) -> None:
    lines = build(("RUN", "git clone https://x.example/cvl_probe.git && conda install numpy"))
    name = serve(CODE, state="error", build=lines).name
    message = runtime.function(name)["status"]["message"]
    assert "No module named 'cvl_probe'" in message
    assert "git clone https://x.example/cvl_probe.git is not run: put the code into the" in message
    assert "conda install numpy is not run: name the packages in requirements.txt" in message
