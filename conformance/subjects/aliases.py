#!/usr/bin/env python3
"""A file system whose names have aliases, for hosts whose own have none: it finds a name in any
case, in any Unicode normalisation, and by a short 8.3 name, and keeps it as it was first written.
The records about aliases say "not applicable" elsewhere; in a temporary folder on it they are played:

    aliases.py BACKING MOUNTPOINT        (until it is unmounted: fusermount -u MOUNTPOINT)
    TMPDIR=MOUNTPOINT cargo xtask attacks replay PT-014 --target naive

Wants root, and fusepy (as python3-fusepy of Debian, with its fuse package). It passes everything on to BACKING and keeps nothing
of its own; it must never reach outside BACKING.
"""

import errno
import os
import re
import sys
import unicodedata

try:
    import fusepy as fuse  # as Debian's package calls it
except ImportError:
    import fuse


def folded(name):
    """What all spellings of a name have in common."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def short(name):
    """The 8.3 alias of a name that is no 8.3 name itself, with the first number alone."""
    stem, dot, extension = name.rpartition(".")
    if not stem:
        stem, dot, extension = extension, "", ""
    if not name.startswith(".") and re.fullmatch(r"[A-Z0-9_$!#%&'()@^`{}~-]{1,8}", stem.upper()) and len(extension) <= 3:
        return None
    kept = re.sub(r"[^A-Z0-9_-]", "", stem.upper())[:6]
    return folded(kept + "~1" + dot + extension.upper()[:3])


class Aliases(fuse.Operations):
    def __init__(self, backing):
        self.backing = backing

    def place(self, path):
        """The place that a path of the mount names, each part by whichever of its aliases."""
        here = self.backing
        for part in path.split("/"):
            if part:
                here = os.path.join(here, self.entry(here, part))
        return here

    @staticmethod
    def entry(folder, part):
        if os.path.lexists(os.path.join(folder, part)):
            return part
        wanted = folded(part)
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            return part
        for alias in (folded, short):
            for name in names:
                if alias(name) == wanted:
                    return name
        return part

    # --- what is asked by path

    def getattr(self, path, fh=None):
        seen = os.lstat(self.place(path))
        return {name: getattr(seen, name) for name in dir(seen) if name.startswith("st_") and not name.endswith("_ns")}

    def readdir(self, path, fh):
        return [".", "..", *os.listdir(self.place(path))]

    def readlink(self, path):
        return os.readlink(self.place(path))

    def access(self, path, mode):
        if not os.path.lexists(self.place(path)):
            raise fuse.FuseOSError(errno.ENOENT)

    def statfs(self, path):
        seen = os.statvfs(self.backing)
        return {name: getattr(seen, name) for name in dir(seen) if name.startswith("f_") and name != "f_fsid"}

    # --- what changes names; what is new belongs to who asked for it

    def mine(self, place):
        uid, gid, _ = fuse.fuse_get_context()
        os.chown(place, uid, gid, follow_symlinks=False)

    def mkdir(self, path, mode):
        place = self.place(path)
        os.mkdir(place, mode)
        self.mine(place)

    def mknod(self, path, mode, dev):
        place = self.place(path)
        os.mknod(place, mode, dev)
        self.mine(place)

    def symlink(self, path, target):
        place = self.place(path)
        os.symlink(target, place)
        self.mine(place)

    def link(self, path, target):
        os.link(self.place(target), self.place(path), follow_symlinks=False)

    def rename(self, old, new):
        os.rename(self.place(old), self.place(new))

    def unlink(self, path):
        os.unlink(self.place(path))

    def rmdir(self, path):
        os.rmdir(self.place(path))

    def chmod(self, path, mode):
        os.chmod(self.place(path), mode)

    def chown(self, path, uid, gid):
        os.chown(self.place(path), uid, gid, follow_symlinks=False)

    def utimens(self, path, times=None):
        os.utime(self.place(path), times, follow_symlinks=False)

    def truncate(self, path, length, fh=None):
        os.truncate(self.place(path), length)

    # --- what is open

    def create(self, path, mode, fi=None):
        place = self.place(path)
        fd = os.open(place, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, mode)
        self.mine(place)
        return fd

    def open(self, path, flags):
        # Appending is the kernel's affair: it says where each part goes.
        return os.open(self.place(path), flags & ~os.O_APPEND | os.O_NOFOLLOW)

    def read(self, path, size, offset, fh):
        return os.pread(fh, size, offset)

    def write(self, path, data, offset, fh):
        return os.pwrite(fh, data, offset)

    def fsync(self, path, datasync, fh):
        os.fsync(fh)

    def release(self, path, fh):
        os.close(fh)


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: aliases.py BACKING MOUNTPOINT")
    backing, mountpoint = map(os.path.abspath, sys.argv[1:])
    os.umask(0)
    fuse.FUSE(
        Aliases(backing), mountpoint, foreground=True, nothreads=True, allow_other=True,
        default_permissions=True, use_ino=True, attr_timeout=0, entry_timeout=0, negative_timeout=0,
    )


if __name__ == "__main__":
    main()
