"""Whether a file lies on a file system that other machines write to as well, by the table of mounts.

In WAL mode the processes that have a database open share memory, which those of another machine do not, and SQLite
relies on locks that such file systems keep badly or not at all: sqlite.org/wal.html, sqlite.org/faq.html#q5. What
comes of it is a database that is damaged now and then, without an error at the time.
"""

from __future__ import annotations

import os
from pathlib import Path

import psutil

from actsearch.errors import StorageError
from actsearch.storage.redaction import escape_unprintable

__all__ = ["VARIABLE", "check_local", "network_file_system"]

VARIABLE = "ACTSEARCH_SQLITE_ON_NETWORK"
"""Environment variable; "1" opens a database on such a file system all the same."""

_NETWORK = frozenset(
    "afpfs afs beegfs ceph cifs coda davfs gfs gfs2 glusterfs gpfs ibrix lustre ncp ncpfs nfs nfs3 nfs4 ocfs2 orangefs "
    "panfs prl_fs pvfs2 smb smb2 smb3 smbfs vboxsf wekafs webdav".split()
)
_FUSE = frozenset(  # in user space, named "fuse.NAME" or NAME alone
    "beegfs blobfuse blobfuse2 ceph ceph-fuse cifs curlftpfs cvmfs2 davfs gcsfuse glusterfs gvfsd-fuse juicefs lustre "
    "mfs moosefs mount.glusterfs nfs quobyte rclone s3fs seaweedfs smbnetfs sshfs vmhgfs-fuse wekafs".split()
)


def network_file_system(path: Path) -> str | None:
    """Kind of the network file system that a file lies on, or would; None on a local one, and where that is not known.

    Args:
        path: absolute, without symbolic links.
    """
    try:
        mounts = psutil.disk_partitions(all=True)
    except (OSError, RuntimeError):
        return None
    found, longest = None, -1
    for mount in mounts:
        point = Path(mount.mountpoint)
        # the last of several at one place covers the others
        if len(point.parts) >= longest and path.is_relative_to(point):
            found, longest = mount, len(point.parts)
    if found is None or not _is_network(found.fstype.lower(), found.opts):
        return None
    return str(found.fstype)


def _is_network(kind: str, options: str) -> bool:
    if kind == "9p":  # also how some containers reach a disk of this machine, by a file descriptor
        return "trans=fd" not in options or "aname=drvfs" in options
    return kind in _NETWORK or kind in _FUSE or kind.removeprefix("fuse.") in _FUSE


def check_local(name: str) -> None:
    """Raise StorageError if a database file that is to be written lies on a network file system.

    Args:
        name: path of the file, which need not exist.
    """
    if os.environ.get(VARIABLE) == "1":
        return
    try:
        kind = network_file_system(Path(name).resolve())
    except (OSError, RuntimeError, ValueError):
        return  # opening it reports why
    if kind is not None:
        raise StorageError(
            f"{escape_unprintable(name)} is on a network file system ({kind}), where SQLite's locks do not hold, and "
            "a database is damaged without notice: store on PostgreSQL (postgresql+psycopg://USER@HOST/DATABASE) or on "
            "a disk of the machine that runs the study, which no worker has to reach; if one machine alone opens "
            f"it, {VARIABLE}=1 in the environment opens it here"
        )
