"""The route to a function behind a plain HTTP endpoint, which has the same JSON contract."""

from __future__ import annotations

from cvat_lambda.errors import FunctionUnavailable, InvalidRequest
from cvat_lambda.functions.spec import FunctionSpec
from cvat_lambda.gateway.host_resolver import HostResolver
from cvat_lambda.gateway.routes import Route


def endpoint_route(spec: FunctionSpec, hosts: HostResolver) -> Route:
    """Return the route to an endpoint at an address that the allow-list admits.

    Raise FunctionUnavailable if its host is no longer allowed.
    """
    try:
        server, path = hosts.allowed_server(spec.address.endpoint_url)
    except InvalidRequest as exc:
        error = FunctionUnavailable(f"function '{spec.id}': {exc.message}")
        error.permanent = True
        raise error from exc
    token = spec.address.token
    headers = (("Authorization", f"Bearer {token}"),) if token else ()
    return Route(server=server, path=path, headers=headers)
