"""SIP extensions, one behaviour a file. A module with an `EXTENSION` is found by itself (`gateway.sip.extension`)."""
