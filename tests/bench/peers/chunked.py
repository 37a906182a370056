"""Just enough of HTTP/1.1 to read streamed answers at little cost: the load's own CPU is taken from the gateways'."""

END_OF_HEAD = b"\r\n\r\n"


class Answer:
    """Bytes of one answer in, bytes of its body out. Raises ValueError where they are no HTTP/1.1 answer."""

    def __init__(self) -> None:
        self.status = 0
        self.ended = False
        self._buffer = b""
        self._chunked = False
        self._left = 0  # of the body without chunks

    def feed(self, data: bytes) -> bytes:
        """What of the body is complete now."""
        self._buffer += data
        if not self.status and not self._head():
            return b""
        return self._chunks() if self._chunked else self._plain()

    def _head(self) -> bool:
        head, found, rest = self._buffer.partition(END_OF_HEAD)
        if not found:
            return False
        lines = head.lower().split(b"\r\n")
        fields = dict(line.split(b":", 1) for line in lines[1:])
        self.status, self._buffer = int(lines[0].split(b" ")[1]), rest
        self._chunked = b"chunked" in fields.get(b"transfer-encoding", b"")
        self._left = int(fields.get(b"content-length", b"0"))
        return True

    def _plain(self) -> bytes:
        body, self._buffer = self._buffer, b""
        self._left -= len(body)
        self.ended = self._left <= 0
        return body

    def _chunks(self) -> bytes:
        parts = []
        while (size := self._size()) is not None:
            start = self._buffer.index(b"\n") + 1
            parts.append(self._buffer[start : start + size])
            self._buffer = self._buffer[start + size + 2 :]
            self.ended = not size
        return b"".join(parts)

    def _size(self) -> int | None:
        """Of the next chunk when all of it is here."""
        line, found, rest = self._buffer.partition(b"\r\n")
        if not found:
            return None
        size = int(line.partition(b";")[0], 16)
        return size if len(rest) >= size + 2 else None
