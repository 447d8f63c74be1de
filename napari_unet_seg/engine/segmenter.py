"""From a scan to probabilities, on whatever the machine has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from operator import index
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_unet_seg.data.volume import Mask, Volume
from napari_unet_seg.engine.bfloat16 import in_bfloat16
from napari_unet_seg.engine.borderline import borderline_slices
from napari_unet_seg.engine.checkpoint import Description, load_checkpoint
from napari_unet_seg.engine.device import choose_device, out_of_memory
from napari_unet_seg.engine.fold import fold_batch_norm
from napari_unet_seg.engine.network import Network
from napari_unet_seg.engine.onednn import pack_convolutions
from napari_unet_seg.engine.postprocess import check_threshold, mask_from_probability
from napari_unet_seg.engine.prepared_scan import PreparedScan, glance, prepare_scan
from napari_unet_seg.engine.registry import Registry
from napari_unet_seg.engine.side_by_side import side_by_side
from napari_unet_seg.engine.unet import to_channels_last
from napari_unet_seg.errors import InputError, SegmentationError

_BATCH_PIXELS = {"cpu": 256 * 256, "mps": 16 * 256 * 256, "cuda": 128 * 256 * 256}
"""Pixels of a batch; fixed for a kind of device, so that one input always gives one result. On a processor a slice of
the LGG data's size: its features stay in the caches."""

_PIXELS_SIDE_BY_SIDE = 8 * 256 * 256
"""Pixels that a processor's threads work on at a time, however many cores there are: it bounds the memory."""

_AGAIN = 8
_SHARE_AGAIN = 0.25
"""As many slices, or this share of them, are computed once more in float32, not more: where pieces hang on undecided
pixels all over a scan, they do so in any number format. None of the LGG scans has more than five, or 15%."""


