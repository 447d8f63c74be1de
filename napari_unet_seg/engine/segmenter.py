"""From a scan to probabilities, on whatever the machine has."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from napari_unet_seg.data.checks import check_usable
from napari_unet_seg.data.roles import arrange_channels
from napari_unet_seg.data.volume import Mask, Volume
from napari_unet_seg.engine.checkpoint import Description, load_checkpoint
from napari_unet_seg.engine.device import choose_device
from napari_unet_seg.engine.network import Network
from napari_unet_seg.engine.normalise import CLIP, statistics_for
from napari_unet_seg.engine.postprocess import mask_from_probability
from napari_unet_seg.engine.registry import Registry
from napari_unet_seg.engine.unet import UNet, to_channels_last
from napari_unet_seg.engine.working_grid import working_factor
from napari_unet_seg.errors import InputError

_BATCH_PIXELS = {"cpu": 8 * 256 * 256, "mps": 16 * 256 * 256, "cuda": 128 * 256 * 256}
"""Pixels of a batch; fixed for a kind of device, so that one input always gives one result."""


class SegmentationError(Exception):
    """The prediction failed for a reason that is not the input's; the message says which."""


class Stopped(Exception):
    """The caller asked for the end; nothing was predicted."""


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    """What predicting any slice of a volume needs, worked out once."""

    volume: Volume
    statistics: NDArray[np.float32]
    rows: slice
    columns: slice
    size: tuple[int, int]
    """Height and width at which the network sees the cut-out."""


def fold_batch_norm(network: Network) -> Network:
    """A copy whose batch normalisations are part of the convolutions in front of them.

    Behind a ReLU (order "conv-act-norm") they stay: there the fold is not exact at the borders. So they do in other
    libraries' networks.
    """
    folded = copy.deepcopy(network).eval()
    if not isinstance(folded, UNet) or folded.config.order != "conv-norm-act":
        return folded
    for blocks in (folded.encoder, folded.decoder):
        for position, block in enumerate(blocks):
            assert isinstance(block, nn.Sequential)
            layers: list[nn.Module] = []
            for layer in block:
                if isinstance(layer, nn.BatchNorm2d) and isinstance(layers[-1], nn.Conv2d):
                    layers[-1] = fuse_conv_bn_eval(layers[-1], layer)
                else:
                    layers.append(layer)
            blocks[position] = nn.Sequential(*layers)
    return folded


def head_box(volume: Volume, *, margin: int = 16) -> tuple[slice, slice]:
    """Rows and columns that hold the head, with a margin; everything where the head cannot be told from the air.

    Parameters
    ----------
    volume : Volume
        ``(C, Z, Y, X)``; at most 24 slices of it, evenly spread, are looked at.
    margin : int
        Pixels left around it.
    """
    depth, height, width = volume.shape
    chosen = np.unique(np.linspace(0, depth - 1, min(depth, 24)).round().astype(int))
    brightest = np.zeros((height, width), dtype=bool)
    for channel in volume.data:
        projection = channel[chosen].max(axis=0).astype(np.float32)
        low, high = np.percentile(projection, (1.0, 99.0)).astype(np.float32)
        if high > low:
            brightest |= projection > low + np.float32(0.08) * (high - low)
    # A few noisy pixels don't make a row part of the head.
    rows = np.flatnonzero(brightest.mean(axis=1) > 0.02)
    columns = np.flatnonzero(brightest.mean(axis=0) > 0.02)
    if not len(rows) or not len(columns):
        return slice(0, height), slice(0, width)
    return (
        slice(max(0, int(rows[0]) - margin), min(height, int(rows[-1]) + 1 + margin)),
        slice(max(0, int(columns[0]) - margin), min(width, int(columns[-1]) + 1 + margin)),
    )


def out_of_memory(error: RuntimeError) -> bool:
    """Whether an error of torch means that memory ran out, on a GPU or on the CPU."""
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in text or "can't allocate memory" in text


