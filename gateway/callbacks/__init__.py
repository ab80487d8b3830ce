"""Callbacks: events of the outbox as signed JSON POSTs to the accounts' own servers.

`pump` decides what leaves when, `client` speaks HTTP/1.1, `guard` says where it may go, `signature` signs,
`render` makes the JSON. Only `pump` knows the store.
"""
