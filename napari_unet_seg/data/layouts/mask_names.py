"""Which mask of a folder belongs to which image of another, by their names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from napari_unet_seg.data.formats import image_file
from napari_unet_seg.data.formats.extensions import is_nifti, split_name, without_mask_ending
from napari_unet_seg.data.layouts.listing import name_key


@dataclass(frozen=True, kw_only=True)
class MaskNames:
    """Names of the masks of a folder's images."""

    found: dict[str, str]
    """Mask of each image that has one."""

    unused: tuple[str, ...]
    """Masks that belong to none."""

    ending: str
    """What stands between the stem of an image and the extension of its mask, ``_mask`` say."""

    shared: frozenset[str]
    """Keys of the stems that several images have."""

    @classmethod
    def match(cls, images: Sequence[str], masks: Sequence[str], *, style: MaskNames | None = None) -> MaskNames:
        """Match by stem, whatever the capitals, with or without an ending.

        Parameters
        ----------
        images, masks : sequence of str
            File names. Of several masks for an image the one of the same stem comes first, and of several images for
            a mask the one of the same extension; a mask of ``a.png.png`` or ``a.png_mask.png`` is that of ``a.png``
            alone.
        style : MaskNames, optional
            How masks are named where there are none here.
        """
        stems = Counter(name_key(split_name(image)[0]) for image in images)
        by_key: dict[str, list[tuple[int, str]]] = {}
        for mask in masks:
            for rank, key in _keys(mask):
                by_key.setdefault(key, []).append((rank, mask))
        candidates: list[tuple[int, bool, int, str, str]] = []
        for order, image in enumerate(images):
            for whole, key in ((0, name_key(image)), (2, name_key(split_name(image)[0]))):
                for rank, mask in by_key.get(key, []):
                    if is_nifti(image) == is_nifti(mask):
                        other = split_name(mask)[1].lower() != split_name(image)[1].lower()
                        candidates.append((whole + rank, other, order, image, mask))
        found: dict[str, str] = {}
        used: set[str] = set()
        for _, _, _, image, mask in sorted(candidates):
            if image not in found and mask not in used:
                found[image] = mask
                used.add(mask)
        return cls(
            found=found,
            unused=tuple(sorted(set(masks) - used)),
            ending=_ending(found, default=style.ending if style is not None else ""),
            shared=frozenset(key for key, times in stems.items() if times > 1),
        )

    def has(self, image: str) -> bool:
        """Whether an image has a mask."""
        return image in self.found

    def of(self, image: str) -> str:
        """Name of an image's mask, or that of a new one: named as the others are, of a type that is lossless."""
        if image in self.found:
            return self.found[image]
        stem = split_name(image)[0]
        # Where images share a stem, each has masks of its own by the whole name.
        name = image if name_key(stem) in self.shared else stem
        new = f"{name}{self.ending}{image_file.mask_extension(image)}"
        # Not one that lies there already and is another image's.
        return new if new not in self.found.values() else f"{image}{self.ending}{image_file.mask_extension(image)}"


def _keys(mask: str) -> Iterator[tuple[int, str]]:
    """What the image of a mask may be called, and how far fetched that is."""
    stem = split_name(mask)[0]
    yield 0, name_key(stem)
    shorter = without_mask_ending(stem)
    if shorter is not None:
        yield 1, name_key(shorter)


def _ending(found: dict[str, str], *, default: str) -> str:
    """The most common ending of masks, as it is spelled."""
    endings: Counter[str] = Counter()
    for mask in found.values():
        stem = split_name(mask)[0]
        shorter = without_mask_ending(stem)
        endings[stem[len(shorter) :] if shorter is not None else ""] += 1
    return endings.most_common(1)[0][0] if endings else default
