"""`python -m coverguard.cli`."""

import sys

from coverguard.cli import main

sys.exit(main())
