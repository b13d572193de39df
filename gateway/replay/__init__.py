"""The back door: record a call as a bundle, play it again under a virtual clock, compare what happened.

`bundle` writes and `reading` reads the folder; `recorded` notes what providers answer and `players` answer it again;
`run` sends a bundle or a WAV through the pipeline; `compare` holds the new events against the golden ones.
"""
