"""What an answer tells the gateway for later."""

from pathlib import Path

from headrace.ext_proc.envoy.metadata import NAMESPACE, written
from headrace.ext_proc.envoy.pb import headrace_ext_proc_pb2 as pb


def test_strings_and_numbers_are_there_by_name() -> None:
    told = pb.ProcessingResponse.FromString(written({"route": "large", "left": 7}))
    fields = told.dynamic_metadata.fields[NAMESPACE].struct_value.fields
    assert (fields["route"].string_value, fields["left"].number_value) == ("large", 7)


def test_nothing_of_it_is_kept() -> None:
    """protobuf's memory is its own, which Python's tools do not see: 20 MB are asked of it here."""
    written({"lease": "x" * 1000})
    before = _resident_kb()
    for number in range(20_000):
        written({"lease": f"{number:01000}"})
    assert _resident_kb() - before < 10_000


def _resident_kb() -> int:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1])
