"""Which steps go over the rows together, and what the manifest tells of each."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

from reidsynth import gates, rows
from reidsynth.manifest import StepInfo
from reidsynth.passes import Planned
from reidsynth.steps import GatheringStep, Step, build_step, gated, note, terms

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from reidsynth.schema import TableSpec

Asked = tuple[str, str, "Mapping[str, Any]"]
"""Name, method and parameters of a step."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A step as it was asked for.

    Args:
        step: the step.
        spec: of its table, with the thresholds that were asked for.
        weights: checksums of its weights.
    """

    step: Step
    spec: TableSpec
    weights: dict[str, str]

    @property
    def shares(self) -> bool:
        """Whether it may go over the rows together with others: beside a network, decoding costs nothing."""
        return not self.weights and not isinstance(self.step, GatheringStep)


def entries(asked: Sequence[Asked]) -> list[Entry]:
    """Build steps, and read their weights for the checksums.

    Raises:
        UserError: for a wrong parameter of any step, before any weights are read; for weights that are not there.
    """
    built = [(build_step(*step), step[2]) for step in asked]
    return [Entry(step, gated(step, parameters), step.weights()) for step, parameters in built]


def together(found: Sequence[Entry]) -> list[list[Entry]]:
    """Neighbours that may share a pass; captions end one, since their verdicts need the whole table."""
    groups: list[list[Entry]] = []
    for entry in found:
        before = groups[-1] if groups else []
        names = {other.spec.name for other in before}
        ended = not before or not before[-1].shares or before[-1].spec.kind == "text"
        if ended or not entry.shares or entry.spec.name in names:
            groups.append([entry])
        else:
            before.append(entry)
    return groups


def planned(group: Sequence[Entry], tables: Iterable[str]) -> list[Planned]:
    """Steps of one pass as they are to run.

    Args:
        group: the steps, in order.
        tables: that are there before the first of them.

    Raises:
        UserError: a step's inputs are not there.
    """
    names = dict.fromkeys(tables)
    plan = []
    for entry in group:
        step, spec = entry.step, entry.spec
        made = StepInfo(
            name=step.name,
            method=step.method,
            version=step.version,
            parameters=rows.portable(step.parameters()),  # weights are known by their checksums, not by their place
            weights=entry.weights,
            gate=gates.VERSION,
            gates=dict(spec.limits),
            terms=terms(step),
            note=note(step),
            inputs=step.inputs(tuple(names)),
        )
        fields = json.dumps(rows.plain(asdict(cast("Any", step))), sort_keys=True)
        plan.append(Planned(spec, made, fields, json.dumps(entry.weights) if entry.weights else ""))
        names[spec.name] = None
    return plan
