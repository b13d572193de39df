"""`python -m gateway.replay`, the same as `gateway replay`."""

import sys

from gateway.replay.cli import main

sys.exit(main())
