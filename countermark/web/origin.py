"""A file lost its credential: ask the credential store of this machine which original it is a copy of.

`countermark provenance find` runs in a process of its own, because its guard wants a small one, and this one has the
detector in it. What it recovers is the credential of an original: it never changes a verdict.
"""

from __future__ import annotations

import ctypes
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from provenance.credential import Credential, Standing

SECONDS = 120.0
SIGNAL_OF_PARENTS_DEATH = 1
"""PR_SET_PDEATHSIG of prctl(2)."""

_LIBC = ctypes.CDLL(None)


def is_wanted(credential: Credential | None) -> bool:
    """Whether there is something to recover: no intact credential in the file, and some in the store."""
    from provenance.store import CredentialStore

    if credential is not None and credential.standing in (Standing.TRUSTED, Standing.UNKNOWN_SIGNER):
        return False
    return next(iter(CredentialStore.of_this_user().entries()), None) is not None


def find_origin(path: Path, trust: Sequence[str] = ()) -> dict[str, Any] | None:
    """The answer of `provenance find FILE --json` where it found an original; None where it did not.

    Args:
        path: the file.
        trust: certificate authorities to believe beside the usual ones.
    """
    command = [sys.executable, "-m", "countermark", "provenance", "find", str(path), "--json"]
    for one in trust:
        command += ["--trust", one]
    done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False, preexec_fn=end_with_parent)
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        return None
    is_found = (
        isinstance(answer, dict) and answer.get("how") in ("watermark", "fingerprint") and answer.get("credential")
    )
    return answer if is_found else None


def end_with_parent() -> None:
    """In the new process: be killed when the checking process is, so that no work outlives its request."""
    if sys.platform == "linux":
        _LIBC.prctl(SIGNAL_OF_PARENTS_DEATH, signal.SIGKILL)
