"""Makes ``/opt/nuclio`` mean the function's folder, as it does in Nuclio's containers.

CVAT's functions open ``/opt/nuclio/function.yaml`` by that absolute path. There are two ways:

* ``mount`` (preferred): a private mount namespace in which the folder is bound to /opt/nuclio. It
  works for C code, too, and other processes do not see it. The machine's own /opt stays visible.
  It needs root or unprivileged user namespaces.
* ``rewrite``: Python's functions that take paths replace the prefix, also in modules that have
  imported them already. It does not work for C code that gets such a path (cv2.imread).
"""

from __future__ import annotations

import builtins
import contextlib
import ctypes
import functools
import io
import os
import stat
import sys
from collections.abc import Callable, Mapping
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
        # A partial failure must not change this process, so a child tries it first.
        if _works_in_child(folder):
            _mount(folder)
            return "mount"
        if ways == "mount":
            raise OSError("a private mount namespace is not allowed here")
    _rewrite(os.path.abspath(folder))
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

    Each entry is bound alone, because a relative link that leaves the folder (``common ->
    ../../common``) would be broken at its new place. Here such a link is followed first.
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
        # The kernel resolves the link, because a path made by realpath may be hidden by now.
        _check(libc.mount(source.encode(), place.encode(), None, _MS_BIND | _MS_REC, None))


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _rewrite(folder: str) -> None:
    """Replace the functions that take paths by ones that move the paths, in all loaded modules."""
    replacements: dict[int, _Moving] = {}
    for module, name in _TAKING_PATHS:
        original = getattr(module, name, None)
        if original is not None and id(original) not in replacements:
            kind = _MovingLink if name == "readlink" else _Moving
            replacements[id(original)] = kind(original, folder)
    for module in list(sys.modules.values()):
        members = getattr(module, "__dict__", None)
        if isinstance(members, dict):
            _replace(module, members, replacements)
            for value in list(members.values()):
                if isinstance(value, type):
                    _replace(value, vars(value), replacements)
    # These sets tell callers what the functions can do. They list the functions themselves.
    for able in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks):
        able.update([new for new in replacements.values() if new.original in able])


_OF_OS = (
    "access", "chdir", "chmod", "chown", "getxattr", "lchown", "link", "listdir", "listxattr",
    "lstat", "mkdir", "mkfifo", "mknod", "open", "pathconf", "readlink", "remove",
    "removexattr", "rename", "replace", "rmdir", "scandir", "setxattr", "stat", "statvfs",
    "symlink", "truncate", "unlink", "utime",
)  # fmt: skip
# The others (makedirs, walk, os.path, shutil, pathlib, ...) call these.
_TAKING_PATHS: list[tuple[Any, str]] = [
    (builtins, "open"),
    (io, "open"),
    (io, "open_code"),
    *((os, name) for name in _OF_OS),
]
_KEYWORDS = frozenset({"file", "path", "src", "dst"})
_TWO_PATHS = frozenset({"link", "rename", "replace", "symlink"})


class _Moving:
    """A function whose paths below the prefix go to the folder.

    This is an object, because a Python function that is stored in a class, as pathlib did until
    Python 3.10, would become a method. The built-in originals do not.
    """

    def __init__(self, original: Callable[..., Any], folder: str) -> None:
        functools.update_wrapper(self, original)
        self.original = original
        self._folder = folder
        self._paths = 2 if getattr(original, "__name__", "") in _TWO_PATHS else 1

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        moved = [self._moved(value) for value in args[: self._paths]]
        for key in _KEYWORDS.intersection(kwargs):
            kwargs[key] = self._moved(kwargs[key])
        return self.original(*moved, *args[self._paths :], **kwargs)

    def _moved(self, path: Any) -> Any:
        if not isinstance(path, (str, bytes, os.PathLike)):
            return path  # a file descriptor, or a value that the original refuses
        text = os.fsdecode(path)
        if text != PREFIX and not text.startswith(PREFIX + "/"):
            return path
        place = self._folder + text[len(PREFIX) :]
        return os.fsencode(place) if isinstance(os.fspath(path), bytes) else place


class _MovingLink(_Moving):
    """``os.readlink``, whose relative answers are relative to the real place of the link."""

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        answer = super().__call__(*args, **kwargs)
        path = args[0] if args else kwargs.get("path")
        place = self._moved(path)
        return answer if place is path else os.path.join(os.path.dirname(place), answer)


def _replace(owner: Any, members: Mapping[str, Any], replacements: Mapping[int, _Moving]) -> None:
    for name, value in list(members.items()):
        is_static = isinstance(value, staticmethod)
        found = replacements.get(id(value.__func__ if is_static else value))
        if found is not None:
            with contextlib.suppress(AttributeError, TypeError):
                setattr(owner, name, staticmethod(found) if is_static else found)
