#!/bin/sh
# The same through the Admin API, for APISIX with etcd. APISIX_ADMIN: such as http://127.0.0.1:9180; APISIX_ADMIN_KEY: its key.
set -eu

put() {
    curl --fail-with-body -sS -X PUT "$APISIX_ADMIN/apisix/admin/$1" -H "X-API-KEY: $APISIX_ADMIN_KEY" -d @- -o /dev/null
}

put upstreams/standard <<'JSON'
{
  "type": "roundrobin",
  "scheme": "http",
  "pass_host": "node",
  "nodes": [
    {
      "host": "127.0.0.1",
      "port": 9001,
      "weight": 1
    }
  ],
  "timeout": {
    "connect": 5,
    "send": 600,
    "read": 600
  }
}
JSON

put upstreams/high-memory <<'JSON'
{
  "type": "roundrobin",
  "scheme": "http",
  "pass_host": "node",
  "nodes": [
    {
      "host": "127.0.0.1",
      "port": 9002,
      "weight": 1
    }
  ],
  "timeout": {
    "connect": 5,
    "send": 600,
    "read": 600
  }
}
JSON

put routes/headrace-models <<'JSON'
{
  "uris": [
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/embeddings"
  ],
  "methods": [
    "POST"
  ],
  "plugins": {
    "ai-proxy-multi": {
      "instances": [
        {
          "name": "standard",
          "provider": "openai-compatible",
          "weight": 1,
          "auth": {},
          "override": {
            "endpoint": "http://127.0.0.1:9001"
          }
        },
        {
          "name": "high-memory",
          "provider": "openai-compatible",
          "weight": 1,
          "auth": {},
          "override": {
            "endpoint": "http://127.0.0.1:9002"
          }
        }
      ],
      "timeout": 600000,
      "ssl_verify": true
    },
    "headrace": {
      "service": [
        "unix:/run/headrace/worker-0.sock",
        "unix:/run/headrace/worker-1.sock"
      ]
    }
  }
}
JSON

put routes/headrace-rest <<'JSON'
{
  "uri": "/v1/*",
  "upstream_id": "standard",
  "plugins": {
    "headrace": {
      "service": [
        "unix:/run/headrace/worker-0.sock",
        "unix:/run/headrace/worker-1.sock"
      ]
    }
  }
}
JSON
