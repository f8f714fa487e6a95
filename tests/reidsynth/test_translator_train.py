"""Training the translator: killed and resumed exactly, several processes as one, what is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from translator_fixtures import TINY, pair_folders, settings
from typer.testing import CliRunner

from reidsynth import storage
from reidsynth.cli import app
from reidsynth.errors import UserError
from reidsynth.translator import train as loop
from reidsynth.translator.checkpoint import checkpoints, restore
from reidsynth.translator.options import parse_options
from reidsynth.translator.origins import FolderPairs, Stated
from reidsynth.translator.runlog import read_log
from reidsynth.translator.weights import GENERATOR, find_generator, load_generator, read_facts

ROOT = Path(__file__).parents[2]


def options(**more):
    return parse_options({**TINY, **more})


def sets(root, **stated):
    photos, images = pair_folders(root) if not (root / "visible").exists() else (root / "visible", root / "infrared")
    stated = Stated(**{"spectrum": "nir", "licence": "CC-BY-4.0", **stated})
    return [FolderPairs(photos, images, target="ir", stated=stated, pattern="{pid}_c{camid}_{_}", held_out=0.2)]


def trained(root, run, **more):
    return loop.train(sets(root), "ir", run, options=options(**more), progress=False)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A finished run of two epochs of three steps, and its pairs' folder."""
    root = tmp_path_factory.mktemp("translator")
    return root, trained(root, root / "run")


def same_files(one, other):
    names = ("generator.safetensors", "discriminator.safetensors")
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def test_a_run_leaves_a_generator_with_its_facts_a_log_and_sheets(undisturbed):
    _, found = undisturbed
    facts = read_facts(find_generator(str(found.run), purpose="test"))
    assert (facts.target, facts.spectrum, facts.size, facts.epoch, facts.step) == ("ir", "nir", (32, 16), 2, 6)
    assert (facts.pairs, facts.held_out) == (14, 4)
    assert facts.terms["licence"] == "CC-BY-4.0"
    assert set(facts.scores) == {"translator", "luminance", "inverted luminance", "mean training image"}
    assert "14 pairs" in facts.note()
    assert [path.name for path in checkpoints(found.run)] == ["step-00000003", "step-00000006"]
    told = read_log(found.run, "held-out")
    assert [entry["step"] for entry in told] == [3, 6]
    assert told[-1]["translator"] == facts.scores["translator"]
    losses = read_log(found.run, "train")[-1]["losses"]
    weighted = 100 * (losses["generator l1"] + losses["generator ssim"])
    assert losses["generator"] == pytest.approx(losses["generator pixel"] + losses["generator global"] + weighted)
    rates = {entry["epoch"]: entry["lr"] for entry in read_log(found.run, "train")}
    assert rates == pytest.approx({0: 2e-3, 1: 1e-3})
    sheets = sorted((found.run / "sheets").iterdir())
    assert [path.name for path in sheets] == ["epoch-0001.png", "epoch-0002.png"]
    assert len(set(np.asarray(Image.open(sheets[0])).reshape(-1, 3).tolist()[0])) > 1  # it is drawn on
    assert any((found.run / "tb").iterdir())
    assert not (found.run / "pairs").exists()  # a copy of data under their own terms


def test_scores_are_those_of_the_generator_on_the_held_out_pairs(undisturbed):
    from reidsynth.translator.pairs import collect
    from reidsynth.translator.pixels import levels, scaled
    from reidsynth.translator.prepared import fitted
    from reidsynth.translator.scores import closeness

    root, found = undisturbed
    generator = load_generator(found.generator)
    measured = []
    for one, pair in collect(sets(root), 0).held_out:
        photo, target = (torch.from_numpy(fitted(side, (32, 16))) for side in one.read(pair))
        made = levels(generator(scaled(photo.permute(2, 0, 1)[None])))
        measured.append([float(value) for value in closeness(made, target[None, None])])
    psnr, ssim = np.mean(measured, axis=0)
    assert found.facts.scores["translator"] == pytest.approx({"psnr": psnr, "ssim": ssim}, abs=2e-4)


