"""The pictures behind golden.json, and the way to rewrite it: `python tests/content/golden_fingerprints.py`.

Scenes, gradients and collages are painted with integers alone and stored losslessly, so the same file comes
out everywhere and a difference is one of decoding or hashing. A rewrite needs a new `FINGERPRINT_VERSION`.

Version 2 left every PDQ as it was, though our own matrices compute it; pHash moved by up to 6 bits, for it is
taken from the decoded pixels and no longer from the 512 × 512 that PDQ samples; regions came as views. Where
there is nothing to see, digests are the noise of arithmetic, which is not the same on every machine.
"""

import hashlib
import json
from pathlib import Path

from coverguard.imaging import fingerprint
from coverguard.testing.pictures import Kind, draw, encode

GOLDEN = Path(__file__).with_name("golden.json")
PICTURES = {
    **{f"scene-{seed}": (Kind.SCENE, seed, 640) for seed in range(6)},
    "scene-small": (Kind.SCENE, 20, 200),
    "scene-tiny": (Kind.SCENE, 21, 40),
    "scene-just-squashed": (Kind.SCENE, 22, 513),
    "scene-just-not-squashed": (Kind.SCENE, 23, 512),
    "scene-large": (Kind.SCENE, 24, 1300),
    "collage-1": (Kind.COLLAGE, 1, 640),
    "collage-2": (Kind.COLLAGE, 2, 300),
    "gradient-1": (Kind.GRADIENT, 1, 640),
}


def measure(name):
    image = draw(*PICTURES[name][:2], side=PICTURES[name][2])
    view = fingerprint(encode(image, "PNG", compress_level=1)).views[0]
    measured = {"pixels_sha256": hashlib.sha256(image.tobytes()).hexdigest(), "quality": view.quality}
    if view.quality:
        measured |= {name: view.signals[name].hex() for name in ("pdq", "phash256")}
    return measured


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps({name: measure(name) for name in PICTURES}, indent=1) + "\n")