class Stopped(Exception):
    """The caller asked for the end; nothing was predicted."""


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
    precision : torch.dtype, optional
        Number format of the network's arithmetic; by default what the device is fastest in.
    """

    def __init__(
        self,
        network: Network,
        description: Description,
        *,
        device: str = "auto",
        precision: torch.dtype | None = None,
    ) -> None:
        choice = choose_device(device)
        self.description = description
        self.device = choice.device
        self.device_note = choice.note
        """Which device and precision, and why; it also says when memory forced a change."""
        self._precision = precision or choice.precision
        self._plain = network
        self._place()
        # Weak: it holds views of the pixels, which are to go with their volume.
        self._prepared: WeakKeyDictionary[Volume, tuple[int, PreparedScan]] = WeakKeyDictionary()

    def _place(self) -> None:
        self._network_in_float32: Network | None = None
        network = self._placed(self._precision)
        if network is None:
            self._move_to_cpu("the network")
        else:
            self._network = network

    def _placed(self, precision: torch.dtype) -> Network | None:
        """The network ready to predict; None where the device, which others may use too, has no room for it."""
        try:
            return self._made_ready(precision)
        except RuntimeError as error:
            if self.device.type == "cpu" or not out_of_memory(error):
                raise
            return None

    def _made_ready(self, precision: torch.dtype) -> Network:
        network = fold_batch_norm(self._plain).requires_grad_(False)
        if precision == torch.bfloat16:
            network = in_bfloat16(network, on_processor=self.device.type == "cpu")
        else:
            network = network.to(dtype=precision)
        network = to_channels_last(network.to(self.device))
        return pack_convolutions(network) if self.device.type == "cpu" else network

    def use(self, network: Network) -> None:
        """Predict with other weights from now on; what was worked out for volumes seen before is kept.

        Parameters
        ----------
        network : Network
            In evaluation mode, with the inputs and classes of the one before.
        """
        self._plain = network
        self._place()

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
            Its channels are brought into the model's order by name; see `arrange_channels`. What any slice needs is
            worked out when a volume is first seen: one whose pixels are changed is better made anew, see `glance`.
        slices : sequence of int, optional
            Predict these alone; the others come back as 0.
        progress : callable, optional
            Called with (slices done, slices in all) after each batch.
        should_stop : callable, optional
            Asked before each batch.

        Returns
        -------
        ndarray
            ``(Z, Y, X)`` float32 in 0..1; several classes: ``(K, Z, Y, X)``, each apart from the others. Of a whole
            scan in fewer digits than float32, the slices that decide over whole pieces of the mask are computed once
            more in float32, if they are few; see `borderline_slices`.

        Raises
        ------
        InputError
            If the volume cannot be used: NaN, constant, too small, wrong channels.
        Stopped
            If `should_stop` returned True.
        SegmentationError
            If the computation failed, for want of memory say.
        """
        _check_is_volume(volume)
        prepared = self._prepare(volume)
        depth, height, width = volume.shape
        try:
            wanted = list(range(depth)) if slices is None else [index(z) for z in slices]
        except TypeError:
            raise InputError(f"slices must be a list of whole numbers, got {slices!r}", path=volume.source) from None
        if any(not 0 <= z < depth for z in wanted):
            raise InputError(f"slices must lie in 0..{depth - 1}, got {wanted}", path=volume.source)
        described = self.description
        classes = described.network.classes
        result = np.zeros((classes, depth, height, width), dtype=np.float32)
        self._predict_into(result, prepared, wanted, progress=progress, should_stop=should_stop)
        if classes == 1 and self._precision != torch.float32 and len(set(wanted)) == depth:
            borderline = borderline_slices(
                result[0],
                threshold=described.threshold,
                largest_component=described.largest_component,
                min_fraction=described.min_fraction,
            )
            if len(borderline) <= max(_AGAIN, _SHARE_AGAIN * depth):
                self._predict_into(result, prepared, borderline, should_stop=should_stop, in_float32=True)
        return result[0] if classes == 1 else result

    def _predict_into(
        self,
        result: NDArray[np.float32],
        prepared: PreparedScan,
        wanted: Sequence[int],
        *,
        progress: Callable[[int, int], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
        in_float32: bool = False,
    ) -> None:
        """Put the probabilities of some slices into ``(K, Z, Y, X)``."""
        if not wanted:
            return
        # The network first: to place it may move the work to another device.
        network, precision = self._arithmetic(in_float32=in_float32)
        batch, workers = self._at_a_time(prepared.size)
        done = 0
        while done < len(wanted):
            parts = [wanted[start : start + batch] for start in range(done, len(wanted), batch)]
            workers = min(workers, len(parts))
            predict = partial(self._predict_batch, prepared, network, precision)
            with closing(side_by_side(predict, parts, workers=workers)) as results:
                for part in parts:
                    if should_stop is not None and should_stop():
                        raise Stopped
                    try:
                        probability = next(results)
                    except (RuntimeError, MemoryError) as error:
                        if not out_of_memory(error):
                            raise SegmentationError(f"the network failed on {self.device}: {error}") from error
                        failed = part
                        break
                    result[:, part, prepared.rows, prepared.columns] = probability
                    done += len(part)
                    if progress is not None:
                        progress(done, len(wanted))
            if done < len(wanted):
                # The threads are gone, and what they held.
                batch, workers = (batch, workers // 2) if workers > 1 else (self._smaller(batch, failed), 1)
                network, precision = self._arithmetic(in_float32=in_float32)

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

        Raises
        ------
        InputError
            If the threshold is no number between 0 and 1, or this is no probability map.
        """
        if threshold is not None:
            check_threshold(threshold)
        _check_is_map(probability)
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
        self._move_to_cpu("one slice")
        return 1

    def _move_to_cpu(self, what: str) -> None:
        """Go on with another memory: the device's was not enough for something."""
        previous = self.device_note
        choice = choose_device("cpu")
        self.device, self._precision = choice.device, choice.precision
        self.device_note = f"{choice.note} (moved here: the memory of {previous} was not enough for {what})"
        self._place()

    def _prepare(self, volume: Volume) -> PreparedScan:
        seen = glance(volume.data)
        known = self._prepared.get(volume)
        if known is not None and known[0] == seen:
            return known[1]
        prepared = prepare_scan(volume, self.description)
        self._prepared[volume] = seen, prepared
        return prepared

    def _at_a_time(self, size: tuple[int, int]) -> tuple[int, int]:
        """Slices of a batch, and how many batches side by side."""
        pixels = size[0] * size[1]
        batch = max(1, _BATCH_PIXELS[self.device.type] // pixels)
        if self.device.type != "cpu":
            return batch, 1
        return batch, max(1, min(torch.get_num_threads(), _PIXELS_SIDE_BY_SIDE // (batch * pixels)))

    def _arithmetic(self, *, in_float32: bool) -> tuple[Network, torch.dtype]:
        if not in_float32 or self._precision == torch.float32:
            return self._network, self._precision
        if self._network_in_float32 is None:
            self._network_in_float32 = self._placed(torch.float32)
        if self._network_in_float32 is None:
            self._move_to_cpu("the network in float32")
            return self._arithmetic(in_float32=in_float32)
        return self._network_in_float32, torch.float32

    @torch.inference_mode()
    def _predict_batch(
        self, prepared: PreparedScan, network: Network, precision: torch.dtype, part: Sequence[int]
    ) -> NDArray[np.float32]:
        """Probabilities ``(K, B, rows, columns)`` of some slices, in the cut-out."""

        def probability_of(stacked: Tensor) -> Tensor:
            # Each class for itself, as the losses have it: none of them is the background.
            logits: Tensor = network(stacked).float()
            return logits.sigmoid()

        stacked = prepared.stack(part, device=self.device, precision=precision)
        probability = probability_of(stacked)
        if self.description.flip:
            probability = (probability + probability_of(stacked.flip(-1)).flip(-1)) / 2
        return prepared.restore(probability).swapaxes(0, 1).cpu().numpy()


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
    registry = Registry()
    path = registry.path(str(name_or_path))
    network, description = load_checkpoint(path)
    if path.parent in (registry.folder, registry.shipped_folder):
        # A copy has the name of what it was copied from in its header.
        description = replace(description, name=path.stem)
    return Segmenter(network, description, device=device)


def _check_is_volume(given: object) -> None:
    if not isinstance(given, Volume):
        made = "read_image of a case gives one, and Volume(data=…, channel_names=…) makes one of an array"
        raise InputError(f"a Volume is predicted, and this is a {type(given).__name__}; {made}")


def _check_is_map(given: object) -> None:
    if not isinstance(given, np.ndarray) or given.ndim not in (3, 4):
        shape = f"an array of shape {given.shape}" if isinstance(given, np.ndarray) else f"a {type(given).__name__}"
        raise InputError(f"a mask is made of what predict returns, axes (Z, Y, X), and this is {shape}")
