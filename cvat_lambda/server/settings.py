"""Django settings of the standalone server. Environment variables override the defaults.

``CVAT_LAMBDA_HOME``   the folder of the database, the media and the secret key
``DATABASE_URL``       default: SQLite in the home folder
``CVAT_LAMBDA_REDIS_URL``
``CVAT_LAMBDA_S3_BUCKET``, ``CVAT_LAMBDA_S3_ENDPOINT_URL``, ``CVAT_LAMBDA_S3_REGION``
                       default: media are files in the home folder
``CVAT_LAMBDA_SECRET_KEY``, ``CVAT_LAMBDA_ALLOWED_HOSTS``, ``CVAT_LAMBDA_DEBUG``
and every setting of `cvat_lambda.conf` with the prefix ``CVAT_LAMBDA_``.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import dj_database_url
import django
from django.core.exceptions import ImproperlyConfigured

from cvat_lambda.conf import from_environment
from cvat_lambda.engine.standalone.conf import EngineSettings
from cvat_lambda.server.home import default_home, prepare_home, running_platform
from cvat_lambda.server.secret import secret_key

HOME = default_home()
prepare_home(HOME)

DEBUG = os.environ.get("CVAT_LAMBDA_DEBUG", "") == "1"
SECRET_KEY = os.environ.get("CVAT_LAMBDA_SECRET_KEY") or secret_key(HOME / "secret_key")
ALLOWED_HOSTS = os.environ.get(
    "CVAT_LAMBDA_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1],testserver"
).split(",")
CSRF_TRUSTED_ORIGINS = [
    item for item in os.environ.get("CVAT_LAMBDA_TRUSTED_ORIGINS", "").split(",") if item
]

INSTALLED_APPS = [
    "cvat_lambda.server",  # before the admin, because it has a template of the admin's name
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "django_rq",
    "cvat_lambda",
    "cvat_lambda.engine.standalone",
    "cvat_lambda.web",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "cvat_lambda.server.security_headers.SecurityHeaders",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "cvat_lambda.observability.middleware.RequestContext",
    "cvat_lambda.server.request_limits.RequestLimits",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
# A host without the role web serves the health pages only.
ROOT_URLCONF = os.environ.get("CVAT_LAMBDA_ROOT_URLCONF", "cvat_lambda.server.urls")
WSGI_APPLICATION = "cvat_lambda.server.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES: dict[str, Any] = {
    "default": dj_database_url.parse(
        os.environ.get("DATABASE_URL") or f"sqlite:///{HOME / 'db.sqlite3'}", conn_max_age=60
    )
}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # Writers wait for each other; the journal mode is set in cvat_lambda.server.apps.
    DATABASES["default"].setdefault("OPTIONS", {})["timeout"] = 60
    if django.VERSION >= (5, 1):
        # A transaction takes the write lock when it begins, so none fails half way.
        DATABASES["default"]["OPTIONS"]["transaction_mode"] = "IMMEDIATE"
else:
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
if DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql":
    # A host that is cut off from the network sees an error within half a minute. Without this its
    # processes would wait for TCP's own limit, 15 minutes to 2 hours.
    DATABASES["default"]["OPTIONS"] = {
        "connect_timeout": 10,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 30_000,  # ms
        **DATABASES["default"].get("OPTIONS", {}),
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = os.environ.get("CVAT_LAMBDA_REDIS_URL") or "redis://127.0.0.1:6379/0"
RQ_QUEUES = {
    "annotation": {
        "URL": REDIS_URL,
        "DEFAULT_TIMEOUT": 24 * 3600,
    }
}

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "cvat_lambda.engine.standalone.api.authentication.TokenAuthentication",
        "cvat_lambda.engine.standalone.api.authentication.BearerAuthentication",
        "cvat_lambda.engine.standalone.api.authentication.SessionAuthentication",
        "cvat_lambda.engine.standalone.api.authentication.BasicAuthentication",
    ],
    "DEFAULT_RENDERER_CLASSES": [
        "cvat_lambda.engine.standalone.api.renderers.CvatJSONRenderer",
        "rest_framework.renderers.JSONRenderer",
    ],
    "DEFAULT_PARSER_CLASSES": ["cvat_lambda.rest.parsers.StrictJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "URL_FORMAT_OVERRIDE": "scheme",  # as in CVAT, where ``format`` names a format of datasets
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "cvat_lambda",
    "DESCRIPTION": "Tasks, annotations and model functions, as CVAT's clients speak to them.",
    "VERSION": "2.80.0",
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_INCLUDE_SCHEMA": False,
    "COMPONENT_SPLIT_REQUEST": True,
    "SCHEMA_PATH_PREFIX": "/api",
    "SERVERS": [],
}

AUTHENTICATION_BACKENDS = ["cvat_lambda.server.login_throttle.ThrottledModelBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
CSRF_FAILURE_VIEW = "cvat_lambda.web.errors.csrf_failure"
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "login"
# Behind a reverse proxy with TLS: cookies over HTTPS only, redirects to HTTPS, HSTS.
HTTPS = os.environ.get("CVAT_LAMBDA_HTTPS", "") == "1"
SESSION_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SECURE = HTTPS
SECURE_SSL_REDIRECT = HTTPS
SECURE_REDIRECT_EXEMPT = [r"^health"]
SECURE_HSTS_SECONDS = int(os.environ.get("CVAT_LAMBDA_HSTS_SECONDS", "31536000")) if HTTPS else 0
# Other subdomains, and browsers' preload lists, are not this server's to decide.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SAMESITE = "Lax"

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "/static/"
STATIC_ROOT = HOME / "static"
STATIC_ROOT.mkdir(exist_ok=True)  # whitenoise warns where it is missing
MEDIA_ROOT = HOME / "media"
STORAGES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
if bucket := os.environ.get("CVAT_LAMBDA_S3_BUCKET"):
    from botocore.config import Config

    # Media that all hosts share. boto3 reads the credentials from AWS_ACCESS_KEY_ID and
    # AWS_SECRET_ACCESS_KEY, or wherever else it looks for them.
    STORAGES["media"] = {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {
            "bucket_name": bucket,
            "endpoint_url": os.environ.get("CVAT_LAMBDA_S3_ENDPOINT_URL") or None,
            "region_name": os.environ.get("CVAT_LAMBDA_S3_REGION") or None,
            "file_overwrite": True,  # names are unique, so no request must ask whether one exists
            "client_config": Config(
                connect_timeout=5, read_timeout=30, retries={"mode": "standard"}
            ),
            "max_memory_size": 8 * 1024 * 1024,  # a larger object is buffered on disk
        },
    }
WHITENOISE_USE_FINDERS = True
DATA_UPLOAD_MAX_NUMBER_FILES = None  # cvat-sdk sends small images by the hundred
DATA_UPLOAD_MAX_MEMORY_SIZE = 64 * 1024 * 1024
FILE_UPLOAD_MAX_MEMORY_SIZE = 8 * 1024 * 1024

LOG_FORMAT = os.environ.get("CVAT_LAMBDA_LOG_FORMAT", "text")
if LOG_FORMAT not in ("text", "json"):
    raise ImproperlyConfigured(f"CVAT_LAMBDA_LOG_FORMAT={LOG_FORMAT!r} is neither text nor json")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "text": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"},
        "json": {"()": "cvat_lambda.observability.json_logs.JsonFormatter"},
    },
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT, "stream": sys.stderr}
    },
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {"cvat_lambda": {"level": os.environ.get("CVAT_LAMBDA_LOG_LEVEL", "INFO")}},
}

CVAT_LAMBDA_MAX_CALLS = 16  # of the 24 threads of a web process
CVAT_LAMBDA_ENGINE = "cvat_lambda.engine.standalone.adapter.StandaloneEngine"
if "CVAT_LAMBDA_PLATFORM_URL" not in os.environ:  # commands find the runtime of the server
    globals().update(running_platform(HOME))
globals().update(from_environment())
globals().update(EngineSettings.from_environment())
