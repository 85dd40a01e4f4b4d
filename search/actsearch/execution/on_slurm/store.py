"""The data of a Task in a folder that machines share: written once, and mapped by each worker."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from actsearch.evaluation import Subject
from actsearch.execution.parcel import pack
from actsearch.execution.trainer import Equipment

__all__ = ["DataFolder", "Held"]


@dataclass(frozen=True)
class Held:
    """A subject in files.

    Attributes:
        digest: of the first, which is code.
        files: its parts.
    """

    digest: str
    files: tuple[str, ...]


class DataFolder:
    """Parts of subjects as files, named by what is in them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._subject: Subject | None = None
        self._held = Held("", ())

    def hold(self, subject: Subject) -> Held:
        """Write what is not there yet.

        Raises:
            OSError: there is no room.
            Exception: it cannot be sent, as pickling has it.
        """
        if self._subject is not subject:
            parts = [
                part.data for part in pack(Equipment(subject, subject.device_type), subject).parts
            ]
            digests = [hashlib.blake2b(part, digest_size=16).hexdigest() for part in parts]
            files = tuple(map(self._write, digests, parts))
            self._held, self._subject = Held(digests[0], files), subject
        return self._held

    def _write(self, digest: str, content: memoryview) -> str:
        path = self._folder / digest
        if not path.exists():
            hidden = path.with_name(f".{digest}")
            with hidden.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            hidden.rename(path)
        return str(path)

    def clean(self, used: Set[str]) -> None:
        """Remove what no worker has.

        Args:
            used: files that some have.
        """
        for path in self._folder.iterdir():
            if str(path) not in used | set(self._held.files) and not path.name.startswith("."):
                path.unlink(missing_ok=True)
