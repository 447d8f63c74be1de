import os
import platform
import subprocess
import sys

import pytest

from napari_unet_seg.engine.allocator import keep_freed_memory

ASKED_AGAIN = """
import resource, sys
import numpy as np
from napari_unet_seg.engine.allocator import give_back_freed_memory, keep_freed_memory
assert not sys.argv[1:] or keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.full(1 << 24, 1.0)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults(), faults()
if sys.argv[2:]:
    give_back_freed_memory()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="no other can be told so")
def test_what_is_freed_comes_back_without_the_system() -> None:
    def pages(*options: str) -> int:
        # Pages of the usual size: large ones are few either way.
        environment = os.environ | {"NUMPY_MADVISE_HUGEPAGE": "0"}
        command = [sys.executable, "-c", ASKED_AGAIN, *options]
        return int(subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout)

    # 128 MiB, fetched page by page each time, unless what the last one freed was kept.
    assert pages("keep") < 1000 < pages()
    # And again once it was given back.
    assert pages("keep", "give back") > 1000


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
