"""Side door: a browser peer becomes a `relayed` media leg, over ICE and DTLS (aiortc)."""
