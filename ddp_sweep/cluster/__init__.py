"""Everything that runs on a Ray cluster; the only folder that imports Ray."""

from __future__ import annotations

import os

# Read when Ray is first imported. Ray prints the errors that cluster processes publish to the
# driver's stdout, whatever its logging is set to; ours carries results. Failures of a trial reach
# its row instead.
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
