"""The gateway's access log: what an entry says, and when, how often and to whom it is told."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from headrace.ext_proc.envoy import access_log
from headrace.ext_proc.envoy.access_log import USAGE_NAMESPACE
from headrace.ext_proc.envoy.metadata import NAMESPACE
from headrace.ext_proc.envoy.pb import headrace_access_log_pb2 as pb
from tests.simulation.call import SimCall
from tests.simulation.story import Story

if TYPE_CHECKING:
    from tests.simulation.gateway import Carried
    from tests.simulation.world import World

FATES = ("soon", "late", "twice", "never")
LATE_MS = 30_000
AGAIN_S = 1.0
GATEWAY_DIED = "the gateway died"


class Logs:
    """Entries on their way to any worker."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.pending = 0

    def write(self, story: Story, entry: bytes) -> None:
        """The exchange is over. Some of what is told is never heard."""
        if story.lost == GATEWAY_DIED:
            return
        lane, odds = self._world.chance.lane(f"x{story.number} log"), self._world.weather.logs
        fate = FATES[lane.pick(len(FATES), odds, "the entry comes late, twice, never")]
        if fate == "never":
            story.lost = "its entry was never delivered"
            return
        for _ in range(2 if fate == "twice" else 1):
            self.pending += 1
            after = lane.ms(LATE_MS, 1.0, "later by") if fate != "soon" else lane.ms(150, 0.5, "gathered for")
            self._world.loop.call_later(after, self._deliver, story, entry)

    def _deliver(self, story: Story, entry: bytes) -> None:
        worker = self._world.some_worker(self._world.chance.lane(f"x{story.number} log"))
        if worker is None:
            self._world.loop.call_later(AGAIN_S, self._deliver, story, entry)
            return
        self.pending -= 1
        worker.entrusted.append(story)
        call = SimCall({})
        worker.serve(access_log.METHOD, call)
        call.send(entry)
        call.end()


def entry_of(carried: "Carried") -> bytes:
    """What the gateway saw of an exchange that is over."""
    story, entry = carried.story, pb.HTTPAccessLogEntry()
    common = entry.common_properties
    _fill(common.metadata.filter_metadata[NAMESPACE], carried.metadata)
    _fill(common.metadata.filter_metadata[USAGE_NAMESPACE], _usage(story))
    common.upstream_cluster = "near"
    _set(common.start_time, carried.began)
    _set(common.duration, carried.world.loop.time() - carried.began)
    if story.forwarded:
        common.time_to_first_upstream_tx_byte.nanos = 1000
        common.response_flags.upstream_connection_failure = not story.reached
    entry.response.response_code.value = story.client.status
    entry.response.response_body_bytes = len(story.client.body)
    message = pb.StreamAccessLogsMessage()
    message.http_logs.log_entry.append(entry)
    return message.SerializeToString()


def _fill(struct: Struct, members: Mapping[str, str | float]) -> None:
    for name, value in members.items():
        if isinstance(value, str):
            struct.fields[name].string_value = value
        else:
            struct.fields[name].number_value = value


def _set(time: Timestamp | Duration, seconds: float) -> None:
    """To the millisecond."""
    time.seconds, ms = divmod(int(seconds * 1000), 1000)
    time.nanos = ms * 1_000_000


def _usage(story: Story) -> Mapping[str, int]:
    """What the gateway's own filters have read of it."""
    answered = story.answered
    if answered is None or answered.usage is None or not story.seen_bytes:
        return {}
    prompt, answer = answered.usage
    anthropic = story.plan.kind == "messages"
    names = ("input_tokens", "output_tokens") if anthropic else ("prompt_tokens", "completion_tokens")
    if story.usage_seen:
        return dict(zip(names, (prompt, answer), strict=True))
    return {names[0]: prompt} if anthropic and answered.is_stream else {}
