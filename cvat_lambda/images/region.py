"""A rectangle of whole pixels in a frame, and the part of a frame inside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import ImageOps

from cvat_lambda.annotations.placement import Placement
from cvat_lambda.errors import InvalidRequest
from cvat_lambda.images.decode import opened
from cvat_lambda.images.encode import BMP, JPEG, PNG, encode, to_8_bits
from cvat_lambda.images.resize import ImageLimits, ResizedImage, resize


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """Pixels of a frame; ``right`` and ``bottom`` are exclusive.

    ``roi`` of cvat-sdk 2.80 and Pillow's ``Image.crop`` have the same form.
    """

    left: int
    top: int
    right: int
    bottom: int

    @classmethod
    def parse(cls, values: Sequence[int]) -> Region:
        """Read ``[xtl, ytl, xbr, ybr]``. Raise InvalidRequest if it encloses no pixel."""
        left, top, right, bottom = values
        if left >= right or top >= bottom:
            raise InvalidRequest(
                f"roi [{left}, {top}, {right}, {bottom}] is empty:"
                " it is [xtl, ytl, xbr, ybr] with xtl < xbr and ytl < ybr"
            )
        return cls(left=left, top=top, right=right, bottom=bottom)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """``(left, top, right, bottom)``."""
        return self.left, self.top, self.right, self.bottom

    @property
    def placement(self) -> Placement:
        """The place of the region in the frame."""
        size = (self.right - self.left, self.bottom - self.top)
        return Placement(offset=(self.left, self.top), size=size)

    def clip(self, width: int, height: int) -> Region:
        """Return the part inside a frame. Raise InvalidRequest if there is none."""
        clipped = Region(
            left=max(self.left, 0),
            top=max(self.top, 0),
            right=min(self.right, width),
            bottom=min(self.bottom, height),
        )
        if clipped.left >= clipped.right or clipped.top >= clipped.bottom:
            raise InvalidRequest(
                f"roi {list(self.box)} lies outside the image of {width} x {height} pixels"
            )
        return clipped


def encode_region(
    data: bytes,
    region: Region | None,
    limits: ImageLimits,
    *,
    mime: str,
    jpeg_quality: int,
    keep_size: bool = False,
) -> ResizedImage:
    """Encode a region of a frame, or None for all of it, as a function takes it.

    The region must lie within the frame. Raise FrameUnreadable.
    """
    if region is None:
        return resize(data, limits, keep_size=keep_size)
    part = crop(data, region, mime=mime, accepts=limits.accepts, jpeg_quality=jpeg_quality)
    image = resize(part, limits, keep_size=keep_size)
    return ResizedImage(data=image.data, placement=image.placement.inside(region.placement))


def crop(
    data: bytes,
    region: Region,
    *,
    mime: str,
    jpeg_quality: int,
    accepts: Sequence[str] = (),
) -> bytes:
    """Encode the part of an image inside ``region``, which must lie within the image.

    The region is one of the image as people see it: turned as its EXIF orientation says, with
    eight bits a channel. A JPEG stays a JPEG, and a BMP file stays one for a function that
    ``accepts`` it. Other types become PNG, which loses nothing. A function that accepts only JPEG
    or only PNG gets that one. Raise FrameUnreadable.
    """
    target = mime if mime == JPEG or (mime == BMP and BMP in accepts) else PNG
    if accepts and target not in accepts and (JPEG in accepts or PNG in accepts):
        target = JPEG if JPEG in accepts else PNG
    options = {JPEG: {"quality": jpeg_quality}, PNG: {"compress_level": 1}}.get(target, {})
    with opened(data) as image:
        # The values of the whole image decide how a deep one is shown, so the crop comes last.
        part = to_8_bits(ImageOps.exif_transpose(image)).crop(region.box)
        return encode(part, target, **options)
