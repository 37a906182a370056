"""gRPC over HTTP/2, as a server of bidirectional streams and nothing else. The protocol is in `connection`, without I/O."""
