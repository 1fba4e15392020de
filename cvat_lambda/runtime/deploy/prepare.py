"""Prepare a function before its first worker starts: environment, weights, variables."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cvat_lambda.runtime.deploy.revision import revision_of
from cvat_lambda.runtime.environments.build import EnvironmentBuilder, Progress
from cvat_lambda.runtime.environments.variables import machine_variables, thread_variables
from cvat_lambda.runtime.paths import cache_folder
from cvat_lambda.runtime.spec.function_file import FunctionConfig
from cvat_lambda.runtime.weights.licences import LicencePolicy
from cvat_lambda.runtime.weights.packages import PackageFetcher
from cvat_lambda.runtime.weights.store import WeightStore

_OPT_NUCLIO: Final = "/opt/nuclio"


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedFunction:
    """A function's interpreter and all environment variables of its workers."""

    interpreter: Path
    environment: dict[str, str]
    revision: str  # of the code, the environment and the weights


class Preparer:
    """Builds environments and fetches weights. Its methods block: call them in a thread."""

    def __init__(self, environments: EnvironmentBuilder, weights: WeightStore) -> None:
        self._environments = environments
        self._weights = weights

    def prepare(self, config: FunctionConfig, progress: Progress) -> PreparedFunction:
        """Return what the function's workers are started with; raise NotPrepared."""
        # Weights first: if they are missing, the environment need not be built.
        files = self._weights.fetch(config.origin, config.extras.weights, progress)
        python = self._environments.prepare(
            config.folder,
            config.python,
            progress,
            gpu=config.on_gpu,
            fallback=config.build.requirements,
        )
        weights = self._weights.assemble(
            config.folder, files, config.extras.conversion, python.interpreter, progress
        )
        return PreparedFunction(
            interpreter=python.interpreter,
            environment=worker_environment(config, weights),
            revision=revision_of(config, python.fingerprint, self._weights.fingerprint(files)),
        )


def make_preparer(*, offline: bool, licences: Iterable[str], compile_all: bool = False) -> Preparer:
    """Return a preparer that keeps everything in this user's cache folder."""
    cache = cache_folder()
    environments = EnvironmentBuilder(cache / "environments", compile_all=compile_all)
    packages = PackageFetcher(cache / "weights" / "packages", environments)
    policy = LicencePolicy(licences)
    store = WeightStore(cache / "weights", packages, policy, offline=offline)
    return Preparer(environments, store)


def worker_environment(config: FunctionConfig, weights: Path | None) -> dict[str, str]:
    """Return every environment variable of a worker."""
    environment = {**thread_variables(config.trigger.workers), **machine_variables()}
    environment.update(config.env)
    for weight in config.extras.weights:
        if weight.env and os.environ.get(weight.env):
            environment[weight.env] = os.environ[weight.env]
    folder = str(config.folder)
    more_paths = [
        folder + path[len(_OPT_NUCLIO) :] if path.startswith(_OPT_NUCLIO) else path
        for path in environment.get("PYTHONPATH", "").split(os.pathsep)
        if path
    ]
    environment.update(
        PYTHONPATH=os.pathsep.join([folder, *more_paths]),
        PYTHONNOUSERSITE="1",
        NUCLIO_FUNCTION_NAME=config.name,
        NUCLIO_FUNCTION_DESCRIPTION=str(config.document["spec"].get("description", "")),
        NUCLIO_FUNCTION_VERSION=str(config.document["spec"].get("version", "-1")),
        NUCLIO_FUNCTION_HANDLER=config.handler,
        NUCLIO_HANDLER=config.handler,
    )
    if weights is not None:
        environment["CVAT_LAMBDA_WEIGHTS"] = str(weights)
    return environment
