# The service alone: Envoy, the store and the models run beside it. docker-compose.yml puts them together.
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml requirements.lock ./
# Extras of pyproject.toml, with commas between them: docker build --build-arg EXTRAS=ner .
ARG EXTRAS=
# What pyproject.toml asks for, and what builds it, in the lock's versions; files whose hash is not in the lock are not installed.
RUN sed -n 's/^\([A-Za-z0-9._-]*==[^\\]*\).*/\1/p' requirements.lock > constraints.txt \
 && python -c 'import sys, tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
lists = [project["dependencies"], *(project["optional-dependencies"][extra] for extra in sys.argv[1].split(",") if extra)]; \
print(*sum(lists, []), sep="\n")' "$EXTRAS" > asked.txt \
 && pip download --no-cache-dir --only-binary :all: --dest wheels --constraint constraints.txt --requirement asked.txt hatchling editables \
 && (cd wheels && sha256sum *) | while read -r hash file; do \
      grep -q "sha256:$hash" requirements.lock || { echo "$file is not in requirements.lock"; exit 1; }; \
    done
COPY README.md LICENSE ./
COPY ext_proc ext_proc
COPY filters filters
RUN pip install --no-cache-dir --no-index --find-links wheels hatchling editables \
 && pip wheel --no-deps --no-build-isolation --wheel-dir wheels . \
 && python -m venv --without-pip /opt/headrace \
 && pip --python /opt/headrace/bin/python install --no-cache-dir --no-index --find-links wheels "headrace${EXTRAS:+[$EXTRAS]}"

FROM python:3.13-slim
COPY --from=build /opt/headrace /opt/headrace
ENV PATH=/opt/headrace/bin:$PATH PYTHONUNBUFFERED=1
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin headrace
# By its number: Kubernetes cannot tell from a name that it is not root (runAsNonRoot).
USER 10001
# gRPC for Envoy; health, metrics and the policy in force. With HEADRACE_WORKERS=n the ports from 9470 on, n of them,
# for a gateway that lists them all; Kubernetes takes one worker to a pod, and more pods.
ENV HEADRACE_LISTEN=0.0.0.0:9470 HEADRACE_ADMIN=0.0.0.0:9464
EXPOSE 9470 9464
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s CMD ["python", "-m", "headrace.ext_proc.service.healthy"]
ENTRYPOINT ["headrace", "serve"]
