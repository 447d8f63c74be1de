"""Keys that the dock answers to, whether the viewer has the focus or the dock itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QShortcut, QWidget

if TYPE_CHECKING:
    from napari.components import ViewerModel


class Keys:
    """Binds keys to the viewer, wherever the user has not bound them, and to a widget of ours, until it is closed.

    A widget that has the focus keeps letters from the viewer: a table searches for them. A field takes them as text.

    Parameters
    ----------
    viewer : ViewerModel
    widget : QWidget
        With all that is in it.
    actions : mapping
        Key, such as ``Shift-A``, to what it does.
    """

    def __init__(self, viewer: ViewerModel, widget: QWidget, actions: Mapping[str, Callable[[], Any]]) -> None:
        self._viewer = viewer
        self._bound: list[str] = []
        self._shortcuts: list[QShortcut] = []
        for key, action in actions.items():
            try:
                viewer.bind_key(key, _called_with_viewer(action))
            except ValueError:
                # A key of the user's own stays theirs.
                continue
            self._bound.append(key)
            shortcut = QShortcut(QKeySequence(key.replace("-", "+")), widget)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(action)
            self._shortcuts.append(shortcut)

    def close(self) -> None:
        """Give the keys back."""
        for key in self._bound:
            self._viewer.bind_key(key, None)
        self._bound.clear()
        for shortcut in self._shortcuts:
            shortcut.setEnabled(False)
            shortcut.deleteLater()
        self._shortcuts.clear()


def _called_with_viewer(action: Callable[[], Any]) -> Callable[[Any], None]:
    def press(viewer: Any) -> None:
        action()

    return press
