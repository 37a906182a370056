"""`python -m tests.dependencies`: asks the advisory database about every package of requirements.lock.

Exit status: 0 nothing is known, 1 something is, 3 not audited.
"""

import sys

from tests.dependencies.audit import main

sys.exit(main())
