"""Django settings of a CVAT server that runs this app: ``DJANGO_SETTINGS_MODULE`` names this."""

from cvat.settings.production import *  # noqa: F403

from cvat_lambda.conf import from_environment
from cvat_lambda.integration.cvat.overlay import overlay, show_models

globals().update(overlay(globals()))
globals().update(from_environment())
show_models()
