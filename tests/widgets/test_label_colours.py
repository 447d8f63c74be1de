"""Every label of a mask can be told from its neighbours, in the mask and in the ground truth."""

import numpy as np
import pytest
from napari.utils.colormaps import DirectLabelColormap
from skimage.color import rgb2lab

from napari_unet_seg.widgets.label_colours import LAST_LABEL, ground_truth_colormap, segmentation_colormap

MAPS = [segmentation_colormap(), ground_truth_colormap()]


@pytest.mark.parametrize("colormap", MAPS)
def test_no_two_labels_have_one_colour(colormap: DirectLabelColormap) -> None:
    colours = colormap.map(np.arange(LAST_LABEL + 2))
    assert len({tuple(colour) for colour in colours}) == LAST_LABEL + 2
    assert colours[0, 3] == 0
    assert (colours[1:, 3] == 1).all()


@pytest.mark.parametrize("colormap", MAPS)
def test_the_first_dozen_are_told_apart_at_a_glance(colormap: DirectLabelColormap) -> None:
    lab = rgb2lab(colormap.map(np.arange(1, 13))[None, :, :3])[0]
    apart = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
    # Of two colours that differ by less than about 10 one has to look twice.
    assert apart[~np.eye(12, dtype=bool)].min() > 15
