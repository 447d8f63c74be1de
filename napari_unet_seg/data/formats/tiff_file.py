"""Opening a TIFF: whatever is wrong with the file becomes one InputError, and nothing is printed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tifffile

from napari_unet_seg.errors import InputError, reading

_log = logging.getLogger(__name__)

# tifffile reports damage to this logger, and goes on; what matters of it becomes an InputError here.
_logger = logging.getLogger("tifffile")
_logger.addHandler(logging.NullHandler())

DAMAGED = "this TIFF is damaged or cut short; copy or export it again"


class _ErrorCollector(logging.Handler):
    """Keeps the errors that one thread logs."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.thread = threading.get_ident()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self.thread:
            self.messages.append(record.getMessage())


@contextmanager
def opened(path: Path) -> Iterator[tifffile.TiffFile]:
    """An open TIFF; whatever goes wrong in it is an InputError."""
    collector = _ErrorCollector()
    _logger.addHandler(collector)
    try:
        with reading(path), tifffile.TiffFile(path) as tif:
            len(tif.pages)  # walks the whole file once, which shows where it breaks off
            yield tif
        if collector.messages:
            raise InputError(DAMAGED, path=path)
    except InputError:
        if collector.messages:
            raise InputError(DAMAGED, path=path) from None
        raise
    except Exception as error:
        # Damage shows as any of a dozen types: struct.error, KeyError, zlib.error, those of imagecodecs...
        if isinstance(error, ValueError) and "imagecodecs" in str(error):
            raise InputError("its compression needs a package: pip install imagecodecs", path=path) from error
        if isinstance(error, tifffile.TiffFileError) and "not a TIFF" in str(error):
            empty = path.stat().st_size == 0
            raise InputError("the file is empty" if empty else "this is not a TIFF file", path=path) from error
        # Or as a fault of ours, which would not be seen otherwise.
        _log.debug("%s cannot be read", path, exc_info=True)
        raise InputError(DAMAGED, path=path) from error
    finally:
        _logger.removeHandler(collector)


def whole_series(tif: tifffile.TiffFile, path: Path) -> tifffile.TiffPageSeries:
    """The one image of the file, checked to be all there (tifffile fills what is missing with zeros)."""
    if not tif.series:
        raise InputError(DAMAGED, path=path)
    if len(tif.series) > 1:
        raise InputError(
            f"holds {len(tif.series)} images of different sizes or types; save the one to segment by itself", path=path
        )
    series = tif.series[0]
    size = tif.filehandle.size
    if series.dataoffset is not None:
        whole = series.dataoffset + series.nbytes <= size
    else:
        whole = all(
            page is not None
            and all(at + count <= size for at, count in zip(page.dataoffsets, page.databytecounts, strict=False))
            for page in series.pages
        )
    if not whole:
        raise InputError(DAMAGED, path=path)
    if 0 in series.shape:
        raise InputError(f"the image has no pixels, its shape is {series.shape}", path=path)
    return series
