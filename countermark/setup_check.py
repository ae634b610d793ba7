"""Does this machine have what the installed packages need? Run at the end of `make setup`.

One clear line per thing that is missing, and a non-zero exit; silence when all is well.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

OPENCV_DISTRIBUTIONS = (
    "opencv-python",
    "opencv-contrib-python",
    "opencv-python-headless",
    "opencv-contrib-python-headless",
)
SYSTEM_LIBRARIES = {"libEGL.so.1": "libegl1", "libGLESv2.so.2": "libgles2", "libGL.so.1": "libgl1"}
"""Shared libraries that the face landmarker and OpenCV load, and the Debian package of each."""


def installed_version(distribution: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def opencv_problem(look_up: Callable[[str], str | None] = installed_version) -> str | None:
    """One line when several cv2 distributions of different versions share (and so corrupt) one folder."""
    found = {name: v for name in OPENCV_DISTRIBUTIONS if (v := look_up(name))}
    if len(set(found.values())) <= 1:
        return None
    listed = ", ".join(f"{name} {v}" for name, v in sorted(found.items()))
    return f"cv2 comes from packages of different versions ({listed}), which overwrite each other: install one version"


def library_loads(name: str) -> bool:
    """Whether the dynamic loader finds a shared library."""
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def library_problem(loads: Callable[[str], bool] = library_loads) -> str | None:
    """One line that names the system packages to install, on Linux."""
    missing = [package for library, package in SYSTEM_LIBRARIES.items() if not loads(library)]
    if not missing:
        return None
    return f"system libraries are missing; on Debian or Ubuntu: sudo apt-get install {' '.join(missing)}"


def main() -> int:
    """Report problems on stderr; the exit code is their number."""
    problems = [opencv_problem()]
    if sys.platform.startswith("linux"):
        problems.append(library_problem())
    told = [problem for problem in problems if problem]
    for problem in told:
        sys.stderr.write(f"countermark: {problem}\n")
    return len(told)


if __name__ == "__main__":
    sys.exit(main())