def test_a_run_that_breaks_in_mid_epoch_goes_on_exactly(undisturbed, tmp_path, monkeypatch):
    root, whole = undisturbed
    step, taken = loop.training_step, []

    def breaking(*arguments):
        taken.append(1)
        if len(taken) == 6:
            raise KeyboardInterrupt
        return step(*arguments)

    monkeypatch.setattr(loop, "training_step", breaking)
    with pytest.raises(KeyboardInterrupt):
        trained(root, tmp_path / "run", save_every=2)
    assert checkpoints(tmp_path / "run")[-1].name == "step-00000004"  # in the middle of the second epoch
    monkeypatch.setattr(loop, "training_step", step)
    torch.manual_seed(99)  # whatever the process drew before
    resumed = trained(root, tmp_path / "run", save_every=2)
    assert same_files(resumed.generator.parent, whole.generator.parent)
    finished = resumed.generator.stat().st_mtime_ns
    assert trained(root, tmp_path / "run", save_every=2).generator.stat().st_mtime_ns == finished


def test_another_run_other_data_and_foreign_folders_are_refused(undisturbed, tmp_path):
    root, whole = undisturbed
    with pytest.raises(UserError, match=r"another configuration \(options.lr was 0.002 and is 0.5\)"):
        trained(root, whole.run, lr=0.5)
    pair_folders(tmp_path / "other", people=8)
    with pytest.raises(UserError, match="its data changed"):
        trained(tmp_path / "other", whole.run)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty and holds no run"):
        trained(root, tmp_path / "full")
    assert (tmp_path / "full/notes.txt").read_text() == "mine"


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("config", ['{"model_type": "clip"}', "[1]", '{"target": "ir", "options"'])
def test_a_folder_of_another_program_keeps_its_config(undisturbed, tmp_path, config, overwrite):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text(config)
    (tmp_path / "model/model.safetensors").write_bytes(b"weights")
    with pytest.raises(UserError, match="is not empty and holds no run of the translator"):
        loop.train(sets(undisturbed[0]), "ir", tmp_path / "model", options=options(), overwrite=overwrite)
    assert (tmp_path / "model/config.json").read_text() == config
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["config.json", "model.safetensors"]


def test_a_run_is_begun_anew_where_that_is_asked_for(undisturbed, tmp_path):
    root, whole = undisturbed
    run = shutil.copytree(whole.run, tmp_path / "run")
    (run / "sheets/mine.txt").write_text("of the old run")
    with pytest.raises(UserError, match="another configuration"):
        trained(root, run, epochs=0)
    found = loop.train(sets(root), "ir", run, options=options(epochs=0), overwrite=True, progress=False)
    assert (found.facts.epoch, found.facts.step) == (1, 3)
    assert not (run / "sheets/mine.txt").exists()


def test_two_commands_do_not_train_in_one_folder(undisturbed, tmp_path):
    root, whole = undisturbed
    run = shutil.copytree(whole.run, tmp_path / "run")
    shutil.rmtree(checkpoints(run)[-1])
    for overwrite in (False, True):
        with storage.locked(run), pytest.raises(UserError, match="another process is writing"):
            loop.train(sets(root), "ir", run, options=options(), overwrite=overwrite)
    assert [path.name for path in checkpoints(run)] == ["step-00000003"]


def test_what_a_kill_left_half_written_goes_with_the_next_start(undisturbed, tmp_path):
    root, whole = undisturbed
    run = shutil.copytree(whole.run, tmp_path / "run")
    half = run / "checkpoints" / f"{storage.TEMPORARY}99-step-00000009"
    half.mkdir()
    (half / f"{storage.TEMPORARY}99-meta.json").write_text("{")
    trained(root, run)
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["step-00000003", "step-00000006"]


def test_pairs_that_a_kill_left_behind_go_with_the_finished_run(undisturbed, tmp_path):
    root, whole = undisturbed
    run = shutil.copytree(whole.run, tmp_path / "run")
    (run / "pairs").mkdir()
    (run / "pairs/learned.bin").write_bytes(b"photographs under their own terms")
    assert trained(root, run).facts == whole.facts
    assert not (run / "pairs").exists()


@pytest.mark.parametrize("name", ["generator.safetensors", "discriminator.safetensors", "training.pt"])
@pytest.mark.parametrize("damage", [lambda raw: b"", lambda raw: raw[:-100], lambda raw: b"no weights" + raw])
def test_every_damaged_file_of_a_checkpoint_is_told(undisturbed, tmp_path, name, damage):
    run = shutil.copytree(undisturbed[1].run, tmp_path / "run")
    file = checkpoints(run)[-1] / name
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(UserError, match=r"step-00000006' is damaged \(.+\): delete that folder"):
        restore(run, loop.fresh(options()))


