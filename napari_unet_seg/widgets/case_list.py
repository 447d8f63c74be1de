"""The cases of the open dataset in the Data panel, and how far each of them is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject

from napari_unet_seg.case_state import Stored
from napari_unet_seg.errors import InputError
from napari_unet_seg.session import Session
from napari_unet_seg.widgets.data_panel import CaseRow, DataPanel

if TYPE_CHECKING:
    from napari_unet_seg.data.dataset import Case


class CaseList(QObject):
    """Keeps the panel's table as the session has it.

    Parameters
    ----------
    session : Session
    panel : DataPanel
    """

    def __init__(self, *, session: Session, panel: DataPanel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._panel = panel
        session.dataset_changed.connect(self._list)
        session.case_changed.connect(self._mark_open)

    def disconnect_all(self) -> None:
        """Disconnect from the session."""
        self._session.dataset_changed.disconnect(self._list)
        self._session.case_changed.disconnect(self._mark_open)

    def refresh(self) -> None:
        """Look again at how far the open case is."""
        case = self._session.case
        if case is not None:
            self._panel.set_state(case.case_id, self._state_of(case))

    def _list(self, stored: Mapping[str, Stored]) -> None:
        dataset = self._session.dataset
        if dataset is None:
            return
        self._panel.set_path(Path(dataset.root))
        self._panel.set_cases(
            [
                CaseRow(case_id=case.case_id, state=self._state_of(case, stored=stored.get(case.case_id)))
                for case in dataset.cases
            ]
        )

    def _mark_open(self) -> None:
        case = self._session.case
        self._panel.setValue("" if case is None else case.case_id)

    def _state_of(self, case: Case, *, stored: Stored | None = None) -> tuple[str, ...]:
        try:
            return self._session.state_of(case, stored=stored)
        except InputError:
            # Why is told by whoever counts the corrections.
            return ("corrections unreadable",)
