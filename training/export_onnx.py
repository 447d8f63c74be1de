"""A checkpoint's network as ONNX: ``python -m training.export_onnx MODEL OUT.onnx [--check DATA] [--threads N]``.

MODEL is a name that ``models list`` shows, or a ``.safetensors`` file. What comes out takes normalised slices
``(batch, channels, height, width)``, float32, of any number and size, and gives probabilities
``(batch, classes, height, width)``. Its metadata hold the checkpoint's description as JSON under ``napari_unet_seg``:
channel names, normalisation, neighbouring slices, threshold and all the rest.

``--check`` predicts every case of a dataset with PyTorch and with ONNX Runtime, everything around the network being
the same, and compares the masks; the exit status is 1 where they differ in more than one pixel of a thousand, and 2
where a case cannot be read, which is named and left out.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from napari_unet_seg.data.case import Case
from napari_unet_seg.data.dataset import Dataset
from napari_unet_seg.data.formats.atomic import write_bytes
from napari_unet_seg.engine.checkpoint import Description, load_checkpoint
from napari_unet_seg.engine.config import UNetConfig
from napari_unet_seg.engine.network import Network
from napari_unet_seg.engine.normalise import CLIP
from napari_unet_seg.engine.registry import Registry
from napari_unet_seg.engine.segmenter import Segmenter
from napari_unet_seg.errors import InputError
from napari_unet_seg.wording import counted
from training.agreement import EQUAL, Agreement, agreement, case_by_case
from training.command_line import command, command_parser, positive_int
from training.whole_dataset import open_whole

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

METADATA_KEY = "napari_unet_seg"
SLICES, PROBABILITIES = "slices", "probabilities"


class Probabilities(nn.Module):
    """Slices of any size to probabilities, padded without a look at the size: a graph has no branches.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, slices: Tensor) -> Tensor:
        """``(B, input_channels, Y, X)`` normalised to ``(B, classes, Y, X)`` in 0..1."""
        height, width = slices.shape[-2:]
        multiple = self.network.config.multiple
        # As a multiple of a whole number: then the sizes of all levels follow from each other.
        sizes = [(size + multiple - 1) // multiple * multiple for size in (height, width)]
        # The last row and column again and again, which is what `Network.forward` pads with.
        rows = torch.arange(sizes[0], device=slices.device).clamp(max=height - 1)
        columns = torch.arange(sizes[1], device=slices.device).clamp(max=width - 1)
        padded_slices = slices.index_select(2, rows).index_select(3, columns)
        logits: Tensor = self.network.logits(padded_slices)
        return logits[:, :, :height, :width].sigmoid()


class OnnxNetwork(Network):
    """A network that ONNX Runtime computes, on the CPU, for a `Segmenter` to use.

    Parameters
    ----------
    config : UNetConfig
        Of the network that was exported.
    session : InferenceSession
        Of the file.
    """

    def __init__(self, config: UNetConfig, session: InferenceSession) -> None:
        super().__init__(config)
        self._session = session

    def __deepcopy__(self, memo: dict[int, Any]) -> OnnxNetwork:
        # A session cannot be copied, and nothing changes it.
        return self

    def forward(self, x: Tensor) -> Tensor:
        """See `Network.forward`; the logits are worked out from the probabilities."""
        slices = np.ascontiguousarray(x.float().cpu().numpy())
        probability = torch.from_numpy(self._session.run([PROBABILITIES], {SLICES: slices})[0]).to(x.device)
        return probability.logit()

    def logits(self, x: Tensor) -> Tensor:
        """The same: the file pads by itself."""
        return self.forward(x)


def export(network: Network, description: Description, path: Path) -> None:
    """Write a network as ONNX.

    Parameters
    ----------
    network : Network
        On the CPU; it comes back in evaluation mode.
    description : Description
        Goes into the metadata.
    path : Path
        Written all or nothing.

    Raises
    ------
    InputError
        If the packages are missing, or the file cannot be written.
    """
    _need("onnx", "onnxscript")
    batch, height, width = (torch.export.Dim(name, min=1) for name in ("batch", "height", "width"))
    multiple = network.config.multiple
    # Two of each, and no size that is a multiple: nothing is taken for a constant.
    example = torch.zeros(2, network.config.input_channels, 2 * multiple + 3, 3 * multiple + 5)
    with warnings.catch_warnings():
        # Of torch, about itself.
        warnings.simplefilter("ignore", FutureWarning)
        program = torch.onnx.export(
            Probabilities(network).eval(),
            (example,),
            input_names=[SLICES],
            output_names=[PROBABILITIES],
            dynamic_shapes=({0: batch, 2: height, 3: width},),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    for part in (model.graph, *model.graph.node):
        # Where in which file of this machine each operation comes from.
        part.ClearField("metadata_props")
    sides = model.graph.output[0].type.tensor_type.shape.dim
    for side, name in ((0, "batch"), (2, "height"), (3, "width")):
        # Worked out by the exporter as formulas, which come to the same.
        sides[side].dim_param = name
    model.doc_string = f"normalised slices, cut off at -{CLIP:g} and {CLIP:g}, to probabilities"
    model.metadata_props.add(key=METADATA_KEY, value=description.to_json())
    write_bytes(path, model.SerializeToString())


def load_onnx(path: Path, *, threads: int | None = None) -> tuple[OnnxNetwork, Description]:
    """The network in a file that `export` wrote, and its description.

    Parameters
    ----------
    path : Path
        The file.
    threads : int, optional
        Of an operation; by default ONNX Runtime's own choice.

    Raises
    ------
    InputError
        If ONNX Runtime is missing, or the file is no such one.
    """
    _need("onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        description = Description.from_json(session.get_modelmeta().custom_metadata_map[METADATA_KEY])
    # ONNX Runtime's errors have no class in common.
    except Exception as error:
        raise InputError("is no ONNX file of training.export_onnx", path=path) from error
    return OnnxNetwork(description.network, session), description


def compare(
    network: Network,
    onnx: OnnxNetwork,
    description: Description,
    dataset: Dataset,
    *,
    problems: list[int] | None = None,
) -> Iterator[Agreement]:
    """Predict every case both ways, on the CPU in float32, and compare the masks.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    onnx : OnnxNetwork
        What was made of it.
    description : Description
        Of both.
    dataset : Dataset
        Its cases need no masks.
    problems : list of int, optional
        As of `agreement.case_by_case`.
    """
    segmenter = Segmenter(network, description, device="cpu", precision=torch.float32)

    def by_both(case: Case) -> Agreement:
        volume = case.read_image()
        segmenter.use(network)
        expected = segmenter.mask(segmenter.predict(volume))
        segmenter.use(onnx)
        return agreement(case.case_id, segmenter.mask(segmenter.predict(volume)), expected)

    return case_by_case(dataset.cases, by_both, problems=problems)


def _need(*packages: str) -> None:
    import importlib.util

    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f'{" and ".join(missing)} missing: pip install "napari-unet-seg[training]"')


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = command_parser("training.export_onnx", __doc__)
    parser.add_argument("model", help="a model's name, or a .safetensors file")
    parser.add_argument("output", type=Path, help="the .onnx file")
    parser.add_argument("--check", type=Path, metavar="DATA", help="a dataset to compare both on")
    parser.add_argument("--threads", type=positive_int, help="CPU threads, of PyTorch and of ONNX Runtime")
    given = parser.parse_args(arguments)
    if given.output.suffix.lower() != ".onnx":
        raise InputError("give the file the ending .onnx", path=given.output)
    if given.threads:
        torch.set_num_threads(given.threads)
    network, description = load_checkpoint(Registry().path(given.model))
    export(network, description, given.output)
    print(f"{given.output}: {given.output.stat().st_size / 1e6:.1f} MB")
    if given.check is None:
        return 0
    onnx, read = load_onnx(given.output, threads=given.threads)
    found: list[Agreement] = []
    problems: list[int] = []
    for each in compare(network, onnx, read, open_whole(given.check), problems=problems):
        print(f"{each.case}: {each.equal:.6%} of the pixels equal, Dice {each.dice:.6f}", flush=True)
        found.append(each)
    if not found:
        print(f"{given.check}: no case to compare", file=sys.stderr)
        return 2
    least = min(each.equal for each in found)
    print(f"least of {counted(len(found), 'case')}: {least:.6%} equal, Dice {min(each.dice for each in found):.6f}")
    return max([int(least < EQUAL), *problems])


if __name__ == "__main__":
    sys.exit(main())
