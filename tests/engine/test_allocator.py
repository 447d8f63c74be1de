import subprocess
import sys

import pytest

from napari_unet_seg.engine.allocator import keep_freed_memory

ASKED_AGAIN = """
import resource, sys
import numpy as np
from napari_unet_seg.engine.allocator import keep_freed_memory
assert not sys.argv[1:] or keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.full(1 << 24, 1.0)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults(), faults()
print(faults())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc alone can be told so")
def test_what_is_freed_comes_back_without_the_system() -> None:
    def pages(*options: str) -> int:
        return int(subprocess.run([sys.executable, "-c", ASKED_AGAIN, *options], check=True, stdout=-1).stdout)

    # 128 MiB, fetched page by page each time, unless what the last one freed was kept.
    assert pages("keep") < 100 < pages()


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
