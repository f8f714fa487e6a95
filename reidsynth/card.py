"""The dataset card of a manifest or of a release, generated from its description."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from reidsynth.policy import Policy, Visibility
from reidsynth.previews import PREVIEW_FILE, write_preview
from reidsynth.qualitycard import line, quality_section
from reidsynth.storage import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from reidsynth.manifest import ManifestInfo, SourceInfo, TableInfo

__all__ = ["PREVIEW_FILE", "ReleaseNotes", "write_card"]

SPDX = ("Apache-2.0", "MIT", "CC0-1.0", "CC-BY-4.0", "CC-BY-NC-4.0", "CC-BY-NC-SA-4.0")

USE = """\
## Intended use and privacy

This data set is for research on person re-identification and for evaluating it. It shows people, drawn or
photographed: it must not be used to identify, track or profile anyone without a lawful basis, and its own terms
(above) bind everything derived from it. Synthetic modalities are made from the photographs by the steps named above;
they are not measurements, and a model that does well on them has not been shown to do well on real infrared images,
sketches or descriptions.
"""

TAKE_DOWN = """\
## Take-down

Whoever is shown here, or holds rights in a source, can have rows removed: {contact}, with the
`sample_id` or the `pid` if known. The publisher removes such rows from every table (`reidsynth select`) and pushes what
is left with `--replace --forget`, which drops the history of this repository too; whoever has a copy is asked to pull
again.
"""

NO_CONTACT = "open a discussion in this repository"

GATED = (
    "Access is given for research on person re-identification. By asking for it you agree to the terms of every source "
    "named in this card, to identify nobody, and not to pass the data on."
)


@dataclass(frozen=True, slots=True)
class ReleaseNotes:
    """What the card of a release says besides.

    Args:
        visibility: of the repository.
        refused: table -> why it is not in it.
        contact: where people ask for a take-down; the repository's discussions by default.
        repository: its name.
    """

    visibility: Visibility
    refused: Mapping[str, str] = field(default_factory=dict)
    contact: str = ""
    repository: str = "REPOSITORY"


def contact_in(card: str) -> str:
    """Where a released card lets people ask for a take-down; "" for the repository's discussions, and for no card."""
    before, _, after = TAKE_DOWN.partition("{contact}")
    _, _, told = card.partition(before)
    contact = told.partition(after.split("\n", 1)[0])[0]
    return "" if contact == NO_CONTACT else contact


def write_card(
    folder: Path, info: ManifestInfo, *, out: Path | None = None, release: ReleaseNotes | None = None
) -> None:
    """Write `README.md` and the preview of a manifest; equal descriptions give equal bytes.

    Args:
        folder: of the manifest.
        info: what to describe; only tables that it names are shown.
        out: where to write; the manifest's own folder by default.
        release: what a published card says besides.
    """
    target = folder if out is None else out
    write_preview(folder, info, out=target)
    front = yaml.safe_dump(_front_matter(info, release), sort_keys=False, allow_unicode=True, width=110)
    parts = [f"---\n{front}---\n\n# {info.name}\n", info.about, _loading(info, release), _terms(info), _origin(info)]
    parts += [_statistics(info), _generators(info), quality_section(info), USE]
    if release is not None:
        contact = release.contact or NO_CONTACT
        parts += [_missing(info, release), TAKE_DOWN.format(contact=contact)]
    write_text(target / "README.md", "\n".join(part.rstrip() + "\n" for part in parts if part))


def _front_matter(info: ManifestInfo, release: ReleaseNotes | None) -> dict[str, Any]:
    preview = {"config_name": "preview", "default": True}
    configs: list[dict[str, Any]] = [preview | {"data_files": [{"split": "preview", "path": PREVIEW_FILE}]}]
    for name in ("captures", *info.tables):
        splits = dict.fromkeys(shard.split for shard in info.shards_of(name))
        files = [{"split": split, "path": f"{name}/{split}-*.parquet"} for split in splits]
        configs.append({"config_name": name, "data_files": files})
    licence = str(info.source.policy.get("licence", "other"))
    values: dict[str, Any] = {
        "pretty_name": info.name,
        "license": licence.lower() if licence in SPDX else "other",
        "task_categories": ["image-feature-extraction"],
        "tags": ["person-re-identification", *sorted({table.modality for table in info.tables.values()})],
    }
    if release is not None and release.visibility == "gated":
        values["extra_gated_prompt"] = GATED
    return values | {"configs": configs}


def _loading(info: ManifestInfo, release: ReleaseNotes | None) -> str:
    table = next((name for name in info.tables if name.startswith("sketch-")), next(iter(info.tables), "captures"))
    split = next(iter(info.splits))
    place = "FOLDER_OR_REPOSITORY" if release is None else release.repository
    return (
        "One table for each modality; row *n* of every table is capture *n*.\n\n```python\nfrom datasets import "
        f'load_dataset\n\nrows = load_dataset("{place}", "{table}", split="{split}")\n```\n'
    )


def _terms(info: ManifestInfo) -> str:
    lines = ["## Terms", ""]
    for source in info.sources:
        lines += _source_terms(source)
    for table in info.tables.values():
        if table.step is not None and table.step.terms:
            terms = Policy.from_dict(table.step.terms)
            told = f"- `{table.name}` was made by weights trained on data under: {terms.licence}. {terms.note}"
            lines.append(told.rstrip())
    if len(info.sources) > 1:
        lines.append("- Of several terms the strictest holds for every table.")
    return "\n".join(lines)


