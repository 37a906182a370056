"""Our protobuf subset is Envoy's on the wire, and its generated code is what proto/ says."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.ext_proc.envoy import pb
from headrace.ext_proc.envoy.pb import headrace_access_log_pb2 as log_pb
from headrace.ext_proc.envoy.pb import headrace_ext_proc_pb2 as ext_pb
from headrace.ext_proc.envoy.pb import headrace_health_pb2 as health_pb
from tests.envoy.messages import accesslog, as_json, ext_proc, messages

ROOT = Path(__file__).parents[2]
GENERATED = Path(str(pb.__file__)).parent
PAIRS: list[tuple[type[Message], Any]] = [
    (ext_pb.ProcessingRequest, ext_proc.ProcessingRequest),
    (ext_pb.ProcessingResponse, ext_proc.ProcessingResponse),
    (log_pb.StreamAccessLogsMessage, accesslog.StreamAccessLogsMessage),
]


@pytest.mark.parametrize(("ours", "envoys"), PAIRS, ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_message_of_ours_is_the_same_message_to_envoy_and_back(ours: type[Message], envoys: Any, data: st.DataObject) -> None:
    message = data.draw(messages(ours))
    theirs = envoys.parse(message.SerializeToString())
    assert as_json(theirs) == as_json(message)
    assert as_json(ours.FromString(bytes(theirs))) == as_json(message)


def test_golden_bytes_of_an_answer_to_headers() -> None:
    message = ext_pb.ProcessingResponse()
    common = message.request_headers.response
    option = common.header_mutation.set_headers.add(append_action=ext_pb.OVERWRITE_IF_EXISTS_OR_ADD)
    option.header.key, option.header.raw_value = "a", b"1"
    common.header_mutation.remove_headers.append("b")
    common.clear_route_cache = True
    golden = "0a150a13120f0a0a0a060a01611a013118021201622801"
    assert message.SerializeToString().hex() == golden


def test_golden_bytes_of_the_end_of_a_stream() -> None:
    message = ext_pb.ProcessingResponse()
    message.response_body.response.body_mutation.streamed_response.end_of_stream = True
    assert message.SerializeToString().hex() == "22080a061a041a021001"


def test_golden_bytes_of_health() -> None:
    assert health_pb.HealthCheckResponse(status=health_pb.HealthCheckResponse.SERVING).SerializeToString() == b"\x08\x01"


def test_members_we_do_not_name_are_passed_over() -> None:
    theirs = ext_proc.ProcessingRequest(request_body=ext_proc.HttpBody(body=b"x", end_of_stream=True))
    unknown = b"\xfa\x3e\x03abc"  # field 1007, length-delimited
    assert ext_pb.ProcessingRequest.FromString(bytes(theirs) + unknown).request_body.body == b"x"


def test_the_generated_code_is_current(tmp_path: Path) -> None:
    sources = sorted(str(path.name) for path in (ROOT / "proto").glob("*.proto"))
    arguments = ["-Iproto", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", *sources]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *arguments], cwd=ROOT, check=True, capture_output=True)
    fresh = {path.name: path.read_text() for path in tmp_path.iterdir()}
    kept = {path.name: path.read_text() for path in GENERATED.glob("headrace_*")}
    assert sorted(fresh) == sorted(kept)
    for name, text in fresh.items():
        assert text == kept[name], f"{name} is not what proto/ says; run `make proto`"
