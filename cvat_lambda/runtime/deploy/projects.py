"""Projects, which group functions as in Nuclio."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cvat_lambda.runtime.errors import BadRequest, Conflict, NotFound, PreconditionFailed
from cvat_lambda.runtime.spec.fields import JsonObject, mapping, text


class Projects:
    """The projects that were created or have functions. Projects are not stored."""

    def __init__(self, names: Iterable[str], in_use: Callable[[], Iterable[str]]) -> None:
        self._made = {name: _project(name) for name in ("default", *names)}
        self._in_use = in_use

    def all(self) -> dict[str, JsonObject]:
        """Return the project objects by name."""
        return {**{name: _project(name) for name in self._in_use()}, **self._made}

    def get(self, name: str) -> JsonObject:
        """Return one project object; raise NotFound."""
        try:
            return self.all()[name]
        except KeyError:
            raise NotFound("Project not found") from None

    def require(self, name: str) -> None:
        """Raise PreconditionFailed, as Nuclio does, if the project does not exist."""
        if name not in self.all():
            raise PreconditionFailed("Project does not exist")

    def create(self, document: JsonObject) -> JsonObject:
        """Create a project and return it; raise Conflict if the name is taken.

        As in Nuclio, the default project can be created again.
        """
        name, project = _read(document)
        if name in self.all() and name != "default":
            raise Conflict("Cannot create two projects with the same name")
        self._made[name] = project
        return project

    def update(self, document: JsonObject, wanted: str | None = None) -> None:
        """Create or change a project. `wanted` is its name in the path, if that has one."""
        name, project = _read(document)
        if wanted not in (None, name):
            raise BadRequest("Project name is different from request id")
        self._made[name] = project

    def delete(self, document: JsonObject) -> None:
        """Delete a project; raise PreconditionFailed while it has functions."""
        name, _ = _read(document)
        if name == "default":
            raise PreconditionFailed("Cannot delete the default project")
        if name in set(self._in_use()):
            raise PreconditionFailed(f"Project {name} has functions: remove them first")
        self._made.pop(name, None)


def _project(name: str) -> JsonObject:
    return {"metadata": {"name": name, "namespace": "nuclio"}, "spec": {}, "status": {}}


def _read(document: JsonObject) -> tuple[str, JsonObject]:
    try:
        metadata = mapping(document.get("metadata"), "metadata")
        name = text(metadata.get("name"), "metadata.name")
        spec = mapping(document.get("spec"), "spec")
    except ValueError as exc:
        raise BadRequest(str(exc)) from exc
    if not name:
        raise BadRequest("Project name must be provided in metadata")
    return name, {**_project(name), "spec": spec}