def _source_terms(source: SourceInfo) -> list[str]:
    policy = Policy.from_dict(source.policy)
    own = _rules(policy.release, policy.default_release)
    derived = {name: policy.release_of(name, "synthetic") for name in policy.derived}
    return [
        f"- Source: `{source.dataset}`, read by `{source.name}` version {source.version}.",
        f"  - Licence: {' '.join(policy.licence.split())}. {policy.note}".rstrip(),
        f"  - Release of its own tables: {own}.",
        f"  - Release of what is made from them: {_rules(derived, policy.release_of('', 'synthetic'))}.",
        *([f"  - Gates other than the default: {_limits(source.gates)}."] if source.gates else []),
    ]


def _rules(named: Mapping[str, str], otherwise: str) -> str:
    told = "".join(f"{modality}: {how}, " for modality, how in named.items())
    return f"{told}everything else: {otherwise}" if told else otherwise


def _origin(info: ManifestInfo) -> str:
    """How rows were chosen or joined, where they were."""
    lines = []
    if info.merged:
        lines.append(f"Merged from {', '.join(f'`{source.dataset}`' for source in info.merged)}.")
    for selection in info.selections:
        rules = "; ".join(f"{name} {value}" for name, value in selection.items())
        lines.append(f"Rows selected by: {rules}.")
    return "\n".join(lines)


def _statistics(info: ManifestInfo) -> str:
    lines = ["## Statistics", "", "| split | captures | identities | roles |", "|---|---|---|---|"]
    for split, size in info.splits.items():
        roles = ", ".join(f"{role} {count}" for role, count in size.roles.items())
        lines.append(f"| {split} | {size.rows} | {size.identities} | {roles} |")
    if info.tables:
        lines += ["", "| table | origin | split | pass | fail | absent | error |", "|---|---|---|---|---|---|---|"]
    for name, table in info.tables.items():
        origin = f"{table.origin} ({table.spectrum})" if table.spectrum else table.origin
        for split, counts in table.counts.items():
            cells = " | ".join(str(counts.get(verdict, 0)) for verdict in ("pass", "fail", "absent", "error"))
            lines.append(f"| {name} | {origin} | {split} | {cells} |")
    if info.source.dropped:
        left_out = ", ".join(f"{count} {reason}" for reason, count in info.source.dropped.items())
        lines += ["", f"Left out by the reader: {left_out}."]
    lists = [f"`{entry.file}`" for files in info.protocol.values() for entry in files.values()]
    if lists:
        lines += ["", f"Lists for evaluation: {', '.join(lists)}."]
    return "\n".join(lines)


def _generators(info: ManifestInfo) -> str:
    made = [table for table in info.tables.values() if table.step is not None]
    if not made:
        return ""
    lines = [
        "## Generators and gates",
        "",
        "| table | step | model | revision | weights (sha256) |",
        "|---|---|---|---|---|",
    ]
    lines += [_generator_row(table) for table in made]
    lines.append("")
    for table in made:
        lines.append(_generator(table))
        reasons = "; ".join(f"{reason}: {count}" for reason, count in table.reasons.items())
        lines += [f"  - rows without a pass: {reasons}"] if reasons else []
    return "\n".join(lines)


def _generator_row(table: TableInfo) -> str:
    step = table.step
    assert step is not None  # the caller keeps made tables only
    model = step.parameters.get("model") or ("no weights" if not step.weights else step.method)
    weights = "<br>".join(f"{file}: `{digest}`" for file, digest in step.weights.items()) or "-"
    revision = step.parameters.get("revision") or "-"
    return line((f"`{table.name}`", f"{step.name} {step.method} v{step.version}", model, revision, weights))


def _generator(table: TableInfo) -> str:
    step = table.step
    assert step is not None  # the caller keeps made tables only
    parameters = ", ".join(f"{name}={value}" for name, value in step.parameters.items()) or "no parameters"
    inputs = ", ".join(f"`{name}`" for name in step.inputs)
    about = f"; {step.note}" if step.note else ""
    about += f"; gates other than the default: {_limits(step.gates)}" if step.gates else ""
    made = f"{step.name} {step.method} version {step.version} from {inputs}"
    return f"- `{table.name}`: {made} ({parameters}){about}"


def _limits(gates: Mapping[str, float | None]) -> str:
    return ", ".join(f"{name} {'never' if limit is None else f'{limit:g}'}" for name, limit in gates.items())


def _missing(info: ManifestInfo, release: ReleaseNotes) -> str:
    if not release.refused:
        return ""
    lines = ["## What is not here", "", "| table | why |", "|---|---|"]
    lines += [line((name, why)) for name, why in release.refused.items()]
    own = [name for name in release.refused if name in info.withheld and info.withheld[name].step is None]
    if own:
        lines += [
            "",
            "Whoever holds the data set joins its own tables by the checksums of its files (`captures.source_sha256`):",
            "",
            "```bash",
            f"reidsynth rehydrate {release.repository} FOLDER_OF_THE_DATA_SET --out data/joined",
            "```",
        ]
    return "\n".join(lines)
