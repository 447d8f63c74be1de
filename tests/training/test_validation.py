import numpy as np
import pytest
import torch

from napari_unet_seg.data.phantom import make_phantom
from napari_unet_seg.engine.config import FitConfig, UNetConfig
from napari_unet_seg.engine.samples import LabelledVolume, SliceStore
from napari_unet_seg.engine.unet import UNet
from training.validation import Validation

SMALL = UNetConfig(features=(4, 8), convolutions=(1, 1))


def test_every_slice_counts_alike_in_the_loss_whatever_the_size_of_the_last_batch() -> None:
    volume, mask = make_phantom(slices=7, size=32)
    case = LabelledVolume(volume=volume, mask=mask, labelled=np.ones(7, bool))
    store = SliceStore([case], device=torch.device("cpu"))
    torch.manual_seed(0)
    network = UNet(SMALL).eval()

    def loss(batch_size: int) -> float:
        fit = FitConfig(loss="bce", batch_size=batch_size, precision="float32")
        return Validation(store=store, fit=fit, context=0, smooth=1.0)(network)["loss"]

    # In batches of six, the last one is a slice by itself.
    assert loss(6) == pytest.approx(loss(7), rel=1e-5)
