from collections.abc import Iterator

import numpy as np
import pytest
from napari.components import ViewerModel
from pytestqt.qtbot import QtBot

from napari_unet_seg.widgets.channel_roles import ChannelRoles
from napari_unet_seg.widgets.layers import sources_of


@pytest.fixture
def roles(qtbot: QtBot, viewer: ViewerModel) -> Iterator[ChannelRoles]:
    roles = ChannelRoles(viewer=viewer, wanted=("pre", "flair", "post"))
    qtbot.addWidget(roles)
    yield roles
    roles.disconnect_all()


def add(viewer: ViewerModel, *names: str) -> None:
    for name in names:
        viewer.add_image(np.zeros((2, 8, 8)), name=name)


def chosen(roles: ChannelRoles) -> dict[str, str]:
    return {role: source.label for role, source in roles.value().items()}


def test_names_tell_the_sequences(roles: ChannelRoles, viewer: ViewerModel) -> None:
    add(viewer, "sub-1_T1ce", "sub-1_FLAIR", "sub-1_T1", "sub-1_T2")
    assert chosen(roles) == {"pre": "sub-1_T1", "flair": "sub-1_FLAIR", "post": "sub-1_T1ce"}
    assert roles.note() == ""


def test_a_missing_sequence_is_said_to_be_copied_from_flair(roles: ChannelRoles, viewer: ViewerModel) -> None:
    add(viewer, "flair", "t1")
    assert chosen(roles) == {"pre": "t1", "flair": "flair"}
    assert roles.note() == "post-contrast T1 missing: a copy of FLAIR stands in, as in the LGG dataset."


def test_a_lone_image_is_taken_for_flair(roles: ChannelRoles, viewer: ViewerModel) -> None:
    add(viewer, "scan")
    assert chosen(roles) == {"flair": "scan"}
    assert "'scan' is taken for FLAIR" in roles.note()


def test_three_images_without_telling_names_are_taken_by_position(roles: ChannelRoles, viewer: ViewerModel) -> None:
    add(viewer, "a", "b", "c")
    assert chosen(roles) == {"pre": "a", "flair": "b", "post": "c"}
    assert "taken by position: pre-contrast T1 from a" in roles.note()


def test_two_images_without_telling_names_are_asked_for(roles: ChannelRoles, viewer: ViewerModel) -> None:
    add(viewer, "a", "b")
    assert chosen(roles) == {}
    assert "choose them" in roles.note()


def test_a_colour_image_is_split(roles: ChannelRoles, viewer: ViewerModel) -> None:
    viewer.add_image(np.zeros((2, 8, 8, 3), np.uint8), name="scan", rgb=True)
    assert chosen(roles) == {"pre": "scan · red", "flair": "scan · green", "post": "scan · blue"}
    assert "by position" in roles.note()


def test_a_case_s_channels_keep_their_order_whatever_that_of_the_layers(
    roles: ChannelRoles, viewer: ViewerModel
) -> None:
    add(viewer, "red", "green", "blue")
    roles.prefer(list(viewer.layers))
    viewer.layers.move(0, 3)
    assert [layer.name for layer in viewer.layers] == ["green", "blue", "red"]
    assert chosen(roles) == {"pre": "red", "flair": "green", "post": "blue"}


def test_layers_that_come_go_or_are_renamed_are_followed(
    roles: ChannelRoles, viewer: ViewerModel, qtbot: QtBot
) -> None:
    with qtbot.waitSignal(roles.valueChanged):
        add(viewer, "flair")
    add(viewer, "b")
    assert chosen(roles) == {"flair": "flair"}
    with qtbot.waitSignal(roles.valueChanged):
        viewer.layers["b"].name = "t1ce"
    assert chosen(roles) == {"flair": "flair", "post": "t1ce"}
    with qtbot.waitSignal(roles.valueChanged):
        viewer.layers.remove("flair")
    assert chosen(roles) == {"post": "t1ce"}
    viewer.layers.clear()
    assert roles.note() == "No image is open."


def test_a_choice_by_hand_stays(roles: ChannelRoles, viewer: ViewerModel) -> None:
    add(viewer, "t1", "flair")
    combo = roles._combos["post"]
    combo.setCurrentIndex(2)
    combo.activated.emit(2)
    assert chosen(roles) == {"pre": "t1", "flair": "flair", "post": "flair"}
    add(viewer, "t1ce")
    assert chosen(roles)["post"] == "flair"
    roles.setValue({"flair": roles.value()["pre"]})
    assert chosen(roles) == {"flair": "t1"}


def test_a_choice_by_hand_goes_with_its_layer(roles: ChannelRoles, viewer: ViewerModel) -> None:
    add(viewer, "a", "b")
    combo = roles._combos["flair"]
    combo.setCurrentIndex(2)
    combo.activated.emit(2)
    assert chosen(roles) == {"flair": "b"}
    viewer.layers.remove("b")
    assert chosen(roles) == {"flair": "a"}


def test_what_was_worked_with_stays_when_another_image_comes(roles: ChannelRoles, viewer: ViewerModel) -> None:
    add(viewer, "a")
    roles.keep()
    add(viewer, "b")
    assert chosen(roles) == {"flair": "a"}
    viewer.layers.remove("a")
    assert chosen(roles) == {"flair": "b"}


def test_images_of_the_case_and_others_are_told_apart(roles: ChannelRoles, viewer: ViewerModel) -> None:
    add(viewer, "t1", "flair")
    roles.prefer(list(viewer.layers))
    assert "of the open case" not in roles.note()
    add(viewer, "other")
    roles.setValue({"pre": roles.value()["pre"], "flair": sources_of(viewer.layers["other"])[0]})
    assert "FLAIR not of the open case: choose (none) for what shows another scan." in roles.note()
    roles.setValue({"flair": roles.value()["flair"]})
    assert "of the open case" not in roles.note()


def test_layers_of_the_open_case_go_first(roles: ChannelRoles, viewer: ViewerModel) -> None:
    add(viewer, "flair", "t1")
    other = viewer.add_image(np.zeros((2, 8, 8)), name="FLAIR")
    assert roles.value()["flair"].layer is viewer.layers["flair"]
    roles.prefer([other])
    assert roles.value()["flair"].layer is other


def test_another_model_may_want_other_channels(roles: ChannelRoles, viewer: ViewerModel) -> None:
    add(viewer, "t2", "flair")
    roles.set_wanted(("t2",))
    assert chosen(roles) == {"t2": "t2"}
    viewer.layers.clear()
    add(viewer, "a", "b")
    assert chosen(roles) == {}


@pytest.mark.parametrize("others", [("unrelated",), ("unrelated 0", "unrelated 1"), ("other patient T1ce", "T1")])
def test_beside_an_open_case_other_images_are_not_guessed_at(
    roles: ChannelRoles, viewer: ViewerModel, others: tuple[str, ...]
) -> None:
    add(viewer, *others, "picture")
    roles.prefer([viewer.layers["picture"]])
    assert chosen(roles) == {"flair": "picture"}
