"""The gRPC services of a worker, on any transport: nothing here knows what the messages say."""

import asyncio
import logging

from headrace.ext_proc.core.effects import Cause
from headrace.ext_proc.core.errors import HeadraceError
from headrace.ext_proc.envoy import access_log, health, processor
from headrace.ext_proc.envoy.access_log import AccessLog
from headrace.ext_proc.envoy.attempt import AttemptStream
from headrace.ext_proc.envoy.health import Health
from headrace.ext_proc.envoy.processor import Processor, ProcessStream
from headrace.ext_proc.envoy.transport import Aborted, Call, Handler, Methods, Status

log = logging.getLogger(__name__)


def methods(processing: Processor, logged: AccessLog, checked: Health) -> Methods:
    """The three services."""
    return {processor.METHOD: _process(processing), access_log.METHOD: _log(logged), health.METHOD: _check(checked)}


def _process(processing: Processor) -> Handler:
    async def process(call: Call) -> None:
        stream = _opened(processing, call)
        cause = Cause.FAILED
        try:
            while (data := await call.read()) is not None:
                for message in await stream.receive(data):
                    await call.write(message)
                if stream.finished:
                    return
            cause = Cause.ABORTED
            if not stream.over:
                # A clean end would let the rest of the answer pass unseen.
                raise Aborted(Status.CANCELLED, "the proxy ended the stream first")
        except asyncio.CancelledError:
            cause = Cause.ABORTED
            raise
        except Aborted:
            raise
        except HeadraceError as error:
            log.error("stream aborted", extra={"error": type(error).__name__, "detail": str(error)})
            raise Aborted(Status.FAILED_PRECONDITION, str(error)) from error
        finally:
            # After this turn of the loop: the stream's status goes out first, and the proxy goes on.
            asyncio.get_running_loop().call_soon(stream.close, cause)

    return process


def _opened(processing: Processor, call: Call) -> ProcessStream | AttemptStream:
    """Raises Aborted for an attempt at an upstream that the policy does not have."""
    try:
        return processing.open(call.metadata)
    except HeadraceError as error:
        log.error("stream refused", extra={"error": type(error).__name__, "detail": str(error)})
        raise Aborted(Status.FAILED_PRECONDITION, str(error)) from error


def _log(logged: AccessLog) -> Handler:
    async def take(call: Call) -> None:
        while (data := await call.read()) is not None:
            try:
                logged.receive(data)
            except HeadraceError as error:
                raise Aborted(Status.INVALID_ARGUMENT, str(error)) from error
            # One read can hold hundreds of entries; requests must not wait for all that has come.
            await asyncio.sleep(0)
        await call.write(b"")

    return take


def _check(checked: Health) -> Handler:
    async def check(call: Call) -> None:
        request = await call.read()
        if request is None:
            raise Aborted(Status.INVALID_ARGUMENT, "a health check is one message")
        await call.write(checked.check(request))

    return check
