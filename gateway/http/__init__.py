"""The HTTP edge: a thin HTTP/1.1 server on trio, and the v1 message endpoints on top of it.

server.py and connection.py move bytes, head.py and chunked.py read them, routes.py finds the handler,
messages.py speaks to the door. Nothing here decides about a message: that is the door's business.
"""
