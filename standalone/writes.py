"""Files that cannot be written, because the disk is full or fails: said once on the terminal, and gone on without."""

import contextlib
import errno
import sys
from collections.abc import Callable, Iterator

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}


def _print(line: str) -> None:
    with contextlib.suppress(OSError):  # the terminal may be a file on the same disk
        print(line, file=sys.stderr, flush=True)


class Writes:
    """What could not be written so far. Shared by all parts of a supervisor."""

    def __init__(self, say: Callable[[str], None] = _print) -> None:
        self._say = say
        self._failing: set[str] = set()

    @contextlib.contextmanager
    def may_fail(self, what: str) -> Iterator[None]:
        """Within it, a write to `what` that the disk refuses is given up; the caller tries again when it likes."""
        try:
            yield
        except OSError as error:
            if error.errno not in _DISK:
                raise
            if not self._failing:
                self._say(f"Cannot write {what}: {error.strerror}. Everything goes on as far as it can without.")
            self._failing.add(what)
        else:
            self._failing.discard(what)
