"""What the APIs define beyond the usual: requests of the SDKs' own types, none of which `unknown: refuse` may refuse."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from anthropic.types import message_create_params as messages_params
from anthropic.types.beta import message_create_params as beta_params
from openai.types.chat import completion_create_params as chat_params
from openai.types.responses import response_create_params as responses_params

from headrace.ext_proc.core.effects import Record
from headrace.ext_proc.core.endpoint import Endpoint
from headrace.ext_proc.core.verdict import Json
from headrace.ext_proc.engine.policy.compile import Policy
from headrace.filters.pii.paths import RULES
from headrace.filters.pii.strings import collect, spelled

from .driver import Talk, policy
from .sdk_types import members

EMAIL, KEY = "jane.doe@example.com", "sk-proj-abcDEF123456ghiJKL7890mnop"
ASKED: Mapping[str, Any] = {"role": "user", "content": "hi"}

CHAT: Mapping[str, Json] = {
    "moderation": {"moderation": {"model": "omni-moderation-latest"}},
    "prompt_cache_options": {"prompt_cache_options": {"mode": "explicit", "ttl": "1h"}},
    "prompt_cache_breakpoint": {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}}]}]
    },
    "audio custom voice": {"audio": {"voice": {"id": "voice_1"}, "format": "wav"}},
    "web_search_options": {
        "web_search_options": {"user_location": {"type": "approximate", "approximate": {"city": "x"}}, "search_context_size": "low"}
    },
    "annotations history": {
        "messages": [
            ASKED,
            {
                "role": "assistant",
                "content": "x",
                "refusal": None,
                "annotations": [
                    {
                        "type": "url_citation",
                        "url_citation": {"url": "https://x.org", "title": "t", "start_index": 0, "end_index": 1},
                    }
                ],
            },
        ]
    },
    "what OpenRouter and Gemini add": {
        "messages": [
            {
                "role": "assistant",
                "content": "x",
                "reasoning_details": [
                    {
                        "type": "reasoning.text",
                        "id": "r",
                        "format": "anthropic-claude-v1",
                        "index": 0,
                        "text": "t",
                        "signature": "abc+",
                    }
                ],
                "tool_calls": [
                    {
                        "id": "c",
                        "type": "function",
                        "function": {"name": "f", "arguments": "{}"},
                        "extra_content": {"google": {"thought_signature": "abc+"}},
                    }
                ],
            }
        ]
    },
}
MESSAGES: Mapping[str, Json] = {
    "output_config": {
        "output_config": {
            "effort": "high",
            "format": {
                "type": "json_schema",
                "schema": {"type": "object", "properties": {"a": {"type": "string", "description": "d"}}},
            },
        }
    },
    "mcp_servers": {"mcp_servers": [{"type": "url", "name": "x", "url": "https://mcp.x.org", "authorization_token": "tok"}]},
    "context_management": {
        "context_management": {"edits": [{"type": "clear_tool_uses_20250919", "trigger": {"type": "input_tokens", "value": 1}}]}
    },
    "web_search history": {
        "messages": [
            ASKED,
            {
                "role": "assistant",
                "content": [
                    {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}},
                    {
                        "type": "web_search_tool_result",
                        "tool_use_id": "s",
                        "content": [
                            {
                                "type": "web_search_result",
                                "url": "https://x.org",
                                "title": "t",
                                "encrypted_content": "QUJD",
                                "page_age": "April 30, 2025",
                            }
                        ],
                    },
                    {"type": "text", "text": "x", "citations": None},
                ],
            },
            ASKED,
        ]
    },
    "tool caller": {
        "messages": [
            ASKED,
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}, "caller": {"type": "direct"}}],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "x"}]},
        ]
    },
    "tool type/strict/defer": {
        "tools": [
            {
                "type": "custom",
                "name": "f",
                "input_schema": {"type": "object"},
                "strict": True,
                "defer_loading": True,
                "allowed_callers": ["direct"],
                "input_examples": [{"a": "b"}],
            }
        ]
    },
    "code_execution result": {
        "messages": [
            ASKED,
            {
                "role": "assistant",
                "content": [
                    {
                        "type": "bash_code_execution_tool_result",
                        "tool_use_id": "s",
                        "content": {
                            "type": "bash_code_execution_result",
                            "stdout": "x",
                            "stderr": "",
                            "return_code": 0,
                            "content": [],
                        },
                    }
                ],
            },
            ASKED,
        ]
    },
    "inference_geo": {"inference_geo": "us"},
    "speed": {"speed": "fast"},
    "thinking display": {"thinking": {"type": "adaptive", "display": "summarized"}},
    "cache_control top": {"cache_control": {"type": "ephemeral", "ttl": "1h"}},
    "text_editor tool": {"tools": [{"type": "text_editor_20250728", "name": "str_replace_based_edit_tool", "max_characters": 100}]},
    "mcp_tool_use history": {
        "messages": [
            ASKED,
            {
                "role": "assistant",
                "content": [
                    {"type": "mcp_tool_use", "id": "m", "name": "f", "server_name": "x", "input": {}},
                    {"type": "mcp_tool_result", "tool_use_id": "m", "is_error": False, "content": [{"type": "text", "text": "x"}]},
                ],
            },
            ASKED,
        ]
    },
    "search_result": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {
                        "type": "search_result",
                        "source": "https://x.org",
                        "title": "t",
                        "content": [{"type": "text", "text": "x"}],
                        "citations": {"enabled": True},
                    }
                ],
            }
        ]
    },
    "container skills": {"container": {"id": "c", "skills": [{"type": "anthropic", "skill_id": "pptx", "version": "latest"}]}},
}
RESPONSES: Mapping[str, Json] = {
    "mcp": {
        "tools": [
            {
                "type": "mcp",
                "server_label": "x",
                "server_url": "https://x.org",
                "require_approval": {"never": {"tool_names": ["a"]}},
                "allowed_tools": ["a"],
                "headers": {"A": "b"},
            }
        ]
    },
    "file_search": {
        "tools": [
            {
                "type": "file_search",
                "vector_store_ids": ["vs_1"],
                "filters": {"type": "eq", "key": "k", "value": "v"},
                "ranking_options": {"ranker": "auto", "score_threshold": 0.5},
            }
        ]
    },
    "image_generation": {
        "tools": [
            {
                "type": "image_generation",
                "size": "1024x1024",
                "quality": "high",
                "background": "transparent",
                "output_format": "png",
                "moderation": "low",
                "input_fidelity": "high",
                "model": "gpt-image-1",
            }
        ]
    },
    "code_interpreter": {
        "tools": [{"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["f"], "memory_limit": "4g"}}]
    },
    "web_search filters": {
        "tools": [
            {
                "type": "web_search",
                "filters": {"allowed_domains": ["x.org"]},
                "user_location": {"type": "approximate", "city": "x"},
                "search_context_size": "low",
            }
        ]
    },
    "output history": {
        "input": [
            {
                "type": "message",
                "id": "msg_1",
                "status": "completed",
                "role": "assistant",
                "phase": "final_answer",
                "content": [
                    {
                        "type": "output_text",
                        "text": "x",
                        "annotations": [
                            {"type": "url_citation", "url": "https://x.org", "title": "t", "start_index": 0, "end_index": 1}
                        ],
                        "logprobs": [],
                    }
                ],
            },
            {"role": "user", "content": "x"},
        ]
    },
    "shell history": {
        "input": [
            {"type": "shell_call", "call_id": "c", "action": {"commands": ["ls"]}, "status": "completed"},
            {
                "type": "shell_call_output",
                "call_id": "c",
                "output": [{"stdout": "x", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}],
            },
        ]
    },
    "apply_patch": {
        "input": [
            {
                "type": "apply_patch_call",
                "call_id": "c",
                "status": "completed",
                "operation": {"type": "update_file", "path": "a.py", "diff": "+x"},
            },
            {"type": "apply_patch_call_output", "call_id": "c", "status": "completed", "output": "ok"},
        ]
    },
    "computer_call": {
        "input": [
            {
                "type": "computer_call",
                "id": "c",
                "call_id": "c",
                "action": {"type": "click", "button": "left", "x": 1, "y": 2},
                "pending_safety_checks": [{"id": "s", "code": "c", "message": "m"}],
                "status": "completed",
            },
            {
                "type": "computer_call_output",
                "call_id": "c",
                "acknowledged_safety_checks": [{"id": "s"}],
                "output": {"type": "computer_screenshot", "image_url": "data:image/png;base64,iVBORw0KGgo="},
            },
        ]
    },
    "mcp_list_tools history": {
        "input": [
            {
                "type": "mcp_list_tools",
                "id": "m",
                "server_label": "x",
                "tools": [
                    {
                        "name": "a",
                        "description": "d",
                        "input_schema": {"type": "object", "properties": {"q": {"type": "string"}}},
                        "annotations": {"title": "x"},
                    }
                ],
            },
            {"role": "user", "content": "x"},
        ]
    },
    "context_management": {"context_management": [{"type": "compaction", "compact_threshold": 1000}]},
    "reasoning": {"reasoning": {"effort": "low", "summary": "auto"}},
    "prompt_cache_options": {"prompt_cache_options": {"mode": "explicit"}},
    "function tool defer": {
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True, "defer_loading": True}]
    },
    "codex": {
        "client_metadata": {
            "session_id": "01a208e9-ad62-72a0-94be-dff3f17fe65d",
            "x-codex-turn-metadata": '{"turn_id":"01a208e9-ad85-7882-9c30-a8a5e3579b61","window_number":0}',
        },
        "input": [
            {
                "type": "additional_tools",
                "id": "at_01a208e9-add7-72c0-9094-6d328188b333",
                "role": "developer",
                "tools": [
                    {
                        "type": "namespace",
                        "name": "functions",
                        "description": "d",
                        "tools": [{"type": "function", "name": "f", "strict": False, "parameters": {"type": "object"}}],
                    }
                ],
            },
            {"type": "custom_tool_call", "id": "ctc_1", "call_id": "c", "name": "apply_patch", "input": "*** Begin Patch"},
            {"type": "custom_tool_call_output", "call_id": "c", "output": "Done"},
        ],
    },
}
BASES: Mapping[str, Json] = {
    "/v1/chat/completions": {"model": "m", "messages": [ASKED]},
    "/v1/messages": {"model": "m", "max_tokens": 9, "messages": [ASKED]},
    "/v1/responses": {"model": "m", "input": "x"},
}
CASES = [(path, name, more) for path, cases in zip(BASES, (CHAT, MESSAGES, RESPONSES), strict=True) for name, more in cases.items()]


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return policy(tmp_path_factory.mktemp("strict"), "unknown: refuse, entities: [EMAIL_ADDRESS]")


@pytest.mark.parametrize(("path", "name", "more"), CASES, ids=[name for _, name, _ in CASES])
def test_what_an_sdk_sends_is_declared(strict: Policy, path: str, name: str, more: Json) -> None:
    body = {**BASES[path], **more}
    assert Talk(strict, path).sent(body) == body


REQUESTS = (
    (Endpoint.CHAT, chat_params.CompletionCreateParamsBase),
    (Endpoint.RESPONSES, responses_params.ResponseCreateParamsBase),
    (Endpoint.MESSAGES, messages_params.MessageCreateParamsBase),
    (Endpoint.MESSAGES, beta_params.MessageCreateParamsBase),
)
HEADERS = {"betas", "user_profile_id", "workspace_id"}
"""What the SDK's method takes and sends as a header."""
FREE = {"tool_choice.allowed_tools.tools[0].mine", "tool_choice.tools[0].mine"}
"""What is typed as an object with anything in it, and is a reference to a tool."""


