"""HEIC files, where the extra is installed that reads them."""

from io import BytesIO

try:
    import pillow_heif
except ImportError:
    pillow_heif = None

READ = pillow_heif is not None


def heic(image, **options):
    file = BytesIO()
    pillow_heif.from_pillow(image).save(file, enc_params={"preset": "ultrafast"}, **options)
    return file.getvalue()
