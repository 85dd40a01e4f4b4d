"""SQLite on a network file system is recognised, and refused with what to do."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import actsearch as acs
from actsearch.storage.network import VARIABLE, network_file_system

# from manual pages and reports of users: nfs(5), mount.cifs(8), lustre.org, BeeGFS and IBM documentation, WSL
MOUNTS = r"""
/dev/nvme0n1p2 / ext4 rw,relatime,errors=remount-ro 0 0
proc /proc proc rw,nosuid,nodev,noexec,relatime 0 0
tmpfs /dev/shm tmpfs rw,nosuid,nodev,inode64 0 0
auto.home /home autofs rw,relatime,fd=7,pgrp=1234,timeout=300,minproto=5,maxproto=5,indirect,pipe_ino=31337 0 0
filer:/export/home/ann /home/ann nfs4 rw,relatime,vers=4.2,namlen=255,hard,proto=tcp,sec=sys,local_lock=none 0 0
/dev/nvme0n1p3 /home/ann/scratch xfs rw,relatime,attr2,inode64,noquota 0 0
filer:/vol/old /old nfs rw,relatime,vers=3,hard,nolock,proto=tcp,addr=10.0.0.2 0 0
//server/share /mnt/win\040share cifs rw,relatime,vers=3.1.1,cache=strict,username=ann,uid=1000,addr=10.0.0.3 0 0
10.0.0.1@o2ib:10.0.0.2@o2ib:/scratch /lustre/scratch lustre rw,flock,lazystatfs 0 0
gpfs0 /gpfs/work gpfs rw,relatime 0 0
beegfs_nodev /beegfs beegfs rw,relatime,cfgFile=/etc/beegfs/beegfs-client.conf,_netdev 0 0
10.1.1.1:6789:/ /ceph ceph rw,relatime,name=admin,secret=<hidden>,acl 0 0
ceph-fuse /cephf fuse.ceph-fuse rw,nosuid,nodev,relatime,user_id=0,group_id=0,allow_other 0 0
ann@login:/data /home/bob/remote fuse.sshfs rw,nosuid,nodev,relatime,user_id=1000,group_id=1000 0 0
gfs1:/vol /gluster fuse.glusterfs rw,relatime,user_id=0,group_id=0,default_permissions,allow_other,max_read=131072 0 0
C:\134 /mnt/c 9p rw,noatime,dirsync,aname=drvfs;path=C:\;uid=1000;gid=1000,mmap,msize=65536,trans=fd,rfd=8 0 0
hostshare /mnt/host 9p rw,sync,dirsync,relatime,access=client,trans=virtio 0 0
none /container 9p rw,trans=fd,rfdno=4,wfdno=4,aname=/,dfltuid=4294967294,dfltgid=4294967294 0 0
overlay /var/lib/docker/overlay2/abc/merged overlay rw,relatime,lowerdir=/l,upperdir=/u,workdir=/w 0 0
/dev/sdb1 /media/usb fuseblk rw,relatime,user_id=0,group_id=0,default_permissions,allow_other,blksize=4096 0 0
filer:/covered /local nfs4 rw,relatime,vers=4.2 0 0
/dev/sdc1 /local ext4 rw,relatime 0 0
tank/data /tank zfs rw,xattr,noacl 0 0
"""


@pytest.fixture
def mount_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table of mounts in the place of the kernel's; psutil reads it as it reads that."""
    (tmp_path / "proc" / "self").mkdir(parents=True)
    table = tmp_path / "proc" / "self" / "mounts"
    table.write_text(MOUNTS.lstrip())
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path / "proc"))
    return table


