"""Side door: a browser peer becomes a `pcm` media leg, over ICE, DTLS-SRTP and Opus or PCMU (aiortc)."""
