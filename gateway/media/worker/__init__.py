"""A media worker: the process, its loop, its sockets."""