def test_a_damaged_checkpoint_is_told(undisturbed, tmp_path):
    root, whole = undisturbed
    run = shutil.copytree(whole.run, tmp_path / "run")
    shutil.rmtree(checkpoints(run)[-1])
    (checkpoints(run)[-1] / "discriminator.safetensors").write_bytes(b"no weights")
    with pytest.raises(UserError, match=r"is damaged .*delete that folder"):
        trained(root, run)
    shutil.rmtree(checkpoints(run)[-1])
    assert same_files(trained(root, run).generator.parent, whole.generator.parent)


def test_a_full_disk_leaves_no_half_checkpoint(undisturbed, tmp_path, monkeypatch):
    import errno

    root, _ = undisturbed

    def full(*_arguments, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match="no space is left"):
        trained(root, tmp_path / "run")
    assert list((tmp_path / "run/checkpoints").iterdir()) == []


def test_mixed_precision_trains_float32_weights(undisturbed, tmp_path):
    root, whole = undisturbed
    found = trained(root, tmp_path / "run", precision="bfloat16")
    weights = load_generator(found.generator).state_dict()
    assert all(bool(torch.isfinite(value).all()) for value in weights.values())
    assert weights["down.0.0.weight"].dtype == torch.float32
    exact = load_generator(whole.generator).state_dict()["down.0.0.weight"]
    assert torch.allclose(weights["down.0.0.weight"], exact, atol=0.02)
    assert not torch.equal(weights["down.0.0.weight"], exact)
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="precision is float16, and there is no CUDA device"):
            trained(root, tmp_path / "half", precision="float16")
        assert not (tmp_path / "half").exists()


def test_a_loss_that_is_no_number_ends_the_run(undisturbed, tmp_path):
    with pytest.raises(UserError, match="became nan before step"):
        trained(undisturbed[0], tmp_path / "run", lr=1e30, log_every=1)
    with pytest.raises(UserError, match="became nan before step 2"):
        trained(undisturbed[0], tmp_path / "later", lr=1e30, log_every=99, save_every=2)
    assert checkpoints(tmp_path / "later") == []


def test_batches_follow_from_seed_and_epoch_and_parts_make_the_whole():
    pairs = np.arange(10 * 4 * 2 * 2, dtype=np.uint8).reshape(10, 4, 2, 2)
    given = options(flip=0.5)
    whole = [torch.cat(batch, 1) for batch in loop._batches(pairs, given, 3, 0, (0, 1))]
    assert len(whole) == 2  # the last two pairs don't fill a batch
    later = [torch.cat(batch, 1) for batch in loop._batches(pairs, given, 3, 1, (0, 1))]
    assert torch.equal(later[0], whole[1])
    halves = [[torch.cat(b, 1) for b in loop._batches(pairs, given, 3, 0, (rank, 2))] for rank in (0, 1)]
    assert all(torch.equal(torch.cat((a, b)), one) for a, b, one in zip(*halves, whole, strict=True))
    other = [torch.cat(batch, 1) for batch in loop._batches(pairs, given, 4, 0, (0, 1))]
    assert not torch.equal(other[0], whole[0])
    seen = {int(image[0].min()) for batch in whole for image in batch}
    assert len(seen) == 8
    mirrored = [bool(image[0, 0, 0] > image[0, 0, 1]) for batch in whole + other for image in batch]
    assert len(set(mirrored)) == 2


def test_the_command_prints_a_table_or_json(undisturbed, tmp_path):
    root, whole = undisturbed
    folders = ["--photos", str(root / "visible"), "--images", str(root / "infrared"), "--spectrum", "nir"]
    told = ["--licence", "CC-BY-4.0", "--pattern", "{pid}_c{camid}_{_}", "--held-out", "0.2"]
    command = ["train-ir-gan", *folders, *told, "--out", str(whole.run), *settings()]
    shown = CliRunner().invoke(app, command)
    assert shown.exit_code == 0, shown.output
    assert "mean training image" in shown.stdout
    assert "2 epochs, 6 steps on 14 pairs" in shown.stdout
    assert "does not beat the mean training infrared image" in shown.stdout  # after six steps
    values = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert values["beats_mean_image"] is False
    assert values["scores"]["luminance"] == whole.facts.scores["luminance"]
    assert Path(values["generator"]) == whole.generator


