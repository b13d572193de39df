"""Records a dialplan's fixed texts, and the conversation's own, with a voice: `python -m gateway.app.render_prompts`.

The folder that comes of it serves `[tts] kind = "prompts"`. The shipped one is made anew, after a change of the
shipped dialplan, by `python -m gateway.app.render_prompts --anew`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from gateway.app.config import shipped
from gateway.app.prompts import spoken_pieces
from gateway.core.errors import GatewayError
from gateway.dialplan import load, prompts
from gateway.providers.load import build_tts
from gateway.providers.tts.flite import Flite
from gateway.providers.tts.prompt_store import PromptStore, render_prompts
from gateway.session.options import ConversationOptions
from gateway.session.resample import WIDE_RATE


def named_texts(options: ConversationOptions) -> dict[str, str]:
    """The apologies with the names of their files: whole, as they are spoken, and to be found by name as well."""
    named = ((options.apology, options.apology_file), (options.farewell, options.farewell_file))
    return {text: f"{name.removesuffix('.wav')}.wav" for text, name in named if text and name}


def needed(dialplan: Path, options: ConversationOptions) -> list[str]:
    """Every text that a gateway with this dialplan may ask its voice for and that is the same for all callers."""
    return [*spoken_pieces(prompts(load(dialplan))), *named_texts(options)]


async def render(dialplan: Path, folder: Path, *, voice: str, anew: bool) -> list[str]:
    """The texts that were recorded. Raises `ConfigError` for the dialplan, `ProviderError` without flite."""
    options = ConversationOptions()
    texts = needed(dialplan, options)
    tts = cast(Flite, build_tts("flite", {"voice": voice, "inline": True}))
    try:
        await tts.warm()  # before anything is deleted
        if anew:
            _delete_recordings(folder)
        return await render_prompts(texts, tts, folder, rate=WIDE_RATE, files=named_texts(options))
    finally:
        await tts.close()


def _delete_recordings(folder: Path) -> None:
    if folder.is_dir():
        PromptStore(folder).clear()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m gateway.app.render_prompts", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("dialplan", nargs="?", type=Path, help="dialplan file or folder (the shipped one)")
    add("--into", metavar="DIR", type=Path, help="where to (prompts/ beside the dialplan)")
    add("--voice", default="slt", help="flite voice (slt)")
    add("--anew", action="store_true", help="record all of them again and delete those that are spoken no more")
    chosen = parser.parse_args(arguments)
    dialplan: Path = chosen.dialplan or shipped("dialplans/default.yaml")
    folder: Path = chosen.into or (dialplan if dialplan.is_dir() else dialplan.parent) / "prompts"
    try:
        rendered = asyncio.run(render(dialplan, folder, voice=chosen.voice, anew=chosen.anew))
    except GatewayError as error:
        print(f"gateway: {error}", file=sys.stderr)
        return 1
    for text in rendered:
        print(text)
    print(f"{len(rendered)} texts recorded in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
