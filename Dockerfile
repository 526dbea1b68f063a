# Clarion with everything `docker-compose.yml` runs, the devnet too. Versions come from the lock files.
FROM python:3.11-slim-bookworm AS build
WORKDIR /app
COPY requirements-bootstrap.txt requirements.lock ./
RUN python -m venv /tools && /tools/bin/pip install --no-cache-dir --require-hashes -r requirements-bootstrap.txt
COPY . .
RUN python -m venv .venv \
    && /tools/bin/uv pip install --no-cache --python .venv/bin/python --constraints requirements.lock \
       --build-constraints requirements.lock --editable . \
    && .venv/bin/python -m clarion.node npm ci --omit=dev --prefix contracts

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /state clarion && install -d -o clarion -g clarion /state
COPY --from=build /app /app
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 CLARION_STATE_DIR=/state CLARION_LOG__FORMAT=json
USER clarion
WORKDIR /state
VOLUME /state
ENTRYPOINT ["clarion"]
CMD ["--help"]