@pytest.mark.skipif(sys.platform != "linux", reason="the table of mounts is Linux's")
class TestWhatItIsOn:
    @pytest.mark.parametrize(
        ("path", "kind"),
        [
            ("/srv/a.db", None),
            ("/home/ann/a.db", "nfs4"),
            ("/home/ann/deep/er/a.db", "nfs4"),
            ("/home/ann/scratch/a.db", None),
            ("/home/annika/a.db", None),
            ("/old/a.db", "nfs"),
            ("/mnt/win share/a.db", "cifs"),
            ("/lustre/scratch/u/a.db", "lustre"),
            ("/gpfs/work/a.db", "gpfs"),
            ("/beegfs/a.db", "beegfs"),
            ("/ceph/a.db", "ceph"),
            ("/cephf/a.db", "fuse.ceph-fuse"),
            ("/home/bob/remote/a.db", "fuse.sshfs"),
            ("/home/bob/a.db", None),
            ("/gluster/a.db", "fuse.glusterfs"),
            ("/mnt/c/Users/ann/a.db", "9p"),
            ("/mnt/host/a.db", "9p"),
            ("/container/a.db", None),
            ("/var/lib/docker/overlay2/abc/merged/a.db", None),
            ("/media/usb/a.db", None),
            ("/local/a.db", None),
            ("/tank/a.db", None),
            ("/dev/shm/a.db", None),
        ],
    )
    def test_it_is_read_from_the_table_of_mounts(
        self, mount_table: Path, path: str, kind: str | None
    ) -> None:
        assert network_file_system(Path(path)) == kind

    def test_without_a_table_nothing_is_refused(self, mount_table: Path, sqlite_url: str) -> None:
        mount_table.unlink()
        assert network_file_system(Path("/home/ann/a.db")) is None
        acs.create_study(study_name="s", storage=sqlite_url, strategy="random")


@pytest.mark.skipif(sys.platform != "linux", reason="the table of mounts is Linux's")
class TestAStudyOnIt:
    @pytest.fixture
    def share(self, mount_table: Path, tmp_path: Path) -> Path:
        """A folder that the table calls a network file system."""
        (tmp_path / "share").mkdir()
        with mount_table.open("a") as table:
            print(f"filer:/x {tmp_path.resolve()}/share nfs4 rw,relatime 0 0", file=table)
        return tmp_path / "share"

    def test_writing_is_refused_with_what_to_do_and_nothing_is_made(self, share: Path) -> None:
        for place in ("a.db", "deep/er/a.db"):
            with pytest.raises(acs.StorageError, match=r"network file system \(nfs4\).*Postgre"):
                acs.create_study(
                    study_name="s", storage=f"sqlite:///{share}/{place}", strategy="random"
                )
        assert list(share.iterdir()) == []

    def test_so_it_is_through_a_symbolic_link(self, share: Path, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(share)
        with pytest.raises(acs.StorageError, match="on a disk of the machine"):
            acs.create_study(
                study_name="s", storage=f"sqlite:///{tmp_path}/link/a.db", strategy="random"
            )

    def test_who_insists_may_and_reading_is_never_refused(
        self, share: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        url = f"sqlite:///{share}/a.db"
        monkeypatch.setenv(VARIABLE, "1")
        acs.create_study(study_name="s", storage=url, strategy="random")
        monkeypatch.delenv(VARIABLE)
        with pytest.raises(acs.StorageError, match=f"{VARIABLE}=1"):
            acs.load_study(study_name="s", storage=url)
        assert [row.name for row in acs.report.Reader(url).studies()] == ["s"]


@pytest.fixture
def sshfs(tmp_path: Path) -> Iterator[Path]:
    """A folder that is really mounted over the network's protocol, from this machine."""
    server = Path("/usr/lib/openssh/sftp-server")
    if not shutil.which("sshfs") or not server.exists() or not os.access("/dev/fuse", os.W_OK):
        pytest.skip(
            "no network file system can be mounted here (Debian: sshfs, openssh-sftp-server)"
        )
    (tmp_path / "there").mkdir()
    (tmp_path / "here").mkdir()
    # its own connection through a program in the place of ssh
    command = [
        "sshfs",
        f"x:{tmp_path}/there",
        str(tmp_path / "here"),
        "-f",
        "-o",
        f"ssh_command={tmp_path}/ssh",
    ]
    (tmp_path / "ssh").write_text(f"#!/bin/sh\nexec {server}\n")
    (tmp_path / "ssh").chmod(0o755)
    process = subprocess.Popen(command)
    until = time.monotonic() + 10
    while not os.path.ismount(tmp_path / "here") and time.monotonic() < until:
        time.sleep(0.05)
    try:
        if not os.path.ismount(tmp_path / "here"):
            pytest.skip("no network file system can be mounted here")
        yield tmp_path / "here"
    finally:
        with contextlib.suppress(OSError):
            subprocess.run(["fusermount3", "-u", str(tmp_path / "here")], check=False)
        process.terminate()
        process.wait()


@pytest.mark.slow
def test_a_real_one_is_refused(sshfs: Path) -> None:
    with pytest.raises(acs.StorageError, match=r"network file system \(fuse.sshfs\)"):
        acs.create_study(study_name="s", storage=f"sqlite:///{sshfs}/a.db", strategy="random")
    assert list(sshfs.iterdir()) == []
