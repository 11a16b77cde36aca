# BIDS App image:
#     docker build --build-arg VERSION=0.1.0 --build-arg REVISION="$(git rev-parse HEAD)" \
#         --build-arg CREATED="$(date -u +%Y-%m-%dT%H:%M:%SZ)" --tag bids-recon:0.1.0 .
#
# The weights of EfficientNet-Lite0 are inside, others and templates are mounted when a method needs them.
ARG BASE=python:3.12-slim-bookworm

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/bids_recon
WORKDIR /src
# Dependencies change less often than the source, so they get a layer of their own.
COPY constraints.txt pyproject.toml ./
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
        > requirements.txt \
    && /opt/bids_recon/bin/pip install -c constraints.txt -r requirements.txt
COPY README.md LICENSE ./
COPY bids_recon ./bids_recon
RUN /opt/bids_recon/bin/pip install -c constraints.txt '.[lite]' \
    && /opt/bids_recon/bin/pip check

FROM ${BASE}
COPY --from=build /opt/bids_recon /opt/bids_recon

# Whatever user the container runs as may write to HOME; with a read-only root, caches go to /tmp.
RUN useradd --create-home --home-dir /home/bids_recon --shell /bin/bash bids_recon \
    && chmod -R go=u /home/bids_recon
# The site directory of a mounted home must not shadow the environment (PYTHONNOUSERSITE). Threads are
# counted by the app, not by each library.
ENV HOME=/home/bids_recon \
    PATH=/opt/bids_recon/bin:${PATH} \
    LANG=C.UTF-8 \
    PYTHONNOUSERSITE=1 \
    PYTHONUNBUFFERED=1 \
    OMP_NUM_THREADS=1 \
    MPLCONFIGDIR=/tmp/matplotlib \
    XDG_CACHE_HOME=/tmp/cache \
    IS_DOCKER_8395080871=1
WORKDIR /tmp

# The image is made only if the app starts, as a user without an account too, and is of the version given.
ARG VERSION=unknown
RUN bids-recon --version \
    && setpriv --reuid=4321 --regid=4321 --clear-groups bids-recon --help > /dev/null \
    && python -c "import bids, nibabel, nilearn.glm, nilearn.image, safetensors, skimage, sklearn.linear_model" \
    && if [ "${VERSION}" != unknown ]; then bids-recon --version | grep --fixed-strings --word-regexp "${VERSION}"; fi \
    && rm -rf /tmp/matplotlib /tmp/cache
# Written into the derivatives, as the container that they were made in.
ENV BIDS_RECON_DOCKER_TAG=${VERSION}

ARG BASE
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="bids_recon" \
      org.opencontainers.image.description="A BIDS App that turns fMRI of people looking at pictures into the pictures they saw" \
      org.opencontainers.image.source="https://github.com/bids-recon/bids-recon" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${BASE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"

ENTRYPOINT ["/opt/bids_recon/bin/bids-recon"]
