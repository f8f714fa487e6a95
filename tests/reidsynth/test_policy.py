"""Who may publish what: worked cases of the terms."""

from __future__ import annotations

import pytest

from reidsynth.errors import UserError
from reidsynth.manifest import ManifestInfo, SourceInfo, StepInfo, TableInfo
from reidsynth.policy import Policy, check_egress, combined, decide, permits, strictest

RESTRICTED = Policy("academic use; no redistribution", derived={"text": "gated"})
OPEN = Policy("Apache-2.0", egress=True, default_release="public")


def info(*policies, step=None):
    sources = tuple(
        SourceInfo(name=f"s{n}", version=1, dataset=f"d{n}", parameters={}, policy=policy.as_dict())
        for n, policy in enumerate(policies)
    )
    table = TableInfo(name="sketch", modality="sketch", origin="synthetic", step=step, counts={}, shards=())
    return ManifestInfo(name="m", source=sources[0], merged=sources[1:] and sources, splits={}, captures=(), tables={
        "sketch": table
    }), table  # fmt: skip


STEP = StepInfo(name="build-sketch", method="m", version=1, parameters={})


def test_what_a_step_made_follows_other_terms_than_the_photographs():
    assert RESTRICTED.release_of("rgb") == "never"
    assert RESTRICTED.release_of("sketch", "synthetic") == "private"
    assert RESTRICTED.release_of("text", "synthetic") == "gated"
    assert RESTRICTED.release_of("text") == "never"  # the owners' own sentences
    assert OPEN.release_of("sketch", "synthetic") == "public"
    assert Policy("none", modify=False, default_release="public").release_of("sketch", "synthetic") == "never"


def test_policy_survives_json_and_unknown_keys():
    assert Policy.from_dict(RESTRICTED.as_dict() | {"later": 1}) == RESTRICTED
    assert Policy.from_dict({"licence": "old"}) == Policy("old")  # a manifest written before `derived` existed


@pytest.mark.parametrize(
    ("release", "visible", "may"),
    [
        ("never", "private", False),
        ("private", "private", True),
        ("private", "gated", False),
        ("gated", "public", False),
    ],
)
def test_permits(release, visible, may):
    assert permits(release, visible) is may


def test_merged_terms_are_the_strictest_of_each_rule():
    both = combined([RESTRICTED, OPEN])
    assert both.release_of("rgb") == "never"
    assert both.release_of("text", "synthetic") == "gated"
    assert both.release_of("sketch", "synthetic") == "private"
    assert not both.egress
    assert both.licence == "academic use; no redistribution; Apache-2.0"
    assert strictest([]) == "never"


def test_decision_names_the_source_that_forbids():
    described, table = info(OPEN, RESTRICTED, step=STEP)
    decision = decide(described, table)
    assert decision.release == "private"
    assert decision.refusal("private") == ""
    assert decision.refusal("public") == (
        "at most in a private repository, and this one is public: d1 (academic use; no redistribution)"
    )


def test_terms_of_weights_bind_what_they_made():
    trained = STEP.model_copy(update={"terms": Policy("non-commercial", default_derived="gated").as_dict()})
    described, table = info(OPEN, step=trained)
    assert decide(described, table).release == "gated"
    assert "its weights were trained on (non-commercial)" in decide(described, table).because


def test_a_real_table_follows_the_owners_not_the_derived_terms():
    described, table = info(RESTRICTED)  # no step: the data set's own sketch
    assert decide(described, table).refusal("private").startswith("never published: d0")


def test_egress_needs_both_permission_and_the_users_word():
    with pytest.raises(UserError, match=r"terms of b do not allow sending its images to api\.test"):
        check_egress({"a": OPEN, "b": RESTRICTED}, allowed=True, where="api.test")
    with pytest.raises(UserError, match="add --allow-egress"):
        check_egress({"a": OPEN}, allowed=False, where="api.test")
    check_egress({"a": OPEN}, allowed=True, where="api.test")


def test_whoever_owns_a_folder_states_its_terms(run, tmp_path):
    from fixtures import write_image

    from reidsynth.ingest import ingest
    from reidsynth.release import plan_release

    write_image(tmp_path / "crops" / "1_a.jpg")
    given = {"root": str(tmp_path / "crops"), "pattern": "{pid}_{_}"}
    silent = ingest(tmp_path / "a", "folder", given, run=run)
    assert plan_release(silent, visibility="public", full=True).refused["rgb"].startswith("at most in a private")
    stated = ingest(tmp_path / "b", "folder", given | {"licence": "CC-BY-4.0", "release": "public"}, run=run)
    assert plan_release(stated, visibility="public", full=True).refused == {}
    assert "license: cc-by-4.0" in (tmp_path / "b/README.md").read_text()
    assert not stated.info.source.policy["egress"]
    with pytest.raises(UserError, match="parameter 'release': input should be 'public', 'gated', 'private' or 'never'"):
        ingest(tmp_path / "c", "folder", given | {"release": "open"}, run=run)
