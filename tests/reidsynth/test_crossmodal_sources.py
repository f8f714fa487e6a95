"""SYSU-MM01, LLCM, RegDB, LLVIP: captures of visible and of infrared cameras."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from layouts import llcm, llvip, regdb, sysu_mm01

from reidsynth import images, open_manifest
from reidsynth.errors import UserError
from reidsynth.ingest import ingest
from reidsynth.sources import build_source, dropped, inconsistencies, protocol_of


def source(name, root, **parameters):
    return build_source(name, {"root": str(root), **parameters})


def verified(source):
    """What the source itself complains about."""
    return list(inconsistencies(source))


def told(records):
    return [(r.sample_id, r.pid, r.camid, r.role, r.modality) for r in records]


class TestSysu:
    @pytest.fixture
    def root(self, tmp_path):
        return sysu_mm01(tmp_path)

    def test_people_of_the_lists_cameras_and_what_each_saw(self, root):
        sysu = source("sysu-mm01", root)
        assert sysu.splits() == ("train", "val", "test")
        assert {r.pid for r in sysu.records("train")} == {1, 12}
        assert {r.pid for r in sysu.records("val")} == {333}
        test = told(sysu.records("test"))
        assert ("sysu-mm01/cam3/0002/0001", 2, 3, "query", "ir") in test
        assert ("sysu-mm01/cam2/0010/0002", 10, 2, "gallery", "rgb") in test
        assert {(camid, role, modality) for _, _, camid, role, modality in test} == {
            (1, "gallery", "rgb"),
            (2, "gallery", "rgb"),
            (3, "query", "ir"),
            (4, "gallery", "rgb"),
            (5, "gallery", "rgb"),
            (6, "query", "ir"),
        }
        assert len(test) == 2 * (4 + 5)
        assert [r.sample_id for r in sysu.records("test")] == sorted(r.sample_id for r in sysu.records("test"))

    def test_people_outside_the_lists_are_left_out_and_counted(self, root):
        assert dropped(source("sysu-mm01", root)) == {"image of a person whom no list names": 4}

    def test_infrared_captures_are_rows_of_their_own(self, root, tmp_path, run):
        manifest = ingest(tmp_path / "m", "sysu-mm01", {"root": str(root)}, run=run)
        captures = manifest.captures("test").to_pylist()
        assert manifest.tables["ir"].spectrum == "nir"
        rgb, infrared = manifest.table("rgb", "test"), manifest.table("ir", "test")
        for row, capture in enumerate(captures):
            saw, blind = (rgb, infrared) if capture["modality"] == "rgb" else (infrared, rgb)
            assert saw[row]["image"]["bytes"] == (root / capture["source_path"]).read_bytes()
            assert (blind[row]["image"], blind[row]["verdict"]) == (None, "absent")
            assert (capture["width"], capture["height"]) == (32, 64)

    def test_val_may_train(self, root):
        sysu = source("sysu-mm01", root, val_in_train=True)
        assert sysu.splits() == ("train", "test")
        assert {r.pid for r in sysu.records("train")} == {1, 12, 333}
        assert {r.role for r in sysu.records("train")} == {"train"}
        assert sysu.records("test") == source("sysu-mm01", root).records("test")
        assert protocol_of(sysu)["val-id"] == [333]
        assert verified(sysu) == []

    def test_lists_are_kept_for_evaluation(self, root, tmp_path, run):
        ingest(tmp_path / "m", "sysu-mm01", {"root": str(root)}, run=run)
        lists = open_manifest(tmp_path / "m").protocol("sysu-mm01")
        assert lists == {
            "train-id": [1, 12],
            "val-id": [333],
            "test-id": [2, 10],
            "available-id": [1, 2, 10, 12, 333],
        }

    def test_official_permutations_are_kept_by_camera_and_person(self, root):
        from scipy.io import savemat

        cells = np.empty((6, 1), object)
        for camera in range(6):
            people = np.empty((3, 1), object)
            people[:, 0] = [np.zeros((0, 0)), np.array([[1, 2], [2, 1]]), np.array([[1], [1]])]
            cells[camera, 0] = people
        savemat(root / "exp" / "rand_perm_cam.mat", {"rand_perm_cam": cells})
        kept = protocol_of(source("sysu-mm01", root))["rand-perm-cam"]
        assert len(kept) == 6
        assert kept[2] == [[], [[1, 2], [2, 1]], [[1], [1]]]

    def test_matlab_lists_serve_where_text_is_missing(self, root):
        from scipy.io import savemat

        (root / "exp" / "val_id.txt").unlink()
        savemat(root / "exp" / "val_id.mat", {"id": np.array([[333]], np.uint16)})
        assert {r.pid for r in source("sysu-mm01", root).records("val")} == {333}

    def test_without_the_list_of_val_nothing_is_guessed(self, root):
        (root / "exp" / "val_id.txt").unlink()
        with pytest.raises(UserError, match=r"lacks exp/val_id\.txt: the splits can't be told from the images"):
            source("sysu-mm01", root).records("train")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("1,x,3", "must hold person numbers separated by commas, and holds 'x'"),
            ("", "and holds ''"),
            ("1,1", "names 1 twice"),
            ("1,99999999999999999999", "holds '99999999999999999999'"),
            ("2,12", r"person 12 is in exp/train_id and exp/test_id"),
        ],
    )
    def test_hostile_lists(self, root, text, message):
        (root / "exp" / "test_id.txt").write_text(text)
        with pytest.raises(UserError, match=message):
            source("sysu-mm01", root).records("train")

    def test_trailing_comma_and_spaces_are_harmless(self, root):
        (root / "exp" / "test_id.txt").write_text("2, 10,\r\n")
        assert {r.pid for r in source("sysu-mm01", root).records("test")} == {2, 10}

    def test_missing_camera_is_named(self, root):
        shutil.rmtree(root / "cam6")
        with pytest.raises(UserError, match="is not SYSU-MM01: it lacks cam6 and holds cam1, cam2"):
            source("sysu-mm01", root).records("train")


class TestLlcm:
    @pytest.fixture
    def root(self, tmp_path):
        return llcm(tmp_path)

    def test_labels_of_the_lists_say_who_is_who(self, root):
        records = source("llcm", root).records("train")
        assert {(r.source_path.split("/")[1], r.pid) for r in records} == {("0003", 3), ("0005", 5), ("0008", 3)}
        assert {(r.camid, r.modality) for r in records if r.pid == 5} == {(2, "rgb"), (2, "ir")}
        assert {r.role for r in records} == {"train"}

    def test_either_modality_asks_in_the_test(self, root):
        records = source("llcm", root).records("test")
        assert told(records)[0] == (
            "llcm/test_nir/cam1/0020/0020_c01_s200000_f1_nir",
            20,
            1,
            "query+gallery",
            "ir",
        )
        assert {(r.pid, r.camid, r.modality) for r in records} == {
            (20, 1, "ir"),
            (20, 1, "rgb"),
            (20, 3, "rgb"),
            (21, 2, "rgb"),
            (21, 4, "rgb"),
            (21, 2, "ir"),
            (21, 4, "ir"),
        }

    def test_people_and_images_outside_the_lists_are_counted(self, root):
        shutil.copy(root / "vis/0003/0003_c01_s100000_f1_vis.jpg", root / "vis/0003/0003_c01_s100000_f9_vis.jpg")
        assert dropped(source("llcm", root)) == {
            "test image of a person whom test_id.txt does not name": 2,
            "training image that no list names": 1,
        }

    def test_lists_are_kept_for_evaluation(self, root):
        lists = protocol_of(source("llcm", root))
        assert lists["test-id"] == [20, 21]
        assert lists["train-nir"][0] == ["llcm/nir/0003/0003_c01_s100000_f1_nir", 0]
        assert set(lists) == {"train-vis", "train-nir", "test-vis", "test-nir", "test-id"}

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("/etc/passwd 3", "line 7: '/etc/passwd 3' is absolute"),
            ("vis/../../x.jpg 3", r"leaves the data set's folder by '\.\.'"),
            ("vis/0003/0003_c01_s100000_f1_vis.jpg 0", "stands there twice"),
            ("vis/0003/0003_c01_s100000_f7_vis.jpg three", "has the label 'three', which is no whole number"),
            ("vis/0003/0003_c01_s100000_f7_vis.jpg", "lacks its label or its path"),
            ("nir/0003/0003_c01_s100000_f7_nir.jpg 0", r"is not vis/<person>/<person>_c<camera>_"),
            ("vis/0003/0003_c01_s100000_f7_vis.jpg 1", "has the label 1, and its folder 0"),
        ],
    )
    def test_hostile_lines_are_named(self, root, line, message):
        with (root / "idx" / "train_vis.txt").open("a") as file:
            file.write(line + "\n")
        with pytest.raises(UserError, match=message):
            source("llcm", root).records("train")


class TestRegDb:
    @pytest.fixture
    def root(self, tmp_path):
        return regdb(tmp_path)

    def test_a_manifest_holds_one_trial(self, root):
        first, second = source("regdb", root), source("regdb", root, trial=2)
        assert {r.pid for r in first.records("train")} == {1, 2}
        assert {r.pid for r in second.records("train")} == {2, 4}
        assert {r.pid for r in second.records("test")} == {1, 3}
        assert told(first.records("test"))[0] == ("regdb/Thermal/3/male_front_t_00010_3", 3, 2, "query+gallery", "ir")
        assert {(r.camid, r.modality) for r in first.records("test")} == {(1, "rgb"), (2, "ir")}

    def test_all_trials_are_kept(self, root):
        kept = protocol_of(source("regdb", root, trial=2))
        assert kept["trial"] == 2
        assert kept["splits"]["1"] == {"train": [1, 2], "test": [3, 4]}
        assert len(kept["splits"]) == 10

    def test_bmp_becomes_png_and_infrared_is_thermal(self, root, tmp_path, run):
        manifest = ingest(tmp_path / "m", "regdb", {"root": str(root)}, run=run)
        assert manifest.tables["ir"].spectrum == "lwir"
        assert images.probe(manifest.table("ir", "test")[0]["image"]["bytes"])[2] == "png"

    def test_trials_are_one_to_ten(self, root):
        with pytest.raises(UserError, match=r"'trial'.*received 11"):
            source("regdb", root, trial=11)

    def test_a_label_of_two_people_is_a_mistake(self, root):
        with (root / "idx" / "train_visible_1.txt").open("a") as file:
            file.write("\nVisible/3/male_front_v_00010_3.bmp 0")
        with pytest.raises(UserError, match=r"'Visible/3/male_front_v_00010_3\.bmp' has the label of person 1"):
            source("regdb", root).records("train")


class TestLlvip:
    @pytest.fixture
    def root(self, tmp_path):
        return llvip(tmp_path)

    def test_pairs_share_a_row(self, root, tmp_path, run):
        manifest = ingest(tmp_path / "m", "llvip", {"root": str(root)}, run=run)
        captures = manifest.captures("train").to_pylist()
        assert [(c["sample_id"], c["camid"]) for c in captures] == [
            ("llvip/visible/train/010001", 1),
            ("llvip/visible/train/010002", 1),
            ("llvip/visible/train/020001", 2),
        ]
        assert len({c["pid"] for c in captures}) == 3  # nobody is identified
        assert manifest.table("rgb", "train")[0]["image"]["bytes"] == (root / "visible/train/010001.jpg").read_bytes()
        assert manifest.table("ir", "train")[0]["image"]["bytes"] == (root / "infrared/train/010001.jpg").read_bytes()
        assert manifest.tables["ir"].spectrum == "lwir"

    def test_halves_of_pairs_keep_their_row_with_the_reason(self, root):
        (root / "infrared/train/010001.jpg").unlink()
        (root / "visible/train/010002.jpg").unlink()
        pairs = source("llvip", root)
        first, second, _ = pairs.records("train")
        assert pairs.read(first).errors == {"ir": "file is missing"}
        assert pairs.read(second).errors == {"rgb": "file is missing"}
        assert pairs.read(second).images["ir"]

    def test_halves_of_another_extension_are_found(self, root):
        (root / "infrared/train/010001.jpg").rename(root / "infrared/train/010001.JPEG")
        pairs = source("llvip", root)
        assert pairs.read(pairs.records("train")[0]).errors == {}

    def test_crops_follow_the_boxes_on_both_sides(self, root):
        crops = source("llvip", root, view="crops")
        records = crops.records("train")
        assert [r.sample_id for r in records] == [
            "llvip/visible/train/010001-001",
            "llvip/visible/train/010001-002",
            "llvip/visible/train/010002-001",
            "llvip/visible/train/020001-001",
        ]
        content = crops.read(records[0])
        whole = images.decode((root / "infrared/train/010001.jpg").read_bytes())
        assert np.array_equal(images.decode(content.images["ir"]), whole[4:60, 2:12])
        assert images.decode(content.images["rgb"]).shape == (56, 10, 3)
        beyond = crops.read(records[1])  # cut at the border
        assert images.decode(beyond.images["rgb"]).shape == (34, 12, 3)
        assert len({r.pid for r in records}) == 4

    def test_box_outside_the_image_keeps_its_row(self, root):
        path = root / "Annotations/010002.xml"
        path.write_text(path.read_text().replace("<xmin>2<", "<xmin>200<").replace("<xmax>12<", "<xmax>220<"))
        crops = source("llvip", root, view="crops")
        content = crops.read(crops.records("train")[2])
        assert set(content.errors) == {"rgb", "ir"}
        assert "lies outside the image of 32x64 pixels" in content.errors["rgb"]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("<annotation><object>", "is no readable XML"),
            ('<!DOCTYPE a [<!ENTITY x "y">]><annotation>&x;</annotation>', "declares a document type or entities"),
            (
                "<a><object><name>person</name><bndbox><xmin>one</xmin></bndbox></object></a>",
                "object 1 has xmin 'one', which is no number",
            ),
            (
                "<a><object><name>person</name><bndbox><xmin>9</xmin><ymin>1</ymin><xmax>9</xmax><ymax>5</ymax></bndbox>"
                "</object></a>",
                "a box without an area",
            ),
            (
                "<a><object><name>person</name><bndbox><xmin>inf</xmin></bndbox></object></a>",
                "object 1 has xmin 'inf', which is no number",
            ),
        ],
    )
    def test_hostile_boxes_are_named(self, root, text, message):
        (root / "Annotations/010002.xml").write_text(text)
        with pytest.raises(UserError, match=rf"1 damaged files: 010002\.xml: .*{message}"):
            source("llvip", root, view="crops").splits() and source("llvip", root, view="crops").records("train")

    def test_image_without_boxes_is_counted(self, root):
        (root / "Annotations/010002.xml").unlink()
        assert dropped(source("llvip", root, view="crops")) == {"image without a file of boxes": 1}
