# A CVAT server with this app in place of CVAT's lambda_manager. No file of CVAT is changed.
#
#   docker build --build-arg CVAT_TAG=v2.54.0 --tag cvat/server-lambda:v2.54.0 .
#   docker build --target functions --tag cvat/functions-lambda:v2.54.0 .    # the runtime, if wanted
#
# The standalone server, without CVAT:
#
#   docker build --target standalone --tag cvat-lambda/standalone .
ARG CVAT_TAG=v2.54.0
# The version of Python in CVAT's image, for the compiled part of pybase64. `manage.py check` warns
# if the two differ.
ARG PYTHON_VERSION=3.10

# CVAT's image has no pip, so this stage prepares the packages. CVAT's image has all dependencies of
# the app. Three packages are optional: pybase64 encodes images faster, prometheus-client provides the
# metrics, and django-htmx holds the script that updates the pages of the console.
FROM python:${PYTHON_VERSION}-slim AS package
COPY . /source
RUN python -m pip install --no-cache-dir --no-deps --target /package /source \
    "pybase64>=1.3" "prometheus-client>=0.19" "django-htmx>=1.23"

# The embedded function runtime, without Django and without CVAT.
FROM python:3.11-slim AS functions
RUN adduser --uid 1000 --disabled-password --gecos "" functions
COPY . /source
RUN python -m pip install --no-cache-dir "/source[runtime]" && cp -r /source/serverless /serverless
USER functions
WORKDIR /home/functions
# Liveness: whether the dashboard answers. The log of the check has the states of the functions.
HEALTHCHECK --interval=30s --timeout=20s --start-period=60s --retries=3 \
    CMD ["python", "-m", "cvat_lambda.runtime", "list"]
CMD ["python", "-m", "cvat_lambda.runtime", "serve", "/serverless", "--host", "0.0.0.0", \
    "--port", "8070"]

# The standalone server: web pages, workers or functions, by the command's options. It is used by
# docker/docker-compose.yml.
FROM python:3.11-slim AS standalone
RUN adduser --uid 1000 --disabled-password --gecos "" lambda \
    && install -d -o lambda -g lambda /home/lambda/data /home/lambda/data/media /home/lambda/.cache
COPY . /source
RUN python -m pip install --no-cache-dir "/source[standalone,object-store]" \
    && cp -r /source/serverless /serverless
USER lambda
WORKDIR /home/lambda
ENV CVAT_LAMBDA_HOME=/home/lambda/data PYTHONUNBUFFERED=1
HEALTHCHECK --interval=30s --timeout=20s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/health')"]
CMD ["python", "-m", "cvat_lambda.server", "/serverless", "--host", "0.0.0.0"]

FROM cvat/server:${CVAT_TAG}
COPY --from=package /package /opt/cvat_lambda
# Nothing is written into CVAT's own folder: /home/django, from version 2.72 on /opt/cvat.
ENV PYTHONPATH=/opt/cvat_lambda${PYTHONPATH:+:$PYTHONPATH} \
    DJANGO_SETTINGS_MODULE=cvat_lambda.integration.cvat.settings
