"""The ``DJANGO_SETTINGS_MODULE`` of a CVAT server with this app."""

from cvat.settings.production import *  # noqa: F403

from cvat_lambda.conf import from_environment
from cvat_lambda.integration.cvat.overlay import enable_models_page, overlay

globals().update(overlay(globals()))
globals().update(from_environment())
enable_models_page()