class Segmenter:
    """A network ready to predict: device and precision chosen, batch normalisation folded.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    description : Description
        What the checkpoint says of it.
    device : str
        "auto", "cpu", "mps", "cuda" or "cuda:N".
    """

    def __init__(self, network: Network, description: Description, *, device: str = "auto") -> None:
        choice = choose_device(device)
        self.description = description
        self.device = choice.device
        self.device_note = choice.note
        """Which device and precision, and why; it also says when memory forced a change."""
        self._precision = choice.precision
        self._plain = network
        self._network = self._placed()
        self._prepared: tuple[weakref.ref[Volume], _Prepared] | None = None

    def _placed(self) -> Network:
        network = fold_batch_norm(self._plain).requires_grad_(False)
        return to_channels_last(network.to(self.device, dtype=self._precision))

    def use(self, network: Network) -> None:
        """Predict with other weights from now on; what was worked out for the last volume is kept.

        Parameters
        ----------
        network : Network
            In evaluation mode, with the inputs and classes of the one before.
        """
        self._plain = network
        self._network = self._placed()

    def predict(
        self,
        volume: Volume,
        *,
        slices: Sequence[int] | None = None,
        progress: Callable[[int, int], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> NDArray[np.float32]:
        """Probability of each voxel to belong to the foreground.

        Parameters
        ----------
        volume : Volume
            Its channels are brought into the model's order by name; see `arrange_channels`.
        slices : sequence of int, optional
            Predict these alone; the others come back as 0.
        progress : callable, optional
            Called with (slices done, slices in all) after each batch.
        should_stop : callable, optional
            Asked before each batch.

        Returns
        -------
        ndarray
            ``(Z, Y, X)`` float32 in 0..1; several classes: ``(K, Z, Y, X)``.

        Raises
        ------
        InputError
            If the volume cannot be used: NaN, constant, too small, wrong channels.
        Stopped
            If `should_stop` returned True.
        SegmentationError
            If the computation failed, for want of memory say.
        """
        prepared = self._prepare(volume)
        depth, height, width = volume.shape
        wanted = list(range(depth)) if slices is None else [int(z) for z in slices]
        if any(not 0 <= z < depth for z in wanted):
            raise InputError(f"slices must lie in 0..{depth - 1}, got {wanted}", path=volume.source)
        classes = self.description.network.classes
        result = np.zeros((classes, depth, height, width), dtype=np.float32)
        batch = max(1, _BATCH_PIXELS[self.device.type] // (prepared.size[0] * prepared.size[1]))
        done = 0
        while done < len(wanted):
            if should_stop is not None and should_stop():
                raise Stopped
            part = wanted[done : done + batch]
            try:
                probability = self._predict_batch(prepared, part)
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise SegmentationError(f"the network failed on {self.device}: {error}") from error
                batch = self._smaller(batch, part)
                continue
            result[:, part, prepared.rows, prepared.columns] = probability
            done += len(part)
            if progress is not None:
                progress(done, len(wanted))
        return result[0] if classes == 1 else result

    def mask(
        self,
        probability: NDArray[np.float32],
        *,
        threshold: float | None = None,
        largest_component: bool | None = None,
    ) -> Mask:
        """The mask of a probability map.

        Parameters
        ----------
        probability : ndarray
            What `predict` returned.
        threshold : float, optional
            By default the model's own.
        largest_component : bool, optional
            Keep the largest connected piece alone; by default as the model's description says.

        Returns
        -------
        ndarray
            ``(Z, Y, X)`` uint8.
        """
        described = self.description
        return mask_from_probability(
            probability,
            threshold=described.threshold if threshold is None else threshold,
            largest_component=described.largest_component if largest_component is None else largest_component,
            min_fraction=described.min_fraction,
        )

    def _smaller(self, batch: int, part: Sequence[int]) -> int:
        """The batch to try next after memory ran out: half of it, in the end on the CPU."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if len(part) > 1:
            return max(1, min(batch, len(part)) // 2)
        if self.device.type == "cpu":
            raise SegmentationError("there is not enough memory for a single slice; close other programs and try again")
        previous = self.device_note
        choice = choose_device("cpu")
        self.device, self._precision = choice.device, choice.precision
        self.device_note = f"{choice.note} (moved here: the memory of {previous} was not enough for one slice)"
        self._network = self._placed()
        return 1

    def _prepare(self, volume: Volume) -> _Prepared:
        if self._prepared is not None and self._prepared[0]() is volume:
            return self._prepared[1]
        check_usable(volume)
        arranged, _ = arrange_channels(volume, self.description.channel_names)
        rows, columns, size = self._seen(arranged)
        prepared = _Prepared(
            volume=arranged,
            statistics=statistics_for(arranged.data, self.description.normalisation),
            rows=rows,
            columns=columns,
            size=size,
        )
        self._prepared = (weakref.ref(volume), prepared)
        return prepared

    def _seen(self, volume: Volume) -> tuple[slice, slice, tuple[int, int]]:
        """Rows and columns that the network sees, and the height and width it sees them at."""
        _, height, width = volume.shape
        if self.description.resize is not None:
            return slice(0, height), slice(0, width), self.description.resize
        rows, columns = head_box(volume)
        height, width = rows.stop - rows.start, columns.stop - columns.start
        factors = [working_factor(volume, axis) for axis in (1, 2)]
        return rows, columns, (max(8, round(height * factors[0])), max(8, round(width * factors[1])))

    def _probability(self, stacked: Tensor) -> Tensor:
        logits: Tensor = self._network(stacked).float()
        return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)

    @torch.inference_mode()
    def _predict_batch(self, prepared: _Prepared, part: Sequence[int]) -> NDArray[np.float32]:
        """Probabilities ``(K, B, rows, columns)`` of some slices, in the cut-out."""
        depth = prepared.volume.shape[0]
        context = self.description.network.context
        needed = sorted({min(max(z + offset, 0), depth - 1) for z in part for offset in range(-context, context + 1)})
        place = {z: position for position, z in enumerate(needed)}
        pixels = prepared.volume.data[:, needed, prepared.rows, prepared.columns]
        if pixels.dtype not in (np.uint8, np.float32):
            pixels = pixels.astype(np.float32)
        image = torch.from_numpy(np.ascontiguousarray(pixels)).to(self.device).float()
        statistics = torch.from_numpy(prepared.statistics).to(self.device)[:, :, None, None, None]
        image = ((image - statistics[:, 0]) / statistics[:, 1]).clamp_(-CLIP, CLIP).swapaxes(0, 1)
        original = image.shape[-2:]
        if prepared.size != tuple(original):
            image = functional.interpolate(image, size=prepared.size, mode="bilinear", antialias=True)
        neighbours = torch.tensor(
            [[place[min(max(z + offset, 0), depth - 1)] for offset in range(-context, context + 1)] for z in part],
            device=self.device,
        )
        stacked = image[neighbours].flatten(1, 2)
        stacked = stacked.to(dtype=self._precision).contiguous(memory_format=torch.channels_last)
        probability = self._probability(stacked)
        if self.description.flip:
            probability = (probability + self._probability(stacked.flip(-1)).flip(-1)) / 2
        if prepared.size != tuple(original):
            probability = functional.interpolate(probability, size=tuple(original), mode="bilinear")
        return probability.swapaxes(0, 1).cpu().numpy()


def load_model(name_or_path: str | Path = "default", *, device: str = "auto") -> Segmenter:
    """A model by its name in the registry, or from a checkpoint file.

    Parameters
    ----------
    name_or_path : str or Path
        A name that `Registry.list` shows, or a ``.safetensors`` file.
    device : str
        "auto", "cpu", "mps", "cuda" or "cuda:N".

    Raises
    ------
    InputError
        If there is no such model, it is no checkpoint, or the device is not there.
    """
    path = Registry().path(str(name_or_path))
    network, description = load_checkpoint(path)
    return Segmenter(network, description, device=device)
