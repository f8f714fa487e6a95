"""File-name patterns: `{pid}_c{camid}_{_}` or a regular expression, compiled once, every mistake explained."""

from __future__ import annotations

import re
from dataclasses import dataclass

from reidsynth.images import SUFFIXES

FIELDS = {"pid": r"[^/]+?", "camid": r"\d+", "split": r"[^/]+?", "role": r"[^/]+?"}
_ANY = {"_": r"[^/]*", "**": r".*"}
_BRACES = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled pattern.

    Args:
        text: as the user wrote it.
        regex: what paths are matched with.
        whole_path: whether it speaks of the relative path, not only of the file's name.
        with_suffix: whether it speaks of the extension as well.
    """

    text: str
    regex: re.Pattern[str]
    whole_path: bool
    with_suffix: bool

    def match(self, relative: str) -> dict[str, str] | None:
        """Named parts of a path relative to the root; None where it does not match."""
        subject = relative if self.whole_path else relative.rpartition("/")[2]
        if not self.with_suffix:
            subject = subject.rpartition(".")[0]
        found = self.regex.fullmatch(subject)
        return {name: value for name, value in found.groupdict().items() if value is not None} if found else None


def compile_pattern(text: str) -> Pattern:
    r"""Compile a pattern.

    In braces stand `pid` (needed), `camid` (digits), `split`, `role`; `{_}` is anything inside a name, `{**}` anything
    with folders. A pattern with `/` is matched with the whole relative path, another one with the file's name; one
    that ends in an image extension includes it. A text with `(?P<pid>` is a regular expression over the same.

    Args:
        text: `{pid}_c{camid}_{_}`, `{split}/{pid}/{_}.jpg` or `(?P<pid>\d+)_c(?P<camid>\d)`, for example.

    Raises:
        ValueError: saying what is wrong with it.

    Example:
        >>> compile_pattern("{pid}_c{camid}s{_}").match("train/0002_c1s1_000451_03.jpg")
        {'pid': '0002', 'camid': '1'}
        >>> compile_pattern("{split}/{pid}/{_}").match("test/anna/7.png")
        {'split': 'test', 'pid': 'anna'}
    """
    source = text if "(?P<" in text else _from_braces(text)
    try:
        regex = re.compile(source)
    except re.error as error:
        raise ValueError(f"is no valid regular expression ({error})") from None
    unknown = sorted(set(regex.groupindex) - set(FIELDS))
    if unknown:
        raise ValueError(f"has unknown parts {', '.join(unknown)} (valid: {', '.join(FIELDS)}, and {{_}} for anything)")
    if "pid" not in regex.groupindex:
        raise ValueError("names no {pid}, without which nobody knows whom a photograph shows")
    suffix = any(text.lower().endswith(ending) for ending in SUFFIXES) or text.endswith((r"\.\w+", "jpg|png)"))
    return Pattern(text, regex, whole_path="/" in text, with_suffix=suffix)


def _from_braces(text: str) -> str:
    parts, last, seen = [], 0, set()
    for found in _BRACES.finditer(text):
        name = found[1]
        parts.append(re.escape(text[last : found.start()]))
        last = found.end()
        if name in _ANY:
            parts.append(_ANY[name])
        elif name not in FIELDS:
            valid = ", ".join(f"{{{field}}}" for field in (*FIELDS, *_ANY))
            raise ValueError(f"has an unknown part {{{name}}} (valid: {valid})")
        elif name in seen:
            parts.append(f"(?P={name})")
        else:
            parts.append(f"(?P<{name}>{FIELDS[name]})")
            seen.add(name)
    return "".join([*parts, re.escape(text[last:])])
