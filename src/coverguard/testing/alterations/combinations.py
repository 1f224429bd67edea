"""Several alterations one after another, as re-uploads really are."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from PIL import Image

from coverguard.testing.alterations import cuts, frames, overlays, recodings, screens, tones
from coverguard.testing.alterations.dice import BLACK, WHITE, Dice
from coverguard.testing.pictures import encode

Alter = Callable[[Image.Image, Dice], Image.Image | bytes]


def _chain(*steps: Alter) -> Alter:
    """Do one after another; what a step encodes is decoded for the next."""

    def alter(image: Image.Image, dice: Dice) -> Image.Image | bytes:
        made: Image.Image | bytes = image
        for step in steps:
            made = step(recodings.pixels_of(made) if isinstance(made, bytes) else made, dice)
        return made

    return alter


def _jpeg(low: int, high: int) -> Alter:
    return lambda image, dice: encode(image, "JPEG", quality=dice.whole(low, high))


_MIRROR = cuts.turned(Image.Transpose.FLIP_LEFT_RIGHT)
_QUARTER = cuts.turned(Image.Transpose.ROTATE_90)
_SMALL = recodings.RESIZE["halved"]

COMBINE: Mapping[str, Alter] = {
    "crop_caption_jpeg": _chain(cuts.crop(0.04, 0.1), overlays.OVERLAY["caption_low"], _jpeg(40, 70)),
    "mirror_border_jpeg": _chain(_MIRROR, frames.border(0.05, 0.15, BLACK, WHITE), _jpeg(30, 60)),
    "vintage_border_small": _chain(tones.TONE["vintage"], frames.border(0.03, 0.1, BLACK, WHITE), _SMALL),
    "quarter_turn_letterbox": _chain(_QUARTER, frames.letterbox(1.4, 1.9, BLACK)),
    "mirror_text_above": _chain(_MIRROR, frames.PADDING["text_above"]),
    "noisy_border_low_jpeg": _chain(frames.BORDER["border_noisy"], _jpeg(25, 45)),
    "contrast_phone": _chain(tones.TONE["contrast_up"], screens.phone(dark=True), _jpeg(50, 80)),
    "phone_small": _chain(screens.phone(dark=True), _SMALL, _jpeg(60, 85)),
    "collage_border": _chain(screens.COMPOSE["collage_2x2"], frames.border(0.04, 0.1, BLACK, WHITE)),
    "mirror_gif": _chain(_MIRROR, recodings.RECODE["gif"]),
    "blurred_padding_caption": _chain(overlays.OVERLAY["logo"], frames.blurred_padding(1.4, 1.9)),
    "grey_mirror_low_jpeg": _chain(tones.TONE["grey"], _MIRROR, _jpeg(20, 40)),
    "inverted_border": _chain(tones.NEGATE["inverted"], frames.border(0.05, 0.12, BLACK, WHITE)),
    "screen_photographed": _chain(cuts.TILT["perspective_slight"], tones.DETAIL["noisy"], _jpeg(60, 85)),
    "letterbox_webp_low": _chain(frames.letterbox(1.4, 1.9, BLACK, WHITE), recodings.RECODE["webp_low"]),
}
