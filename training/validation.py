"""How well a network does on slices it does not learn from, at the end of an epoch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from napari_unet_seg.engine.config import FitConfig
from napari_unet_seg.engine.fit import uses_bfloat16
from napari_unet_seg.engine.losses import make_loss
from napari_unet_seg.engine.normalise import CLIP
from napari_unet_seg.engine.prefetch import in_order
from napari_unet_seg.engine.slice_source import SliceSource
from training.seed_metrics import SeedMetrics


@dataclass(frozen=True, kw_only=True, eq=False)
class Validation:
    """Loss and the seeds' figures on every slice of a store: whole, unchanged, in batches of the training's size."""

    store: SliceSource
    fit: FitConfig
    context: int
    """Neighbouring slices on each side that the network sees."""

    smooth: float
    """See `training.seed_metrics`."""

    @torch.no_grad()
    def __call__(self, network: nn.Module) -> dict[str, float]:
        """``loss``, ``dice``, ``iou`` and ``accuracy`` of a network in evaluation mode on the store's device."""
        loss_function, metrics = make_loss(self.fit.loss), SeedMetrics(self.smooth)
        device, total = self.store.device, 0.0
        batches = in_order(self.store, self.store.labelled, size=self.fit.batch_size, context=self.context)
        for index, (image, mask, _) in batches:
            # Cut off as in training and prediction.
            image = image.flatten(1, 2).clamp_(-CLIP, CLIP).contiguous(memory_format=torch.channels_last)
            half_precision = uses_bfloat16(self.fit, device=device)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half_precision):
                logits = network(image)
            logits = logits.float()
            total += len(index) * float(loss_function(logits, mask, self.store.weights[index.to(device)]))
            metrics.update(mask, logits.sigmoid())
        return {"loss": total / len(self.store.labelled), **metrics.result()}
