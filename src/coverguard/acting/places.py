"""Where a cover's public bytes may be: URL templates and rendition templates, from settings only.

A rendition template is `bucket:path`, a full match with `{surface}`, `{id}`, `{version}` (once each, since
only the three name a cover) and `{*}` (one name, no slash). Each placeholder is a whole path segment and ids
are percent-encoded, so ids 12 and 123 cannot meet and an id cannot climb. Templates that could match the same
key for different covers are refused at start-up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final
from urllib.parse import quote, unquote

from coverguard.errors import ConfigurationError
from coverguard.model import ObjectRef

_LITERAL: Final = re.compile(r"[A-Za-z0-9._-]+")
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,17}")
_REQUIRED: Final = ("{surface}", "{id}", "{version}")
_KNOWN: Final = frozenset({"{surface}", "{id}", "{version}", "{*}"})


@dataclass(frozen=True, slots=True)
class RenditionTemplate:
    bucket: str
    segments: tuple[str, ...]

    @classmethod
    def parse(cls, template: str) -> RenditionTemplate:
        bucket, _, path = template.partition(":")
        made = cls(bucket, tuple(path.split("/")))
        for segment in made.segments:
            if segment not in _KNOWN and not _LITERAL.fullmatch(segment):
                raise ConfigurationError(
                    f"renditions: {template}: each {{placeholder}} is a whole path segment"
                )
        if not bucket or any(made.segments.count(one) != 1 for one in _REQUIRED):
            raise ConfigurationError(
                f"renditions: {template}: needs bucket: and {{surface}}, {{id}} and {{version}} once each"
            )
        return made

    def prefix(self, filled: Mapping[str, str]) -> str:
        """The literal start of every key of that cover, up to the first wildcard."""
        segments = [filled.get(segment, segment) for segment in self.segments]
        if "{*}" in segments:
            return "".join(f"{segment}/" for segment in segments[: segments.index("{*}")])
        return "/".join(segments)

    def history_prefix(self, filled: Mapping[str, str]) -> str | None:
        """The start, up to and with the slash after the id, of every key of any version of that cover.

        None where the template has the version or a wildcard before the id: it would be of other covers, too.
        """
        segments = [filled.get(segment, segment) for segment in self.segments]
        unknown = next(at for at, one in enumerate(segments) if one in ("{version}", "{*}"))
        named = max(self.segments.index("{surface}"), self.segments.index("{id}"))
        return "".join(f"{one}/" for one in segments[:unknown]) if named < unknown else None

    def matches(self, key: str, filled: Mapping[str, str]) -> bool:
        """Whether the whole key is one of that cover's."""
        parts = key.split("/")
        if len(parts) != len(self.segments):
            return False
        wanted = (filled.get(segment, segment) for segment in self.segments)
        return all(part and want in (part, "{*}") for part, want in zip(parts, wanted, strict=True))

    def read(self, key: str) -> tuple[str, str, int] | None:
        """The surface, cover id and version of the cover that a key is a rendition of, if it is one."""
        parts = key.split("/")
        if len(parts) != len(self.segments) or not all(parts):
            return None
        pairs = list(zip(self.segments, parts, strict=True))
        found = dict(pairs)
        literal = all(part == want for want, part in pairs if want not in _KNOWN)
        surface, cover_id, version = (found[one] for one in _REQUIRED)
        named = unquote(cover_id, errors="replace")
        if not literal or not _NUMBER.fullmatch(version) or segment(named) != cover_id:
            return None
        return surface, named, int(version)

    def meets(self, other: RenditionTemplate) -> bool:
        """Whether some key could be a rendition by both, with another cover or version."""
        if self.bucket != other.bucket or len(self.segments) != len(other.segments):
            return False
        return all(
            mine == theirs or "{" in mine or "{" in theirs
            for mine, theirs in zip(self.segments, other.segments, strict=True)
        )


class Places:
    """All public places of one deployment."""

    def __init__(
        self, *, urls: Mapping[str, str], renditions: Sequence[str], buckets: frozenset[str] = frozenset()
    ) -> None:
        """`urls` maps a public bucket to a URL template with `{bucket}` and `{key}`."""
        self._urls = dict(urls)
        if any("{key}" not in template for template in self._urls.values()):
            raise ConfigurationError("public_url: needs {key}, else one answer would stand for every object")
        self._templates = [RenditionTemplate.parse(template) for template in renditions]
        for template in self._templates:
            if buckets and template.bucket not in buckets:
                raise ConfigurationError(
                    f"renditions: bucket {template.bucket} is not one of this deployment's"
                )
        for one, other in combinations(self._templates, 2):
            if one.meets(other):
                raise ConfigurationError("renditions: two templates can match the same key")

    def url(self, bucket: str, key: str) -> str | None:
        """The canonical URL at which the public asks for a key, or None for a private bucket."""
        template = self._urls.get(bucket)
        if template is None:
            return None
        return template.replace("{bucket}", quote(bucket, safe="")).replace("{key}", quote(key, safe="/"))

    def searches(self, *, surface: str, cover_id: str, version: int) -> Iterator[tuple[str, str]]:
        """Yield the (bucket, prefix) under which that cover version's renditions lie."""
        filled = _filled(surface, cover_id, version)
        for template in self._templates:
            yield template.bucket, template.prefix(filled)

    def histories(self, *, surface: str, cover_id: str) -> Iterator[tuple[str, str]]:
        """Yield the (bucket, prefix) under which the renditions of every version of that cover lie.

        Not by templates of which `can_list_versions` is False.
        """
        filled = {"{surface}": surface, "{id}": segment(cover_id)}
        for template in self._templates:
            if (prefix := template.history_prefix(filled)) is not None:
                yield template.bucket, prefix

    @property
    def can_list_versions(self) -> bool:
        """Whether each template has the surface and the id before the version and before any wildcard."""
        return all(template.history_prefix({}) is not None for template in self._templates)

    def is_rendition(self, ref: ObjectRef, *, surface: str, cover_id: str, version: int) -> bool:
        filled = _filled(surface, cover_id, version)
        mine = (template for template in self._templates if template.bucket == ref.bucket)
        return any(template.matches(ref.key, filled) for template in mine)

    def cover_of(self, ref: ObjectRef) -> tuple[str, str, int] | None:
        """The surface, cover id and version of the cover that the object is a rendition of, if it is one."""
        for template in self._templates:
            if template.bucket == ref.bucket and (found := template.read(ref.key)):
                return found
        return None


def segment(platform_id: str) -> str:
    """A platform id as one path segment: percent-encoded, and never `.` or `..`."""
    encoded = quote(platform_id, safe="")
    return encoded.replace(".", "%2E") if set(encoded) == {"."} else encoded


def _filled(surface: str, cover_id: str, version: int) -> Mapping[str, str]:
    return {"{surface}": surface, "{id}": segment(cover_id), "{version}": str(version)}
