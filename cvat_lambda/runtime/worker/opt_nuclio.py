"""Makes ``/opt/nuclio`` mean the function's folder, as it does in Nuclio's containers.

CVAT's functions open ``/opt/nuclio/function.yaml`` by that absolute path. Two ways, best first:

* ``mount``: a private mount namespace in which the folder is bound to /opt/nuclio. Nobody else
  sees it, C code that opens files sees it, the machine's own /opt stays visible. Needs root or
  unprivileged user namespaces.
* ``rewrite``: Python's functions that take paths replace the prefix. C code that is handed such a
  path directly (cv2.imread) does not see it.
"""

from __future__ import annotations

import builtins
import ctypes
import io
import os
import stat
import sys
from collections.abc import Callable
from typing import Any

PREFIX = "/opt/nuclio"

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18


def enter(folder: str, ways: str) -> str:
    """Make the prefix resolve and return the way that works: mount, rewrite or none.

    `ways` is auto (mount, else rewrite), mount, rewrite or none.
    """
    if ways == "none" or os.path.realpath(PREFIX) == os.path.realpath(folder):
        return "none"
    if ways in ("auto", "mount") and sys.platform.startswith("linux"):
        # A failure half way must leave this process as it was: try it in a child first.
        if _works_in_child(folder):
            _mount(folder)
            return "mount"
        if ways == "mount":
            raise OSError("a private mount namespace is not allowed here")
    _rewrite(folder)
    return "rewrite"


def _works_in_child(folder: str) -> bool:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            _mount(folder)
            status = 0 if os.path.isdir(PREFIX) else 1
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    return status == 0


def _mount(folder: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    if user == 0:
        _check(libc.unshare(_CLONE_NEWNS))
    else:
        _check(libc.unshare(_CLONE_NEWNS | _CLONE_NEWUSER))
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{user} {user} 1")
        _write("/proc/self/gid_map", f"{group} {group} 1")
    _check(libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None))
    above = os.path.dirname(PREFIX)
    # Both are opened first: the new mounts hide them.
    old_above = os.open(above, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _check(libc.mount(b"tmpfs", above.encode(), b"tmpfs", 0, b"mode=755"))
        _mirror(libc, old_above, above, but=os.path.basename(PREFIX))
        os.mkdir(PREFIX)
        folder_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _mirror(libc, folder_fd, PREFIX, but="")
        finally:
            os.close(folder_fd)
    finally:
        os.close(old_above)


def _mirror(libc: Any, source_fd: int, target: str, *, but: str) -> None:
    """Bind each entry of a folder into another one.

    Entry by entry, because a relative link that leaves the folder (``common -> ../../common``)
    would point nowhere from its new place: such a link is followed here, where it is right.
    """
    for name in os.listdir(source_fd):
        if name == but:
            continue
        source = f"/proc/self/fd/{source_fd}/{name}"
        place = os.path.join(target, name)
        try:
            mode = os.stat(source).st_mode
        except OSError:
            continue  # a dangling link
        if stat.S_ISDIR(mode):
            os.mkdir(place)
        else:
            with open(place, "wb"):
                pass
        # The kernel resolves the link itself: a path made by realpath may be hidden by now.
        _check(libc.mount(source.encode(), place.encode(), None, _MS_BIND | _MS_REC, None))


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _rewrite(folder: str) -> None:
    def moved(path: Any) -> Any:
        if isinstance(path, os.PathLike):
            path = os.fspath(path)
        if isinstance(path, str) and (path == PREFIX or path.startswith(PREFIX + "/")):
            return folder + path[len(PREFIX) :]
        return path

    def wrap(module: Any, name: str) -> None:
        original: Callable[..., Any] = getattr(module, name)

        def rewritten(path: Any = ".", *args: Any, **kwargs: Any) -> Any:
            return original(moved(path), *args, **kwargs)

        rewritten.__name__ = name
        setattr(module, name, rewritten)

    for module, names in (
        (builtins, ("open",)),
        (io, ("open", "open_code")),
        (os, ("open", "stat", "lstat", "listdir", "scandir", "access", "readlink", "chdir")),
    ):
        for name in names:
            wrap(module, name)
