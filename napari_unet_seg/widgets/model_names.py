"""The names of the models to choose from."""

from __future__ import annotations

from napari_unet_seg.widgets.adaptations import is_adaptation_name


def models_to_choose_from() -> list[str]:
    """Those of the registry that can be used; what is adapted to one scan is chosen by opening that scan."""
    from napari_unet_seg.engine.registry import Registry

    registry = Registry()
    return [
        model.name
        for model in registry.list()
        if not model.problem and model.scope != "scan" and not is_adaptation_name(model.name)
        if model.shipped or not registry.holds_rounds_for_a_scan(model.name)
    ]
