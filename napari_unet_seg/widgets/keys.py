"""Keys of the viewer's that the dock answers to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari.components import ViewerModel


class Keys:
    """Binds keys to the viewer, wherever the user has not bound them, until it is closed.

    Parameters
    ----------
    viewer : ViewerModel
    actions : mapping
        Key, such as ``Shift-A``, to what it does.
    """

    def __init__(self, viewer: ViewerModel, actions: Mapping[str, Callable[[], Any]]) -> None:
        self._viewer = viewer
        self._bound: list[str] = []
        for key, action in actions.items():
            try:
                viewer.bind_key(key, _called_with_viewer(action))
            except ValueError:
                # A key of the user's own stays theirs.
                continue
            self._bound.append(key)

    def close(self) -> None:
        """Give the keys back."""
        for key in self._bound:
            self._viewer.bind_key(key, None)
        self._bound.clear()


def _called_with_viewer(action: Callable[[], Any]) -> Callable[[Any], None]:
    def press(viewer: Any) -> None:
        action()

    return press
