"""User, mount, network, pid, ipc and host-name namespaces of its own (namespaces(7)).

The program sees a root file system in memory: Python's standard library and the system's shared libraries,
read-only, `/dev/null`, `/dev/zero`, `/dev/urandom`, and a private `/tmp` of 16 MB. No `/proc`, no network
device that is up, no other process.
"""

import errno
import os

from nanochat.tools.jail import libc

NOBODY = 65534
TMP_OPTIONS = "size=16m,nr_inodes=1024,mode=700"
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")


def enter() -> str:
    """Moves this process into new namespaces; its next child begins the new pid namespace.

    Root needs no user namespace, and must call `become_nobody` once the root is built: in a namespace that
    calls it nobody it would still own all that root owns. Where root may not do that (a container without
    the privilege), it becomes nobody first. Anybody else needs user namespaces. Returns "user" or "nobody".
    Raises `OSError`.
    """
    rest = libc.CLONE_NEWNS | libc.CLONE_NEWNET | libc.CLONE_NEWPID | libc.CLONE_NEWIPC | libc.CLONE_NEWUTS
    if os.getuid() == 0:
        try:
            libc.unshare(rest)
        except OSError:
            become_nobody()
            libc.prctl(libc.PR_SET_DUMPABLE, 1)  # else /proc/self is root's, and the maps cannot be written
        else:
            return "nobody"
    uid, gid = os.getuid(), os.getgid()
    libc.unshare(libc.CLONE_NEWUSER | rest)
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{NOBODY} {uid} 1")
    _write("/proc/self/gid_map", f"{NOBODY} {gid} 1")
    return "user"


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def build_root(mount_point: str, readable: list[str]) -> None:
    """Makes a root with only `readable` (read-only) and an empty `/tmp`, and moves into it.

    `mount_point` is an empty folder. Raises `OSError`.
    """
    libc.mount(None, "/", None, libc.MS_REC | libc.MS_PRIVATE)
    libc.mount("root", mount_point, "tmpfs", libc.MS_NOSUID | libc.MS_NODEV, "size=1m,nr_inodes=256,mode=755")
    for path in readable:
        _show(path, mount_point + path)
    for device in _DEVICES:
        _bind(device, mount_point + device, libc.MS_RDONLY)  # its mode and owner; it can be written to
    os.mkdir(mount_point + "/tmp")
    libc.mount(
        "tmp", mount_point + "/tmp", "tmpfs", libc.MS_NOSUID | libc.MS_NODEV | libc.MS_NOEXEC, TMP_OPTIONS
    )
    os.chown(mount_point + "/tmp", NOBODY, NOBODY)
    os.mkdir(mount_point + "/old")
    os.chdir(mount_point)
    libc.syscall(_PIVOT_ROOT[os.uname().machine], b".", b"old")
    os.chdir("/tmp")
    libc.detach("/old")
    os.rmdir("/old")
    sealed = libc.MS_REMOUNT | libc.MS_BIND | libc.MS_RDONLY | libc.MS_NOSUID | libc.MS_NODEV
    libc.mount(None, "/", None, sealed)


def _show(path: str, target: str) -> None:
    """Shows the file or folder `path` at `target`, read-only; a symlink is made anew."""
    if os.path.islink(path):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.symlink(os.readlink(path), target)
    elif os.path.exists(path):
        _bind(path, target, libc.MS_RDONLY | libc.MS_NODEV)


def _bind(path: str, target: str, flags: int) -> None:
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_CLOEXEC))
    try:
        libc.mount(path, target, None, libc.MS_BIND)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        libc.mount(
            path, target, None, libc.MS_BIND | libc.MS_REC
        )  # it has mounts below it, which must stay hidden together
    kept = _mount_flags(target)
    libc.mount(None, target, None, libc.MS_REMOUNT | libc.MS_BIND | libc.MS_NOSUID | kept | flags)


def _mount_flags(path: str) -> int:
    """The flags a mount has and that a user namespace may not take away."""
    have = os.statvfs(path).f_flag
    kept = have & (libc.MS_RDONLY | libc.MS_NOSUID | libc.MS_NODEV | libc.MS_NOEXEC | 1024 | 2048)
    return kept | (libc.MS_RELATIME if have & 4096 else 0)


def become_nobody() -> None:
    """Root gives up its identity, for good."""
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
