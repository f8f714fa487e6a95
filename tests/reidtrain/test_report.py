"""The papers' tables, and runs beside them."""

import dataclasses
import json

import pytest

from reidtrain.errors import UserError
from reidtrain.overlap import overlaps, read_audit
from reidtrain.protocols import PROTOCOLS
from reidtrain.published import read_published
from reidtrain.report import beside, results_of
from reidtrain.results import ModeResult, Result


def mode(**changes):
    values = {"cmc": (0.6, 0.7, 0.8), "mAP": 0.5, "mINP": 0.4, "chance": 0.01, "queries": 6156, "valid": 6156}
    values |= {"skipped": 0, "lacking": 0, "gallery": 3074, "exclude": "none", "unique_identities": False}
    return ModeResult(**{**values, "trials": 1, "seconds": 1.0, **changes})


def result(**changes):
    values = {"features": "model", "model": "unireid", "backbone": "ViT-B-16:openai", "preset": "unireid", "step": 9}
    values |= {"protocol": "tri-cuhk-pedes", "datasets": ("cuhk-pedes",), "split": "test", "selected_on": "test"}
    values |= {"data": "x", "tables": {}, "modes": {"T->R": mode()}, "left_out": {}, "seconds": 1.0}
    values |= {"trained_on": ("cuhk-pedes",), "image_size": (384, 128), "made_by": {"text": "real", "rgb": "real"}}
    return Result(**{**values, **changes})


@pytest.fixture(scope="module")
def papers():
    return read_published()


def entries(papers, name, table):
    paper = next(one for one in papers if one.name == name)
    return next(one for one in paper.tables if one.table == table).results()


def test_published_figures_stand_where_they_belong(papers):
    """Corners of the tables, read by eye."""

    def values(name, table, method, data, setting):
        found = [e for e in entries(papers, name, table) if (e.method, e.data, e.setting) == (method, data, setting)]
        assert len(found) == 1
        return found[0].values()

    assert [paper.name for paper in papers] == ["AIO", "DMF", "FlexiReID", "UNIReID"]
    flexi = values("FlexiReID", 1, "FlexiReID", "rstpreid", "T+S+I->R")
    assert flexi == {"R1": 76.35, "R5": 90.26, "R10": 95.08, "mAP": 65.19, "mINP": 42.29}
    sysu = values("FlexiReID", 2, "FlexiReID", "sysu-mm01", "I->R, indoor")
    assert sysu == {"R1": 69.2, "R10": 97.2, "R20": 99.1, "mAP": 75.8}
    name = "+ cross-modality interaction (UNIReID)"
    removed = values("UNIReID", 2, name, "cuhk-pedes", "T->R, source removed")
    assert removed == {"R1": 53.82, "mAP": 53.43, "mINP": 44.28}
    assert values("UNIReID", 3, "UNIReID", "cuhk-pedes", "T->R") == {"R1": 68.71, "R5": 85.35, "R10": 90.84}
    assert values("UNIReID", 6, "UNIReID", "pku-sketch", "T+S->R")["mINP"] == 88.97
    assert values("AIO", 6, "AIO", "cuhk-pedes", "T+I+R->R") == {"R1": 57.8, "R5": 78.0, "R10": 86.3}
    assert values("AIO", 7, "AIO", "sysu-mm01", "I->R, all") == {"R1": 57.6, "mAP": 51.9}
    assert values("AIO", 8, "AIO", "pku-sketch", "T+S+I+R->R") == {"R1": 93.8, "mAP": 93.7, "mINP": 90.3}
    name = "pre-training on text and images"
    assert values("DMF", 1, name, "market1501", "R->R") == {"R1": 80.2, "mAP": 52.6}
    assert sum(e.method == "DMF" for e in entries(papers, "DMF", 2)) == 2 + 2 + 2 + 3


def test_published_means_are_the_means_of_their_rows(papers):
    rows = entries(papers, "FlexiReID", 3)
    for method in {entry.method for entry in rows}:
        own = {entry.setting: entry.R1 for entry in rows if entry.method == method}
        assert own.pop("mean of seven") == pytest.approx(sum(own.values()) / 7, abs=0.011)


def test_every_published_row_names_a_protocol_and_a_mode_of_it(papers):
    for paper in papers:
        for table in paper.tables:
            for entry in table.results():
                protocol = PROTOCOLS[entry.protocol]
                names = {one.name for one in protocol.settings}
                assert entry.setting in names | {"mean of seven"} or protocol.other, entry


