"""``python -m napari_unet_seg``: the same as the command ``napari-unet-seg``."""

import sys

from napari_unet_seg.cli import main

sys.exit(main())
