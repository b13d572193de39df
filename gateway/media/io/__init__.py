"""The media plane in motion: `pool` as worker processes with real sockets, `inline` in this process with none."""

from gateway.media.io.inline import InlineMedia
from gateway.media.io.pool import MediaPool

__all__ = ["InlineMedia", "MediaPool"]