def test_a_run_like_the_paper_differs_in_nothing(papers):
    found = beside("run", result(), papers)
    (line,) = found.lines
    own = next(row for row in line.published if (row.paper, row.table) == ("UNIReID", 3))
    assert own.differences == ()
    assert own.values["R1"] == 68.71
    assert found.warnings == ("the checkpoint was chosen on test, the split that is reported",)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"backbone": "demo"}, "weights: backbone demo here, ViT-B-16:openai in UNIReID"),
        ({"image_size": (256, 128)}, "weights: input 256x128 here, 384x128 in UNIReID"),
        ({"trained_on": ("icfg-pedes",)}, "weights: trained on icfg-pedes here, on cuhk-pedes in UNIReID"),
        ({"selected_on": "val"}, "weights: checkpoint chosen on val here; in UNIReID on test"),
        ({"features": "frozen"}, "weights: a frozen encoder without training here"),
        ({"model": "aio"}, "weights: model aio here, UNIReID there"),
        ({"split": "val"}, "data: split 'val' here, test in UNIReID"),
        ({"protocol": "generic"}, "protocol: generic here, tri-cuhk-pedes there"),
        ({"rerank": "k-reciprocal 20,6,0.3"}, "protocol: k-reciprocal 20,6,0.3 here, no re-ranking there"),
        (
            {"made_by": {"text": "caption template"}},
            "data: text made by caption template here, by the data set's own in",
        ),
        (
            {"modes": {"T->R": mode(exclude="source-image")}},
            "protocol: the source image is removed here, nothing is hidden there",
        ),
        (
            {"modes": {"T->R": mode(queries=100, valid=100, gallery=50)}},
            "data: 100 queries and 50 gallery images here, 6156 and 3074 in a complete copy",
        ),
        ({"modes": {"T->R": mode(lacking=3)}}, "data: 3 query rows lack a modality here and did not ask"),
    ],
)
def test_each_difference_is_named(papers, changes, told):
    found = beside("run", result(**changes), papers)
    row = next(row for row in found.lines[0].published if (row.paper, row.table) == ("UNIReID", 3))
    assert any(difference.startswith(told) for difference in row.differences), row.differences
    assert told in found.text().replace("\n", " ")
    assert told in found.text(as_markdown=True)


def test_other_data_stand_beside_the_own_paper_and_say_so(papers):
    found = beside("run", result(datasets=("demo",), model="flexireid", modes={"S+I->R": mode()}), papers)
    (row,) = found.lines[0].published
    assert (row.paper, row.data) == ("FlexiReID", "cuhk-pedes")
    assert "data: demo here, cuhk-pedes in FlexiReID" in row.differences


def test_all_methods_are_shown_on_request(papers):
    few, many = (beside("run", result(), papers, every_method=every).lines[0].published for every in (False, True))
    assert len(many) > 20 > len(few)
    assert "LGUR" in {row.method for row in many}


def test_overlap_follows_the_containment_of_data_sets(papers):
    assert overlaps(["market-sketch-1k", "synth-pedes", "llcm"], ["market1501"]) == [
        "market-sketch-1k (trained on) and market1501 (evaluated) share photographs of market1501"
    ]
    assert overlaps(["cuhk-pedes"], ["market-sketch-1k"])[0].endswith("share photographs of market1501")
    assert overlaps(["icfg-pedes"], ["rstpreid"])[0].endswith("of msmt17")
    assert overlaps(["cuhk-pedes"], ["cuhk-pedes"]) == overlaps(["llcm"], ["sysu-mm01"]) == []
    warned = beside("run", result(trained_on=("market1501",), selected_on=None), papers)
    assert warned.warnings[0].startswith("overlap: market1501 (trained on) and cuhk-pedes (evaluated)")
    assert "overlap is unknown" in beside("run", result(trained_on=()), papers).text()


def test_an_audit_tells_of_images_that_training_and_evaluation_share(papers, tmp_path):
    def part(name, datasets, *, trained_on=False):
        return {"name": name, "datasets": datasets, "trained_on": trained_on}

    def overlap(first, second, *, leak=True):
        return {"first": first, "second": second, "leak": leak, "people": 2, "equal": [5, 5], "near": [1, 1]}

    audit = {
        "parts": [
            part("tri:train", {"cuhk-pedes": 9}, trained_on=True),
            part("tri:test", {"cuhk-pedes": 3}),
            part("market:test", {"market1501": 3}),
        ],
        "overlaps": [overlap("tri:train", "tri:test"), overlap("tri:train", "market:test")],
    }
    file = tmp_path / "audit.json"
    file.write_text(json.dumps(audit))
    warnings = beside("run", result(), papers, audit=read_audit(file)).warnings
    assert warnings[0] == "overlap by content: tri:train and tri:test share 2 people, 5 equal and 1 near images"
    assert not any("market" in warning for warning in warnings)
    audit["overlaps"][0]["leak"] = False
    assert not any("by content" in one for one in beside("run", result(), papers, audit=audit).warnings)
    file.write_text("[]")
    with pytest.raises(UserError, match="is no report of an audit"):
        read_audit(file)


def test_results_are_found_in_run_folders(tmp_path):
    result().save(tmp_path / "run" / "results")
    ((file, found),) = results_of(tmp_path / "run")
    assert found == result()
    assert results_of(file)[0][1] == result()
    with pytest.raises(UserError, match="holds no results: make them with"):
        results_of(tmp_path)


def test_bad_tables_are_told_with_every_mistake(tmp_path):
    with pytest.raises(UserError, match="holds no published tables"):
        read_published(tmp_path)
    (tmp_path / "x.yaml").write_text("paper: A\ntables: [{table: one}]\n")
    with pytest.raises(UserError, match=r"x.yaml is not a paper's tables \(.*name: .*tables.0.table"):
        read_published(tmp_path)
    (tmp_path / "x.yaml").write_text("a: [")
    with pytest.raises(UserError, match="can't be read"):
        read_published(tmp_path)


def test_a_result_without_its_queries_is_what_the_file_holds():
    assert dataclasses.asdict(mode())["per_query"] == ()
