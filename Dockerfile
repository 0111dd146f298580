# Two images of one source:
#   docker build --target api .      the service: no torch, no GPU
#   docker build --target worker .   a GPU host
# The version of the base is pinned; its patch level moves with each build, for security.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /src
RUN python -m venv /opt/trainyard
COPY pyproject.toml requirements.lock README.md ./

# Each build stage installs the dependencies before the source is there: a change of the source costs seconds.
FROM build AS build-api
RUN mkdir app worker migrations && /opt/trainyard/bin/pip install -c requirements.lock .
COPY app app
COPY worker worker
COPY migrations migrations
RUN rm -rf build && /opt/trainyard/bin/pip install --no-deps --force-reinstall .

FROM build AS build-worker
# Empty: torch for the GPUs, as the package index has it. Another index, such as torch's own for CPUs: its URL.
ARG TORCH_INDEX_URL=
RUN /opt/trainyard/bin/pip install ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} -c requirements.lock torch torchvision
RUN mkdir app worker migrations && /opt/trainyard/bin/pip install -c requirements.lock ".[worker]"
COPY app app
COPY worker worker
COPY migrations migrations
RUN rm -rf build && /opt/trainyard/bin/pip install --no-deps --force-reinstall .

FROM ${PYTHON_IMAGE} AS runtime
ENV PATH=/opt/trainyard/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    HOME=/var/lib/trainyard TRAINYARD_HOME=/var/lib/trainyard
# The ids are fixed: files on a shared file system belong to the same user on every host. A new named volume takes over
# the owner of the folder that it covers.
RUN groupadd --gid 10001 trainyard \
    && useradd --uid 10001 --gid 10001 --home-dir /var/lib/trainyard --no-create-home --shell /usr/sbin/nologin trainyard \
    && install -d -o 10001 -g 10001 -m 0750 /var/lib/trainyard /srv/trainyard/storage /srv/trainyard/datasets
WORKDIR /var/lib/trainyard

FROM runtime AS worker
COPY --from=build-worker /opt/trainyard /opt/trainyard
USER 10001:10001
CMD ["trainyard", "worker"]

# The last stage is the one that `docker build .` makes.
FROM runtime AS api
COPY --from=build-api /opt/trainyard /opt/trainyard
USER 10001:10001
EXPOSE 8000
CMD ["trainyard", "api", "--host", "0.0.0.0", "--port", "8000"]
