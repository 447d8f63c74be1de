"""Prepared cases in files of some size, in a folder or wherever fsspec reaches: written once, read slice by slice."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from napari_unet_seg.data.formats.atomic import write_bytes
from napari_unet_seg.engine.config import Normalisation
from napari_unet_seg.engine.prepared_case import PreparedCase
from napari_unet_seg.engine.shard_index import AGAIN, FORMAT, ShardedCase, ShardIndex, decode, encode
from napari_unet_seg.errors import InputError

INDEX = "index.json"
SHARD_BYTES = 64 * 2**20


def write_shards(
    cases: Iterable[tuple[str, PreparedCase]],
    url: str | Path,
    *,
    normalisation: Normalisation,
    resize: tuple[int, int] | None,
    channel_names: Sequence[str],
    fingerprint: Callable[[], str],
    parts: Mapping[str, str] | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> ShardIndex:
    """Pack cases into ``shard-00000.bin`` … and ``index.json``; one case is held at a time.

    Parameters
    ----------
    cases : iterable of (str, PreparedCase)
        With their ids.
    url : str or Path
        A folder, or what fsspec takes for one. What was begun there and never finished is replaced.
    normalisation, resize, channel_names
        How the cases were prepared.
    fingerprint : callable
        Asked after the last case.
    parts : mapping of str to str, optional
        The part of a given split that each case belongs to.
    shard_bytes : int
        A shard that is as long is ended with its case.

    Raises
    ------
    InputError
        If it cannot be written; nothing is left there then. Or if there are shards already.
    """
    fs, root = filesystem(url)
    lengths: list[int] = []
    entries: list[ShardedCase] = []
    with _reaching(url, "written"):
        fs.makedirs(root, exist_ok=True)
        if fs.exists(f"{root}/{INDEX}"):
            raise InputError(f"{url}: there are shards already; choose another place, or delete them")
        _delete_shards(fs, root)
    handle: Any = None
    try:
        for case_id, case in cases:
            with _reaching(url, "written"):
                if handle is None or lengths[-1] >= shard_bytes:
                    if handle is not None:
                        handle.close()
                    handle = fs.open(shard_path(root, len(lengths)), "wb")
                    lengths.append(0)
                offset, checksums = lengths[-1], []
                for pixels, target in zip(case.pixels, case.target, strict=True):
                    content = pixels.tobytes() + target.tobytes()
                    handle.write(content)
                    checksums.append(zlib.crc32(content))
                    lengths[-1] += len(content)
            rows, columns = case.target.shape[1:]
            entries.append(
                ShardedCase(
                    case_id=case_id,
                    shard=len(lengths) - 1,
                    offset=offset,
                    size=(rows, columns),
                    dtype=str(case.pixels.dtype),
                    checksums=checksums,
                    table=case.table,
                )
            )
        index = ShardIndex(
            normalisation=normalisation,
            resize=resize,
            channel_names=tuple(channel_names),
            fingerprint=fingerprint(),
            parts=dict(parts or {}),
            shards=tuple(lengths),
            cases=tuple(entries),
        )
        with _reaching(url, "written"):
            if handle is not None:
                handle.close()
            _write_index(fs, f"{root}/{INDEX}", encode(index))
    except BaseException:
        with suppress(Exception):
            handle.close()
        with suppress(Exception):
            _delete_shards(fs, root)
        raise
    return index


def read_index(url: str | Path) -> ShardIndex:
    """What lies in a folder of shards.

    Raises
    ------
    InputError
        If it cannot be reached, has no index, or is damaged.
    """
    fs, root = filesystem(url)
    with _reaching(url, "read"):
        content = fs.cat_file(f"{root}/{INDEX}") if fs.exists(f"{root}/{INDEX}") else None
        sizes = {Path(one["name"]).name: one["size"] for one in fs.ls(root, detail=True)} if fs.exists(root) else {}
    if content is None:
        if shard_name(0) in sizes:
            raise InputError(f"{url}: the packing was never finished; {AGAIN}")
        raise InputError(f"{url}: there are no packed cases; pack some there with python -m training.pack")
    try:
        index = decode(json.loads(content))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"{url}: its index.json is damaged, or of another version; {AGAIN}") from error
    for number, length in enumerate(index.shards):
        if sizes.get(shard_name(number)) != length:
            raise InputError(f"{url}: {shard_name(number)} is missing or has another length; {AGAIN}")
    return index


def holds_shards(url: str | Path) -> bool:
    """Whether something is to be read as shards: it has one or an ``index.json`` of ours, or is no local folder.

    Raises
    ------
    InputError
        If it cannot be reached.
    """
    fs, root = filesystem(url)
    if not isinstance(fs, LocalFileSystem):
        return True
    if (Path(root) / shard_name(0)).is_file():
        return True
    file = Path(root) / INDEX
    if not file.is_file():
        return False
    with _reaching(url, "read"), file.open("rb") as opened:
        return FORMAT.partition("/")[0].encode() in opened.read(200)


def filesystem(url: str | Path) -> tuple[Any, str]:
    """The file system of a URL, and the path in it.

    Raises
    ------
    InputError
        If the package for its protocol is missing, or there is no such protocol.
    """
    with _reaching(url, "reached"):
        fs, root = fsspec.url_to_fs(str(url))
    return fs, str(root).rstrip("/")


def shard_name(number: int) -> str:
    """File name of a shard."""
    return f"shard-{number:05d}.bin"


def shard_path(root: str, number: int) -> str:
    """Path of a shard in its file system."""
    return f"{root}/{shard_name(number)}"


@contextmanager
def _reaching(url: str | Path, what: str) -> Iterator[None]:
    """Turn whatever a file system raises into one line: those of other packages have exceptions of their own."""
    try:
        yield
    except InputError:
        raise
    except ImportError as error:
        raise InputError(f"{url}: a package for this protocol is missing: {error}") from error
    except Exception as error:
        said = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InputError(f"{url}: cannot be {what} ({said})") from error


def _write_index(fs: Any, path: str, content: bytes) -> None:
    if isinstance(fs, LocalFileSystem):
        write_bytes(Path(path), content)
    else:
        # Object stores show a file when it is whole.
        fs.pipe_file(path, content)


def _delete_shards(fs: Any, root: str) -> None:
    for path in fs.glob(f"{root}/shard-*.bin"):
        fs.rm_file(path)
