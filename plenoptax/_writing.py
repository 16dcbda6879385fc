"""The one writer of files."""

import contextlib
import errno
import os
import pathlib
import re
import socket
import stat
import uuid
from collections.abc import Iterator, Mapping


def cache_folder() -> pathlib.Path:
    """Return the folder for what can be downloaded or computed again.

    It is that of the environment variable ``PLENOPTAX_CACHE_DIR``, else that of the operating
    system.
    """
    import pooch

    return pathlib.Path(os.environ.get("PLENOPTAX_CACHE_DIR", pooch.os_cache("plenoptax")))


def write_atomically(files: Mapping[pathlib.Path, bytes]) -> None:
    """Write temporary files beside the targets and rename them when all are complete.

    A new file has the permissions that the umask gives, a replaced file keeps its own, and a
    symbolic link stays: the file to which it points is replaced. The names of temporary files
    hold the host and the process. Those of processes of this host that have ended are removed.

    Args:
        files: The content of each file, by path. Existing files are replaced.

    Raises:
        OSError: If a file cannot be written. It names the file.
    """
    targets = {path: _follow(path) for path in files}
    parts = {path: _temporary_beside(target) for path, target in targets.items()}
    try:
        for path, content in files.items():
            with _naming(path):
                _write_part(parts[path], content, targets[path])
        for path, part in parts.items():
            with _naming(path):
                os.replace(part, targets[path])
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
    for folder in {target.parent for target in targets.values()}:
        _remove_abandoned(folder)


def check_writable(path: pathlib.Path) -> None:
    """Try whether a file could be written, without writing it.

    Raises:
        OSError: If it could not. It names the file.
    """
    target = _follow(path)
    part = _temporary_beside(target)
    with _naming(path):
        if target.exists() and not target.is_file():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        try:
            part.open("xb").close()
        finally:
            part.unlink(missing_ok=True)


def _follow(path: pathlib.Path) -> pathlib.Path:
    """The file to which symbolic links lead; an OSError if the name or the folder is impossible."""
    with _naming(path):
        try:
            # Also refuses names that the file system does not take.
            path.lstat()
        except FileNotFoundError:
            if not path.parent.is_dir():
                text = f"The folder {path.parent} does not exist"
                raise FileNotFoundError(errno.ENOENT, text) from None
        except ValueError as error:
            raise OSError(errno.EINVAL, str(error)) from error
        return pathlib.Path(os.path.realpath(path, strict=False))


def _temporary_beside(target: pathlib.Path) -> pathlib.Path:
    # Its length does not depend on the target's name, which may be as long as names can be.
    return target.with_name(f"{_prefix()}{os.getpid()}-{uuid.uuid4().hex[:12]}")


def _prefix() -> str:
    host = re.sub(r"[^A-Za-z0-9]", "_", socket.gethostname())
    return f".plenoptax-{host[:40]}-"


def _write_part(part: pathlib.Path, content: bytes, target: pathlib.Path) -> None:
    with part.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    if target.exists():
        part.chmod(stat.S_IMODE(target.stat().st_mode))


def _remove_abandoned(folder: pathlib.Path) -> None:
    """Remove temporary files that processes of this host left behind when they were killed."""
    if os.name != "posix":
        # Elsewhere asking for a process can end it.
        return
    name = re.compile(rf"{re.escape(_prefix())}(\d+)-[0-9a-f]+")
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            match = name.fullmatch(entry.name)
            if match and not _is_alive(int(match[1])):
                os.unlink(entry.path)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        # Of another user, or not a number that processes have.
        return True
    return True


@contextlib.contextmanager
def _naming(path: pathlib.Path) -> Iterator[None]:
    """Raise errors of the operating system with the name of the file that the user knows."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
