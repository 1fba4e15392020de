"""The WSGI application of the standalone server."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cvat_lambda.server.settings")
application = get_wsgi_application()
