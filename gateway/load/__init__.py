"""A load generator over HTTP and SMPP: bounded in count, stops by itself, prints one JSON line."""
