"""What a dock that is closed by itself leaves in the window, for the next one to go on with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Qt
from qtpy.QtWidgets import QWidget

from napari_unet_seg.probability_map import MaskRule
from napari_unet_seg.session import Session

if TYPE_CHECKING:
    from napari.layers import Labels, Layer

    from napari_unet_seg.data.dataset import Case


class LeftOpen(QObject):
    """The state, and the layers that show it; a child of the window, with which it goes.

    Parameters
    ----------
    session : Session
        Nobody works with it any more.
    case : Case or None
        The open one.
    images : list of Layer
        Those of the open case.
    truth : Labels or None
        The mask that the case came with.
    mask : Labels or None
        The layer that was painted on; with a case open, only if it is of that case.
    reference : Layer or None
        The image that it lies on.
    model : str
        Name or file of the chosen model.
    rule : MaskRule or None
        How its probabilities became the mask; None where it was not loaded yet.
    """

    def __init__(
        self,
        *,
        session: Session,
        case: Case | None,
        images: list[Layer],
        truth: Labels | None,
        mask: Labels | None,
        reference: Layer | None,
        model: str,
        rule: MaskRule | None,
    ) -> None:
        super().__init__()
        self.session = session
        self.case = case
        self.images = images
        self.truth = truth
        self.mask = mask
        self.reference = reference
        self.model = model
        self.rule = rule

    def put_into(self, window: QWidget) -> None:
        """Leave it there."""
        self.setParent(window)

    @staticmethod
    def take_from(window: QWidget) -> LeftOpen | None:
        """What was left in a window, if anything was; it is there no longer."""
        left: LeftOpen | None = window.findChild(LeftOpen, options=Qt.FindChildOption.FindDirectChildrenOnly)
        if left is not None:
            left.setParent(None)
        return left
