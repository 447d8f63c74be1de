"""Tells when napari's window closes: napari tells its docks nothing."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QEvent, QObject, QTimer, Signal
from qtpy.QtWidgets import QApplication, QWidget


class WindowWatch(QObject):
    """Asks before a window closes, and tells when it does.

    What sees the close event before the window does cannot know what comes of it: where the user has pressed the
    window's X, napari asks a question of its own, in a dialog with an event loop, and the window may stay. It closes
    for certain when it is hidden.

    Parameters
    ----------
    may_close : callable
        Whether the window may close, as far as the dock goes; may ask the user.
    """

    closed = Signal()
    """The window closes; nothing can stop it any more."""
    stayed = Signal()
    """The window could have closed, and stays."""

    _LOOK_MS = 100

    def __init__(self, *, may_close: Callable[[], bool], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._may_close = may_close
        self._window: QWidget | None = None
        self._full_screen = False
        self._answered = False
        self._look_timer = QTimer(self)
        self._look_timer.setInterval(self._LOOK_MS)
        self._look_timer.timeout.connect(self._look)

    @property
    def window(self) -> QWidget | None:
        """The window that is watched."""
        return self._window

    def watch(self, window: QWidget) -> None:
        """Watch this window from now on."""
        if window is not self._window:
            self.disconnect_all()
            self._window = window
            window.installEventFilter(self)

    def disconnect_all(self) -> None:
        """Watch no more."""
        self._look_timer.stop()
        if self._window is not None:
            self._window.removeEventFilter(self)
            self._window = None

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """See the window's events before the window does."""
        window = self._window
        if window is not None and watched is window:
            if event.type() == QEvent.Type.Close:
                return self._filter_close(window, event)
            # A window that is made an icon is hidden too, by the system.
            if event.type() == QEvent.Type.Hide and self._look_timer.isActive() and not event.spontaneous():
                self._tell_closed()
        return bool(super().eventFilter(watched, event))

    def _filter_close(self, window: QWidget, event: QEvent) -> bool:
        visible = window.isVisible()
        may_close = self._may_close()
        # Closed once more while the user was asked, by a call, it is gone whatever the answer.
        gone = visible and not window.isVisible()
        if not may_close and not gone:
            event.ignore()
            return True
        if gone or not event.spontaneous():
            # Where it is closed by a call, napari has asked before what it asks.
            self._tell_closed()
        elif self._window is not None:
            self._full_screen, self._answered = window.isFullScreen(), False
            self._look_timer.start()
        return False

    def _look(self) -> None:
        """Find out whether the window has stayed."""
        window = self._window
        if window is None:
            self._look_timer.stop()
        elif not window.isVisible():
            self._tell_closed()
        elif QApplication.activeModalWidget() is not None or window.isFullScreen() != self._full_screen:
            # A window that fills the screen is made smaller before it goes, and events are processed meanwhile.
            self._answered = False
        elif not self._answered:
            # The question's event loop may not have returned yet: what was answered shows at the next look.
            self._answered = True
        else:
            self._look_timer.stop()
            self.stayed.emit()

    def _tell_closed(self) -> None:
        self._look_timer.stop()
        self.closed.emit()
