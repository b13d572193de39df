"""A voice-bot gateway: calls come in by SIP or from a browser, talk to a bot, and are remembered."""

__version__ = "0.1.0"
