"""What a data set's owners allow: changing it, sending it out, publishing it; and what follows for a manifest."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

from reidsynth.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from reidsynth.manifest import ManifestInfo, TableInfo

Release = Literal["public", "gated", "private", "never"]
Visibility = Literal["public", "gated", "private"]

VISIBILITIES: tuple[Visibility, ...] = ("private", "gated", "public")
_ORDER: tuple[Release, ...] = ("never", "private", "gated", "public")


@dataclass(frozen=True, slots=True)
class Policy:
    """Terms of one source, or of the data that weights were trained on.

    Args:
        licence: SPDX name, or a sentence where there is none.
        modify: whether derived images may be made.
        egress: whether pixels may be sent to an external service.
        release: table's modality -> how the data set's own table may be published; what is not named follows
            `default_release`. The name `protocol` stands for the lists that evaluation needs (`reidsynth.protocol`).
        default_release: for every modality that `release` does not name.
        note: one sentence for the dataset card.
        derived: modality -> how a table that a step made from this data may be published; what is not named follows
            `default_derived`.
        default_derived: for every modality that `derived` does not name. None: as `default_release`, but `private`
            where that is `never` (the owners' "no redistribution" speaks of handing data to others, which a private
            repository does not do), and `never` where nothing derived may be made.
    """

    licence: str
    modify: bool = True
    egress: bool = False
    release: dict[str, Release] = field(default_factory=dict)
    default_release: Release = "never"
    note: str = ""
    derived: dict[str, Release] = field(default_factory=dict)
    default_derived: Release | None = None

    def release_of(self, modality: str, origin: str = "real") -> Release:
        """How openly a table may be published, at most.

        Args:
            modality: of the table.
            origin: `real` for the data set's own table, `synthetic` for what a step made from it.
        """
        if origin == "real":
            return self.release.get(modality, self.default_release)
        if not self.modify:
            return "never"
        if self.default_derived is not None:
            return self.derived.get(modality, self.default_derived)
        fallback: Release = "private" if self.default_release == "never" else self.default_release
        return self.derived.get(modality, fallback)

    def as_dict(self) -> dict[str, Any]:
        """The policy as JSON values, for `manifest.json`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Policy:
        """Read what `as_dict` gave; keys that this release does not know are left out."""
        known = {item.name for item in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in known})


def strictest(releases: Iterable[Release]) -> Release:
    """The least open of several.

    Example:
        >>> strictest(["public", "private", "gated"])
        'private'
    """
    return min(releases, key=_ORDER.index, default="never")


def permits(release: Release, visibility: Visibility) -> bool:
    """Whether what may be published like this may go into a repository that is visible like that.

    Example:
        >>> permits("gated", "private"), permits("gated", "public")
        (True, False)
    """
    return _ORDER.index(release) >= _ORDER.index(visibility)


def combined(policies: Iterable[Policy]) -> Policy:
    """Terms of data that come from several sources: of each rule the strictest.

    Args:
        policies: at least one.
    """
    every = list(policies)
    if len({str(policy.as_dict()) for policy in every}) == 1:
        return every[0]

    def over(name: str, origin: str) -> dict[str, Release]:
        modalities = sorted({modality for policy in every for modality in getattr(policy, name)})
        return {modality: strictest(p.release_of(modality, origin) for p in every) for modality in modalities}

    return Policy(
        licence="; ".join(dict.fromkeys(policy.licence for policy in every)),
        modify=all(policy.modify for policy in every),
        egress=all(policy.egress for policy in every),
        release=over("release", "real"),
        default_release=strictest(policy.default_release for policy in every),
        note=" ".join(dict.fromkeys(policy.note for policy in every if policy.note)),
        derived=over("derived", "synthetic"),
        default_derived=strictest(policy.release_of("", "synthetic") for policy in every),
    )


def policy_of(info: ManifestInfo) -> Policy:
    """Terms of a manifest: of its source, or the strictest of all where it was merged."""
    return Policy.from_dict(info.source.policy)


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether one table may be published.

    Args:
        table: its name.
        release: how openly it may be published, at most.
        because: whose terms say so.
    """

    table: str
    release: Release
    because: str

    def refusal(self, visibility: Visibility) -> str:
        """Why it may not go into a repository of that visibility; "" where it may."""
        if permits(self.release, visibility):
            return ""
        if self.release == "never":
            return f"never published: {self.because}"
        return f"at most in a {self.release} repository, and this one is {visibility}: {self.because}"


def decide(info: ManifestInfo, table: TableInfo) -> Decision:
    """How openly a table may be published: what its sources and the terms of its weights allow.

    A table that a step made from another table follows the terms for derived data; a real table (`rgb`, captions by
    people) follows those of the data set itself.

    Args:
        info: of the manifest.
        table: one of its tables.
    """
    origin = "real" if table.step is None else "synthetic"
    found: list[tuple[Release, str]] = []
    for source in info.sources:
        policy = Policy.from_dict(source.policy)
        found.append((policy.release_of(table.modality, origin), f"{source.dataset} ({policy.licence})"))
    if table.step is not None and table.step.terms:
        weights = Policy.from_dict(table.step.terms)
        data = f"the data that its weights were trained on ({weights.licence})"
        found.append((weights.release_of(table.modality, "synthetic"), data))
    release, because = min(found, key=lambda item: _ORDER.index(item[0]))
    return Decision(table.name, release, because)


def check_egress(policies: Mapping[str, Policy], *, allowed: bool, where: str) -> None:
    """Refuse to send pixels out unless the user asked for it and every data set permits it.

    Args:
        policies: data set -> its terms.
        allowed: whether the user gave `--allow-egress`.
        where: who would receive the pixels.

    Raises:
        UserError: when one of the two is missing.
    """
    refused = sorted(name for name, policy in policies.items() if not policy.egress)
    if refused:
        raise UserError(
            f"the terms of {', '.join(refused)} do not allow sending its images to {where}: use a model on your own "
            "machine instead"
        )
    if not allowed:
        raise UserError(f"this sends images to {where}: add --allow-egress if you may and want to do that")


def visibility(value: str) -> Visibility:
    """Check a visibility.

    Raises:
        UserError: when it is none of VISIBILITIES.
    """
    if value not in VISIBILITIES:
        raise UserError(f"--visibility {value!r} is not known: it is one of {', '.join(VISIBILITIES)}")
    return value
