# One image for every server process; docker-compose.yml says which one a container is.
FROM python:3.11.13-slim-bookworm

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1

# Not root: what parses strangers' texts and model files should own nothing but its data.
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/textmill textmill
WORKDIR /srv/textmill

# Dependencies before code: a change of code does not install PyTorch again.
COPY pyproject.toml constraints.txt ./
RUN pip install pip==26.3 \
 && pip install --constraint constraints.txt --group worker --group traces flower psutil

COPY textmill ./textmill
COPY store ./store
COPY api ./api
COPY workers ./workers
COPY standalone ./standalone
COPY migrations ./migrations
COPY alembic.ini LICENSE README.md ./
COPY models ./models
COPY web ./web

USER textmill
# Calibrations, and models fetched from a hub (if the catalogue names any), outlive the container.
ENV TEXTMILL_WEB=/srv/textmill/web \
    TEXTMILL_CACHE_DIR=/var/lib/textmill/cache \
    HF_HOME=/var/lib/textmill/hub
VOLUME /var/lib/textmill

CMD ["python", "-m", "api"]
