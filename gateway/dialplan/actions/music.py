"""Music while the caller waits, or behind what is said."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta

from gateway.dialplan.actions import Complaint
from gateway.dialplan.control import CallControl
from gateway.dialplan.kinds import File, Seconds
from gateway.dialplan.model import Document, Struct

SHORTHAND = "file"

Decibels = Annotated[float, Meta(ge=-96, le=20)]


class Options(Struct, frozen=True):
    """Play a WAV file round and round: `music: waiting.wav`. The steps after it go on at once, unless `seconds` says
    how long to wait; then the music ends. `music: {stop: true}` ends it, too."""

    file: File | None = None
    level: Decibels = -10.0
    """Decibels above the file's own level."""
    while_speaking: Decibels = -24.0
    """The same while something is said; -96 is silence."""
    seconds: Seconds | None = None
    stop: bool = False


def examine(options: Options, document: Document) -> Iterable[Complaint]:
    if (options.file is None) != options.stop:
        yield Complaint((), "say which `file` to play, or `stop: true`", "music: waiting.wav")


async def run(call: CallControl, options: Options) -> None:
    if options.file is None:
        await call.stop_music()
        return
    await call.music(
        options.file, level_db=options.level, while_speaking_db=options.while_speaking, seconds=options.seconds
    )
