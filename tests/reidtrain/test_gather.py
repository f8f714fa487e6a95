"""Two processes of half a batch give the loss and the gradient of one process with the whole."""

from __future__ import annotations

import multiprocessing

import pytest
import torch
from torch import distributed, nn

from reidtrain.gather import gather, gather_named
from reidtrain.losses import feature_binding, sdm, unireid

ROWS = 64
NAMES = ("rgb", "sketch", "text", "fused")


class Encoder(nn.Module):
    """Four features of a row and a learnable scale."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Sequential(nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 4 * 8))
        self.scale = nn.Parameter(torch.tensor(5.0))

    def forward(self, rows):
        return dict(zip(NAMES, self.encoder(rows).chunk(4, dim=1), strict=True)), self.scale * 1.0


def total(features, scale, pids, has_ir):
    losses = unireid(*(features[name] for name in NAMES), scale=scale)
    bound = feature_binding(features["rgb"], {"ir": features["ir"]}, pids, present={"ir": has_ir})
    return losses["total"] + sdm(features["rgb"], features["text"], pids, scale=scale) + bound


def data():
    generator = torch.Generator().manual_seed(1)
    has_ir = torch.arange(ROWS) >= ROWS // 2  # only the second process has infrared
    return torch.randn(ROWS, 12, generator=generator), torch.arange(ROWS) // 2, has_ir


def work(rank, port, results):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    model = nn.parallel.DistributedDataParallel(Encoder())
    rows, pids, has_ir = data()
    mine = slice(rank * ROWS // 2, (rank + 1) * ROWS // 2)
    features, scale = model(rows[mine])
    if rank == 1:
        features["ir"] = features["text"] * 2 + features["sketch"]
    loss = total(gather_named(features, ROWS // 2), scale, gather(pids[mine]), gather(has_ir[mine]))
    loss.backward()
    gradients = [parameter.grad.tolist() for parameter in model.module.parameters()]
    results.put((rank, float(loss.detach()), gradients))
    distributed.destroy_process_group()


def test_two_processes_of_32_equal_one_of_64():
    model = Encoder()
    rows, pids, has_ir = data()
    features, scale = model(rows)
    features["ir"] = features["text"] * 2 + features["sketch"]
    loss = total(features, scale, pids, has_ir)
    loss.backward()

    store = distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    port, context = store.port, multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch.distributed", "reidtrain.gather", "reidtrain.losses"])  # once for both
    del store
    results = context.Queue()
    processes = [context.Process(target=work, args=(rank, port, results)) for rank in range(2)]
    for process in processes:
        process.start()
    found = [results.get(timeout=120) for _ in processes]
    for process in processes:
        process.join(timeout=60)
    for _, value, gradients in found:
        assert value == pytest.approx(float(loss.detach()), rel=1e-5)
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            torch.testing.assert_close(torch.tensor(gradient), parameter.grad, rtol=1e-4, atol=1e-5)


def test_one_process_gathers_nothing():
    part = torch.ones(3)
    assert gather(part) is part
    assert gather_named({"a": part}, 3)["a"] is part
