"""The cellar: sessions and their events, kept across calls, crashes and restarts.

A URL names the backend (`open_store`); each kind of URL is one module here with a `build(url)`.
"""

from gateway.store.open import kinds, open_store
from gateway.store.ports import Identity, Numbered, Session, SessionInfo, SessionStore

__all__ = ["Identity", "Numbered", "Session", "SessionInfo", "SessionStore", "kinds", "open_store"]