@pytest.mark.parametrize(("endpoint", "request_type"), REQUESTS, ids=[each.__module__ for _, each in REQUESTS])
def test_what_the_sdks_types_have_is_declared(endpoint: Endpoint, request_type: Any) -> None:
    found = (path for document in members(request_type) for path in collect(document, RULES[endpoint]).undeclared)
    assert {spelled(path) for path in found if path[0] not in HEADERS} <= FREE


SECRET = {"domain": "api.github.com", "name": "GH", "value": "ghp_16C7e42F292c6912E7710c838347Ae178B4a"}
NETWORK = {"type": "allowlist", "allowed_domains": ["api.github.com"], "domain_secrets": [SECRET]}
CONTAINER = {"type": "container_auto", "file_ids": ["file-4155552671"], "network_policy": NETWORK}
LATER = {"type": "mcp", "server_label": "x", "server_url": "https://mcp.example.com/sse", "authorization": KEY}


@pytest.mark.parametrize(
    "more",
    [
        {"tools": [{"type": "shell", "environment": CONTAINER}]},
        {"tools": [{"type": "code_interpreter", "container": {**CONTAINER, "type": "auto"}}]},
        {"input": [{"type": "tool_search_output", "tools": [LATER]}]},
    ],
)
def test_where_a_tool_runs_stays_what_it_is(tmp_path: Path, more: dict[str, Any]) -> None:
    body = {"model": "m", "input": "x", **more}
    assert Talk(policy(tmp_path), "/v1/responses").sent(body) == body


