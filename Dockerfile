# authapp as an image: the pinned packages, the code, and a user without rights. docs/deploy.md says how to run it.

FROM python:3.13-slim-bookworm AS build
WORKDIR /opt/authapp
COPY requirements.txt ./
# Every package is a wheel: nothing is compiled. pip has no use after this; the base image's own is all that stays.
RUN python -m venv .venv \
    && .venv/bin/python -m pip install --no-cache-dir --disable-pip-version-check --only-binary=:all: \
       --require-hashes -r requirements.txt \
    && .venv/bin/python -m pip uninstall --yes --disable-pip-version-check pip
COPY wsgi.py gunicorn.conf.py ./
COPY migrations migrations
COPY authapp authapp
# The file system may be read-only, and then nobody could keep what Python compiles.
RUN .venv/bin/python -m compileall -q authapp migrations wsgi.py \
    && mkdir instance \
    && chown 10001:10001 instance

FROM python:3.13-slim-bookworm
WORKDIR /opt/authapp
COPY --from=build /opt/authapp /opt/authapp
ENV PATH=/opt/authapp/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    FLASK_SKIP_DOTENV=1 \
    BIND=0.0.0.0:8000
# Whoever reads only this number can see that it is not root.
USER 10001:10001
EXPOSE 8000
# Only whether the process is up: a restart mends no database. Load balancers ask /readyz.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
# gunicorn is the first process, and gets the signals itself.
STOPSIGNAL SIGTERM
CMD ["gunicorn", "wsgi:app"]
