"""All functions of a runtime: those found in folders and those deployed over REST."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from cvat_lambda.runtime.cancellation import cancellable
from cvat_lambda.runtime.deploy.deployment import PROVISIONED, Deployment
from cvat_lambda.runtime.deploy.prepare import Preparer
from cvat_lambda.runtime.deploy.projects import Projects
from cvat_lambda.runtime.deploy.settings import RuntimeSettings, check_limits
from cvat_lambda.runtime.deploy.sources import FunctionSource, SourceStore
from cvat_lambda.runtime.errors import (
    BadRequest,
    Conflict,
    FunctionBroken,
    NotFound,
    PreconditionFailed,
    RuntimeFault,
)
from cvat_lambda.runtime.logs import remove_log
from cvat_lambda.runtime.spec.discovery import discover, file_chooser
from cvat_lambda.runtime.spec.fields import JsonObject
from cvat_lambda.runtime.spec.function_file import (
    DEFAULT_PROJECT,
    PROJECT_LABEL,
    FunctionConfig,
    check_name,
    in_project,
    parse_function,
    read_document,
    with_defaults,
)
from cvat_lambda.runtime.threads import upload_threads

Result = TypeVar("Result")
logger = logging.getLogger(__name__)


class Supervisor:
    """The deployments by name. All methods run on one event loop."""

    def __init__(
        self,
        settings: RuntimeSettings,
        preparer: Preparer,
        sources: SourceStore,
        projects: Iterable[str] = (DEFAULT_PROJECT,),
    ) -> None:
        self.projects = Projects(projects, lambda: [item.project for item in self.list()])
        self._settings = settings
        self._preparer = preparer
        self._sources = sources
        self._deployments: dict[str, Deployment] = {}
        self._receiving: dict[str, asyncio.Event] = {}  # set when the code is received
        self._removing: dict[str, asyncio.Event] = {}  # set when the function is removed
        self._tasks: set[asyncio.Future[Any]] = set()
        self._stopping = threading.Event()

    # --- reading -------------------------------------------------------------------------------

    def list(self, project: str | None = None, name: str | None = None) -> list[Deployment]:
        """Return the deployments sorted by name, optionally of one project or one name."""
        return [
            deployment
            for key, deployment in sorted(self._deployments.items())
            if (project in (None, "*", deployment.project)) and name in (None, key)
        ]

    def get(self, name: str) -> Deployment:
        """Return one deployment; raise NotFound."""
        try:
            return self._deployments[name]
        except KeyError:
            raise NotFound("Function not found") from None

    # --- changing ------------------------------------------------------------------------------

    def clear_leftovers(self) -> None:
        """Delete leftovers of earlier runs. Call it before functions are served."""
        self._sources.delete_unreferenced()

    async def load_folders(
        self,
        roots: Sequence[Path],
        *,
        only: frozenset[str] = frozenset(),
        gpu: bool | None = False,
        project: str = DEFAULT_PROJECT,
    ) -> None:
        """Register every function folder below the roots and start to deploy it.

        With `gpu` None, the GPU variants that fit this machine are used. `project` is that of
        functions whose file names none. A folder that cannot be read becomes a function in state
        error; the others are not affected.
        """
        choose = file_chooser(gpu)
        available = []
        for root in roots:
            if not discover([root]).folders:
                logger.error("no function was found below %s: a folder with a function.yaml", root)
        found = discover(roots)
        for folder, reason in found.unreadable:
            logger.error("the folder %s cannot be read: %s", folder, reason)
            if not only or folder.name in only:
                self._register_broken(
                    folder.name, f"its folder {folder} cannot be read: {reason}", project
                )
        for folder in found.folders:
            try:
                document = in_project(read_document(choose(folder)), project)
                config = parse_function(document, folder)
                if only and config.name not in only:
                    available.append(config.name)
                    continue
                check_limits(config, self._settings)
                if config.name in self._deployments:
                    raise Conflict(
                        f"function {config.name!r} is served from another folder already: "
                        "rename one of the two"
                    )
            except RuntimeFault as exc:
                if not only or folder.name in only:
                    self._register_broken(folder.name, f"{exc} (in {folder})", project)
                continue
            deployment = self._register(config.name, config.document)
            self._spawn(self._deploy_folder(deployment, config))
        if available:
            names = ", ".join(sorted(available))
            logger.info("available and not served, since --only does not name them: %s", names)

    async def load_deployed(self) -> None:
        """Deploy the functions again that an earlier run deployed over REST.

        A function that cannot be read any more gets the state error.
        """
        for name, source in self._sources.saved():
            if name in self._deployments:
                continue
            try:
                if source is None:
                    raise FunctionBroken("what was deployed cannot be read any more")
                config = _config_of(source)
                check_limits(config, self._settings)
            except RuntimeFault as exc:
                project = _project_of(source.document if source is not None else None)
                self._register_broken(name, f"{exc}: deploy it again", project)
                continue
            self._spawn(self._register(name, config.document).deploy(config))

    async def create(self, document: JsonObject) -> Deployment:
        """Deploy a new function; raise Conflict if the name is taken.

        If a function of that name is being removed, wait until it has finished its calls.
        """
        name = _name_of(document)
        await self._wait_until_removed(name)
        if name in self._deployments or name in self._receiving:
            raise Conflict("Cannot create two functions with the same name")
        return await self._receive(name, document)

    async def update(self, document: JsonObject) -> Deployment:
        """Deploy a function again, or for the first time; raise PreconditionFailed."""
        name = _name_of(document)
        await self._wait_until_removed(name)
        existing = self._deployments.get(name)
        provisioning = existing is not None and existing.state not in PROVISIONED
        if provisioning or name in self._receiving:
            raise PreconditionFailed(
                "Function cannot be updated when existing function is being provisioned"
            )
        return await self._receive(name, document)

    async def remove(self, name: str, *, ignore_state: bool = False) -> None:
        """Remove a function; do nothing if there is none of that name.

        Return when its processes have ended and its files are deleted.
        """
        if name in self._receiving and ignore_state:
            await self._receiving[name].wait()
        deployment = self._deployments.get(name)
        if deployment is None:
            return
        provisioning = deployment.state not in PROVISIONED or name in self._receiving
        if provisioning and not ignore_state:
            raise PreconditionFailed("Function is being provisioned and cannot be deleted")
        del self._deployments[name]
        gone = self._removing[name] = asyncio.Event()
        try:
            await deployment.stop()
            self._sources.delete_all(name)
            remove_log(deployment.log_path)
        finally:
            del self._removing[name]
            gone.set()

    async def stop(self) -> None:
        """End all functions and cancel all preparations."""
        self._stopping.set()
        for deployment in self._deployments.values():
            deployment.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(item.stop() for item in self._deployments.values()))
        self._deployments.clear()

    async def wait_until_settled(self, timeout_s: float) -> None:
        """Wait until every function is in a final state, for `timeout_s` at most."""
        await asyncio.gather(
            *(item.wait_until_settled(timeout_s) for item in self._deployments.values())
        )

    # --- internals --------------------------------------------------------------------------------

    async def _wait_until_removed(self, name: str) -> None:
        """Wait while a function of that name is being removed."""
        while name in self._removing:
            await self._removing[name].wait()

    async def _receive(self, name: str, document: JsonObject) -> Deployment:
        """Read and check a whole request first, so that a bad one changes nothing."""
        arrived = self._receiving[name] = asyncio.Event()
        try:
            source = await upload_threads.run(
                self._in_thread, self._sources.receive, name, document
            )
            config = self._checked(source)
            known = self._deployments.get(name)
            if known is None or not known.in_force:
                self._keep_or_discard(name, source)
        finally:
            del self._receiving[name]
            arrived.set()
        deployment = known or self._register(name, config.document)
        deployment.state = "building"
        self._spawn(self._deploy_and_keep(deployment, config, source))
        return deployment

    def _checked(self, source: FunctionSource) -> FunctionConfig:
        try:
            config = _config_of(source)
            check_limits(config, self._settings)
            self.projects.require(config.project)
        except RuntimeFault as exc:
            self._sources.discard(source.folder)
            if isinstance(exc, FunctionBroken):
                raise BadRequest(str(exc)) from exc  # Nuclio knows no 422
            raise
        return config

    def _keep_or_discard(self, name: str, source: FunctionSource) -> None:
        try:
            self._sources.keep(name, source)
        except RuntimeFault:
            self._sources.discard(source.folder)
            raise

    async def _deploy_and_keep(
        self, deployment: Deployment, config: FunctionConfig, source: FunctionSource
    ) -> None:
        if await deployment.deploy(config) and self._deployments.get(config.name) is deployment:
            try:
                self._sources.keep(config.name, source)
            except RuntimeFault as exc:
                deployment.log("error", f"{exc}; after a restart the version before it is served")

    async def _deploy_folder(self, deployment: Deployment, config: FunctionConfig) -> None:
        """Deploy a copy of the folder, so that later edits do not change what is served."""
        try:
            folder = await upload_threads.run(
                self._in_thread, self._sources.copy, config.name, config.folder
            )
        except RuntimeFault as exc:
            deployment.fail(str(exc))
            return
        await deployment.deploy(dataclasses.replace(config, folder=folder))

    def _in_thread(self, work: Callable[..., Result], *arguments: Any) -> Result:
        with cancellable(self._stopping):
            return work(*arguments)

    def _register(self, name: str, document: JsonObject) -> Deployment:
        deployment = Deployment(
            name, document, self._settings, self._preparer, discard=self._sources.discard
        )
        self._deployments[name] = deployment
        return deployment

    def _register_broken(self, wanted: str, reason: str, project: str) -> None:
        name, number = wanted, 2
        while name in self._deployments:
            name, number = f"{wanted}-{number}", number + 1
        document = in_project({"metadata": {"name": name}, "spec": {}}, project)
        self._register(name, with_defaults(document)).fail(reason)

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _name_of(document: JsonObject) -> str:
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not name:
        raise BadRequest("Function name must be provided in metadata")
    if not isinstance(document.get("spec"), dict):
        raise BadRequest("Function spec must be provided")
    try:
        return check_name(name)
    except RuntimeFault as exc:
        raise BadRequest(
            f"Function name doesn't conform to k8s naming convention. Errors: {exc}"
        ) from exc


def _config_of(source: FunctionSource) -> FunctionConfig:
    config = parse_function(source.document, source.folder)
    return dataclasses.replace(config, origin=source.origin)


def _project_of(document: object) -> str:
    """Return the project that a document names, "default" if it cannot be read."""
    metadata = document.get("metadata") if isinstance(document, dict) else None
    labels = metadata.get("labels") if isinstance(metadata, dict) else None
    project = labels.get(PROJECT_LABEL) if isinstance(labels, dict) else None
    return project if isinstance(project, str) else "default"