# --- servers of tools ------------------------------------------------------------------------------------------------------------

SERVER = {
    "type": "mcp",
    "server_label": "x",
    "server_url": "https://mcp.example.com/sse",
    "authorization": KEY,
    "headers": {"X-Key": KEY},
}
SEARCH = {"type": "web_search", "filters": {"allowed_domains": ["example.com"]}}


@pytest.mark.parametrize(
    ("path", "more", "unread"),
    [
        ("/v1/responses", {"tools": [SERVER, SEARCH]}, {"tools.authorization": 1, "headers.X-Key": 1}),
        (
            "/v1/messages",
            {
                "mcp_servers": [{"type": "url", "name": "x", "url": "https://mcp.example.com/sse", "authorization_token": KEY}],
                "tools": [{"type": "web_search_20250305", "name": "web_search", "allowed_domains": ["example.com"]}],
            },
            {"mcp_servers.authorization_token": 1},
        ),
    ],
)
def test_where_an_upstream_is_to_go_and_what_to_show_there_is_left_alone(
    tmp_path: Path, path: str, more: Json, unread: Json
) -> None:
    talk, body = Talk(policy(tmp_path, "request: redact"), path), {**BASES[path], **more}
    assert talk.sent(body) == body
    (record,) = [effect for effect in talk.close() if isinstance(effect, Record) and effect.kind == "decision"]
    assert next(step["note"]["unread"] for step in record.members["steps"] if step["filter"] == "pii") == unread


def test_other_values_in_an_address_are_found(tmp_path: Path) -> None:
    tools = [SERVER | {"server_url": f"https://mcp.example.com/?user={EMAIL}"}]
    sent = Talk(policy(tmp_path, "request: redact"), "/v1/responses").sent({**BASES["/v1/responses"], "tools": tools})
    assert EMAIL not in sent["tools"][0]["server_url"]
