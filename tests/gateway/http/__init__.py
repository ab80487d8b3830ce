"""The HTTP server on memory streams and sockets, and the v1 endpoints before a fake door."""
