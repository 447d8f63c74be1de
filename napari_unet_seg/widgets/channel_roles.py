"""Combo boxes that say which open image is which sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from napari.layers import Image
from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QComboBox, QFormLayout, QVBoxLayout, QWidget

from napari_unet_seg.widgets.channel_guess import guess_sources, missing_note, title_of
from napari_unet_seg.widgets.layers import ImageSource, sources_of
from napari_unet_seg.widgets.wrapped_label import WrappedLabel

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

NONE = "(none)"


class ChannelRoles(QWidget):
    """A combo for each channel the model wants, filled with the open images and kept up with them.

    A choice made by hand stays as long as its layer; the others are guessed again whenever layers come, go or change
    their name.

    Parameters
    ----------
    viewer : ViewerModel
    wanted : sequence of str
        Channel names of the model.
    """

    valueChanged = Signal()

    def __init__(self, *, viewer: ViewerModel, wanted: Sequence[str], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._wanted: tuple[str, ...] = ()
        self._combos: dict[str, QComboBox] = {}
        self._sources: list[ImageSource] = []
        self._shown: dict[str, int] = {}
        self._by_hand: dict[str, ImageSource | None] = {}
        self._preferred: list[Layer] = []
        self._guess_note = ""

        self._form = QFormLayout()
        self._form.setContentsMargins(0, 0, 0, 0)
        self._note = WrappedLabel()

        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(self._form)
        layout.addWidget(self._note)

        events = viewer.layers.events
        events.inserted.connect(self._refill)
        events.removed.connect(self._refill)
        events.reordered.connect(self._refill)
        events.renamed.connect(self._refill)
        self.set_wanted(wanted)

    def disconnect_all(self) -> None:
        """Disconnect from the viewer."""
        events = self._viewer.layers.events
        events.inserted.disconnect(self._refill)
        events.removed.disconnect(self._refill)
        events.reordered.disconnect(self._refill)
        events.renamed.disconnect(self._refill)

    def set_wanted(self, wanted: Sequence[str]) -> None:
        """Ask for other channels."""
        if tuple(wanted) == self._wanted:
            return
        self._wanted = tuple(wanted)
        while self._form.rowCount():
            self._form.removeRow(0)
        self._combos = {}
        for role in self._wanted:
            combo = QComboBox()
            combo.setObjectName(f"channel_{role}")
            # A long layer name must not widen the dock.
            combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            combo.setMinimumContentsLength(8)
            combo.setToolTip(f"The open image that holds {title_of(role)}")
            combo.activated.connect(self._choose)
            self._combos[role] = combo
            self._form.addRow(title_of(role), combo)
        self._by_hand = {}
        self._refill()

    def prefer(self, layers: Sequence[Layer]) -> None:
        """Guess among these layers while they are open: they are the case's. Choices by hand are forgotten."""
        self._preferred = list(layers)
        self._by_hand = {}
        self._refill()

    def value(self) -> dict[str, ImageSource]:
        """The chosen image for each channel; channels without one are left out."""
        chosen = {}
        for role, combo in self._combos.items():
            if combo.currentIndex() > 0:
                chosen[role] = self._sources[combo.currentIndex() - 1]
        return chosen

    def setValue(self, value: dict[str, ImageSource]) -> None:
        """Choose by hand."""
        self._by_hand = {role: value.get(role) for role in self._wanted}
        self._refill()

    def note(self) -> str:
        """What was assumed about the channels."""
        return str(self._note.text())

    def _choose(self) -> None:
        for role, combo in self._combos.items():
            index = combo.currentIndex()
            if index != self._shown[role]:
                self._by_hand[role] = self._sources[index - 1] if index else None
                self._shown[role] = index
        # Once someone chooses, what was guessed by position alone is theirs too.
        self.keep()
        self._guess_note = ""
        self._tell()

    def _refill(self) -> None:
        before = self.value() if self._combos else {}
        images = [layer for layer in self._viewer.layers if isinstance(layer, Image)]
        # In the order that they have as channels, whatever the user makes of it in the list of layers.
        order = {layer: place for place, layer in enumerate(self._preferred)}
        images.sort(key=lambda layer: order.get(layer, len(order)))
        self._sources = [source for layer in images for source in sources_of(layer)]
        # What was chosen by hand holds as long as its layer.
        left = [role for role, source in self._by_hand.items() if source is not None and not self._is_open(source)]
        for role in left:
            del self._by_hand[role]
        if left and not any(self._by_hand.values()):
            self._by_hand.clear()
        own = [source for source in self._sources if source.layer in order]
        # Beside an open case, other images may well show another patient.
        guess, self._guess_note = guess_sources(self._wanted, own or self._sources)
        if self._by_hand:
            self._guess_note = ""
        for role, combo in self._combos.items():
            wish = self._by_hand[role] if role in self._by_hand else guess.get(role)
            index = next((i for i, source in enumerate(self._sources, 1) if source.same_as(wish)), 0)
            with QSignalBlocker(combo):
                combo.clear()
                combo.addItem(NONE)
                combo.addItems([source.label for source in self._sources])
                combo.setCurrentIndex(index)
            self._shown[role] = index
        after = self.value()
        same = before.keys() == after.keys() and all(after[role].same_as(before[role]) for role in after)
        self._tell(changed=not same)

    def keep(self) -> None:
        """What is chosen has been worked with: it is as good as chosen by hand."""
        for role, source in self.value().items():
            self._by_hand.setdefault(role, source)

    def _is_open(self, source: ImageSource) -> bool:
        return any(source.same_as(other) for other in self._sources)

    def _mixed_note(self, chosen: Mapping[str, ImageSource]) -> str:
        """Images of the open case beside others may well show two patients."""
        foreign = [title_of(role) for role, source in chosen.items() if source.layer not in self._preferred]
        if not self._preferred or len(foreign) in (0, len(chosen)):
            return ""
        return f"{' and '.join(foreign)} not of the open case: choose (none) for what shows another scan."

    def _tell(self, *, changed: bool = True) -> None:
        chosen = self.value()
        notes = (
            [self._guess_note, self._mixed_note(chosen), missing_note(self._wanted, chosen)]
            if self._sources
            else ["No image is open."]
        )
        self._note.setText(" ".join(note for note in notes if note))
        self._note.setVisible(bool(self._note.text()))
        if changed:
            self.valueChanged.emit()