def command_line(root, run, **more):
    folders = ["--photos", str(root / "visible"), "--images", str(root / "infrared"), "--spectrum", "nir"]
    told = ["--licence", "CC-BY-4.0", "--pattern", "{pid}_c{camid}_{_}", "--held-out", "0.2"]
    return ["-m", "reidsynth", "train-ir-gan", *folders, *told, "--out", str(run), *settings(**more)]


@pytest.mark.slow
def test_a_run_killed_at_any_moment_ends_with_the_same_bits(undisturbed, tmp_path):
    root, _ = undisturbed
    more = {"epochs": 3, "decay_epochs": 3, "save_every": 2}
    whole = trained(root, tmp_path / "whole", **more)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    run = tmp_path / "killed"
    for waited_for in ("step-00000004", "step-00000010"):
        with subprocess.Popen(
            [sys.executable, *command_line(root, run, **more)], env=environment, stderr=subprocess.DEVNULL
        ) as process:
            while not (run / "checkpoints" / waited_for).exists() and process.poll() is None:
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL, "it was done before it could be killed"
    resumed = trained(root, run, **more)
    assert same_files(resumed.generator.parent, whole.generator.parent)


STEP = """
import sys
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from safetensors.torch import save_file
from reidsynth.translator.checkpoint import State
from reidsynth.translator.options import parse_options
from reidsynth.translator.train import fresh, training_step

torch.set_num_threads(1)
options = parse_options({"height": 32, "width": 16, "downs": 4, "channels": 4, "discriminator_channels": 2,
                         "dropout": 0.0})
accelerator = Accelerator(cpu=True, kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)])
made = fresh(options)
networks = accelerator.prepare(made.generator, made.discriminator)
# Plain descent: what Adam makes of a gradient of nearly 0 says nothing about the gradient.
optimizers = [torch.optim.SGD(network.parameters(), 1e-3) for network in (made.generator, made.discriminator)]
state = State(made.generator, made.discriminator, tuple(accelerator.prepare(*optimizers)))
torch.manual_seed(5)
rank, processes = accelerator.process_index, accelerator.num_processes
for _ in range(3):
    photos, targets = torch.rand(8, 3, 32, 16) * 2 - 1, torch.rand(8, 1, 32, 16) * 2 - 1
    own = slice(rank * 8 // processes, (rank + 1) * 8 // processes)
    training_step(accelerator, networks, state, (photos[own], targets[own]), options)
found = {f"g.{name}": value for name, value in made.generator.state_dict().items()}
found |= {f"d.{name}": value for name, value in made.discriminator.state_dict().items()}
found = {name: value.contiguous() for name, value in found.items()}
save_file(found, f"{sys.argv[1]}-{rank}-of-{processes}.safetensors")
"""


def launched(processes, *arguments, folder):
    """Run a script or module in one process, or in several under torchrun over gloo."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    runner = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, *(runner if processes > 1 else []), *map(str, arguments)]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_two_processes_take_the_gradient_of_one(tmp_path):
    from safetensors.torch import load_file

    (tmp_path / "step.py").write_text(STEP)
    launched(1, tmp_path / "step.py", tmp_path / "made", folder=tmp_path)
    launched(2, tmp_path / "step.py", tmp_path / "made", folder=tmp_path)
    one, first, second = (load_file(tmp_path / f"made-{name}.safetensors") for name in ("0-of-1", "0-of-2", "1-of-2"))
    torch.manual_seed(0)
    start = loop.fresh(options(dropout=0.0)).generator.state_dict()
    moved = {name for name in start if not torch.equal(start[name], one[f"g.{name}"])}
    assert {name for name in moved if name.endswith("weight")} == {n for n in start if n.endswith("weight")}
    for name, value in one.items():
        assert torch.equal(first[name], second[name]), name
        assert torch.allclose(first[name].float(), value.float(), rtol=1e-4, atol=2e-6), name


@pytest.mark.slow
def test_two_processes_train_one_run_and_one_goes_on_with_it(undisturbed, tmp_path):
    root, _ = undisturbed
    told = launched(2, *command_line(root, tmp_path / "run", dropout=0.0)[0:], "--json", folder=tmp_path)
    values = json.loads(told)  # one process speaks
    assert values["step"] == 6
    facts = read_facts(Path(values["generator"]))
    alone = trained(root, tmp_path / "alone", dropout=0.0)
    assert facts.scores["mean training image"] == alone.facts.scores["mean training image"]
    assert facts.scores["translator"] == pytest.approx(alone.facts.scores["translator"], abs=0.3)
    assert (Path(values["generator"]).parent / GENERATOR).exists()
