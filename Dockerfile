# The service alone: Envoy, the store and the models run beside it. docker-compose.yml puts them together.
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE requirements.lock ./
COPY ext_proc ext_proc
COPY filters filters
# The lock's versions with their markers and without hashes; installed is what pyproject.toml asks for.
RUN sed -n 's/^\([A-Za-z0-9._-]*==[^\\]*\).*/\1/p' requirements.lock > constraints.txt \
 && python -m venv /opt/headrace \
 && /opt/headrace/bin/pip install --no-cache-dir --constraint constraints.txt .

FROM python:3.13-slim
COPY --from=build /opt/headrace /opt/headrace
ENV PATH=/opt/headrace/bin:$PATH PYTHONUNBUFFERED=1
RUN useradd --system --no-create-home headrace
USER headrace
# gRPC for Envoy; health, metrics and the policy in force. With HEADRACE_WORKERS=n the ports from 9470 on, n of them,
# for a gateway that lists them all; Kubernetes takes one worker to a pod, and more pods.
ENV HEADRACE_LISTEN=0.0.0.0:9470 HEADRACE_ADMIN=0.0.0.0:9464
EXPOSE 9470 9464
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s CMD ["python", "-m", "headrace.ext_proc.service.healthy"]
ENTRYPOINT ["headrace", "serve"]
