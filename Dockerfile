# A CVAT server with this app in place of its own lambda_manager. Nothing of CVAT is changed.
#
#   docker build --build-arg CVAT_TAG=v2.54.0 --tag cvat/server-lambda:v2.54.0 .
#   docker build --target functions --tag cvat/functions-lambda:v2.54.0 .    # the runtime, if wanted
ARG CVAT_TAG=v2.54.0

# CVAT's image has no pip: what is installed is prepared beside it, without any dependency, since
# CVAT's own packages are all that the app needs inside a CVAT server. Two are optional: with pybase64
# images are encoded many times as fast, with prometheus-client there are metrics.
FROM python:3.10-slim AS package
COPY . /source
RUN python -m pip install --no-cache-dir --no-deps --target /package /source \
    "pybase64>=1.3" "prometheus-client>=0.19"

# The embedded function runtime, without Django and without CVAT.
FROM python:3.11-slim AS functions
RUN adduser --uid 1000 --disabled-password --gecos "" functions
COPY . /source
RUN python -m pip install --no-cache-dir "/source[runtime]" && cp -r /source/serverless /serverless
USER functions
WORKDIR /home/functions
CMD ["python", "-m", "cvat_lambda.runtime", "serve", "/serverless", "--host", "0.0.0.0", \
    "--port", "8070"]

FROM cvat/server:${CVAT_TAG}
COPY --from=package /package /opt/cvat_lambda
ENV PYTHONPATH=/opt/cvat_lambda \
    DJANGO_SETTINGS_MODULE=cvat_lambda.integration.cvat.settings
