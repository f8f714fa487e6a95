"""The translator's networks and losses: shapes, hand values, slow references."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch

from reidsynth.steps.networks import cpu_threads
from reidsynth.translator import losses
from reidsynth.translator.discriminator import Discriminator
from reidsynth.translator.generator import Generator
from reidsynth.translator.losses import discriminator_losses, generator_losses, psnr, ssim
from reidsynth.translator.pixels import levels, scaled
from reidsynth.translator.scores import TRANSLATOR, Closeness, baselines, luminance, score, verdict


def slow_ssim(a, b, data_range):
    """Wang et al. window by window, with numpy, for one grey image."""
    place = np.arange(11) - 5
    line = np.exp(-(place**2) / (2 * 1.5**2))
    window = np.outer(line, line) / np.outer(line, line).sum()
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    found = []
    for y in range(a.shape[0] - 10):
        for x in range(a.shape[1] - 10):
            p, q = a[y : y + 11, x : x + 11], b[y : y + 11, x : x + 11]
            mp, mq = (window * p).sum(), (window * q).sum()
            vp, vq = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum()
            cov = (window * (p - mp) * (q - mq)).sum()
            found.append((2 * mp * mq + c1) * (2 * cov + c2) / ((mp**2 + mq**2 + c1) * (vp + vq + c2)))
    return float(np.mean(found))


@pytest.mark.parametrize("data_range", [2.0, 255.0])
def test_ssim_equals_a_slow_reference_and_leaves_its_inputs_alone(data_range):
    rng = np.random.default_rng(0)
    low, high = (-1.0, 1.0) if data_range == 2.0 else (0.0, 255.0)
    a = rng.uniform(low, high, (3, 1, 19, 14))
    b = np.clip(a + rng.normal(0, data_range / 10, a.shape), low, high)
    first, second = torch.from_numpy(a), torch.from_numpy(b)
    kept = first.clone(), second.clone()
    found = ssim(first, second, data_range=data_range)
    assert found.tolist() == pytest.approx([slow_ssim(a[n, 0], b[n, 0], data_range) for n in range(3)], abs=1e-9)
    assert torch.equal(first, kept[0])
    assert torch.equal(second, kept[1])
    single = ssim(first.float(), second.float(), data_range=data_range)
    assert single.tolist() == pytest.approx(found.tolist(), abs=1e-5)
    flat = torch.full((1, 1, 16, 16), high - data_range / 100)
    assert float(ssim(flat, flat - data_range / 1000, data_range=data_range)) == pytest.approx(1.0, abs=1e-5)


def test_ssim_can_be_trained_through_after_it_was_measured_in_inference_mode():
    losses._line.cache_clear()
    with torch.inference_mode():
        measured = ssim(torch.ones(1, 1, 16, 16), torch.ones(1, 1, 16, 16), data_range=2.0)
    made = torch.full((1, 1, 16, 16), 0.5, requires_grad=True)
    ssim(made, torch.rand(1, 1, 16, 16), data_range=2.0).sum().backward()
    assert float(measured) == pytest.approx(1.0)
    assert made.grad is not None
    assert bool(torch.isfinite(made.grad).all())


def test_ssim_depends_on_the_true_range():
    """An image of small contrast in a large range is not judged as if its own contrast were the range."""
    torch.manual_seed(0)
    a, b = 0.05 * torch.rand(1, 1, 16, 16, dtype=torch.float64), 0.05 * torch.rand(1, 1, 16, 16, dtype=torch.float64)
    assert float(ssim(a, a, data_range=2.0)) == pytest.approx(1.0)
    assert float(ssim(a, b, data_range=2.0)) > 0.7 > 0.3 > float(ssim(a, b, data_range=0.05))
    with pytest.raises(ValueError, match="at least 11"):
        ssim(torch.zeros(1, 1, 10, 16), torch.zeros(1, 1, 10, 16), data_range=2.0)


def test_psnr_by_hand():
    black = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    grey = torch.stack([torch.full((1, 4, 4), 51, dtype=torch.uint8), black[0]])
    assert psnr(black, grey, data_range=255.0).tolist() == pytest.approx([20 * math.log10(5.0), 100.0])


def logits(pixel, whole, shape=(2, 1, 16, 16)):
    return torch.full(shape, pixel), torch.full((shape[0], 1), whole)


def test_losses_by_hand():
    made, true = torch.full((2, 1, 16, 16), 0.5), torch.full((2, 1, 16, 16), 0.25)
    found = generator_losses(logits(0.0, math.log(3.0)), made, true)
    c1 = 0.02**2
    alike = (2 * 0.5 * 0.25 + c1) / (0.5**2 + 0.25**2 + c1)  # flat images: only their means count
    assert float(found["pixel"]) == pytest.approx(math.log(2))
    assert float(found["global"]) == pytest.approx(math.log(4 / 3))
    assert float(found["l1"]) == pytest.approx(0.25)
    assert float(found["ssim"]) == pytest.approx(1 - alike, rel=1e-4)
    assert float(found["total"]) == pytest.approx(math.log(2) + math.log(4 / 3) + 25 + 100 * (1 - alike), rel=1e-4)
    judged = discriminator_losses(logits(0.0, math.log(3.0)), logits(math.log(3.0), 0.0))
    assert float(judged["true"]) == pytest.approx(math.log(2) + math.log(4 / 3))
    assert float(judged["made"]) == pytest.approx(math.log(4) + math.log(2))
    assert float(judged["total"]) == pytest.approx(0.5 * (math.log(2) + math.log(4 / 3) + math.log(4) + math.log(2)))


def test_the_losss_structure_can_be_that_of_eight_bits():
    """Around middle grey, where signed values change their sign, an offset makes it that of the images as stored."""
    rng = np.random.default_rng(0)
    made, true = (torch.from_numpy(rng.integers(100, 160, (2, 1, 16, 16), np.uint8)) for _ in range(2))
    found = generator_losses(logits(0.0, 0.0), scaled(made), scaled(true), ssim_offset=1.0)["ssim"]
    untouched = generator_losses(logits(0.0, 0.0), scaled(made), scaled(true))["ssim"]
    slow = [slow_ssim(scaled(made)[n, 0].numpy(), scaled(true)[n, 0].numpy(), 2.0) for n in range(2)]
    assert float(untouched) == pytest.approx(1 - np.mean(slow), abs=1e-4)
    assert abs(float(untouched) - float(found)) > 0.1
    assert float(found) == pytest.approx(1 - float(ssim(made.float(), true.float(), data_range=255.0).mean()), abs=1e-4)
    assert torch.equal(levels(scaled(made)), made)


def test_losses_survive_sure_answers_and_half_precision():
    true = torch.zeros(1, 1, 16, 16)
    found = generator_losses(logits(-500.0, 500.0, (1, 1, 16, 16)), true.bfloat16(), true.bfloat16())
    assert float(found["total"]) == pytest.approx(500.0)
    assert found["total"].dtype == torch.float32


@pytest.mark.parametrize(("size", "downs"), [((256, 128), 7), ((384, 128), 7), ((64, 32), 4)])
def test_generator_keeps_the_size_and_the_range(size, downs):
    generator = Generator(channels=2, downs=downs).eval()
    photos = torch.rand(2, 3, *size) * 2 - 1
    kept = photos.clone()
    with torch.no_grad():
        made = generator(photos)
    assert made.shape == (2, 1, *size)
    assert float(made.abs().max()) <= 1.0
    assert torch.equal(photos, kept)


def test_generator_is_the_u_net_of_pix2pix_with_seven_downs():
    generator = Generator(channels=2, downs=7)
    assert [layer[-1 if level in (0, 6) else 1].out_channels for level, layer in enumerate(generator.down)] == [
        *(2, 4, 8, 16, 16, 16, 16)
    ]
    dropped = [level for level, layer in enumerate(generator.up) if any(type(p).__name__ == "Dropout" for p in layer)]
    assert dropped == [4, 5]
    normed = [
        [any(isinstance(p, torch.nn.BatchNorm2d) for p in layer) for layer in side]
        for side in (generator.down, generator.up)
    ]
    assert normed == [[False, True, True, True, True, True, False], [False, True, True, True, True, True, True]]


def test_generator_in_eval_mode_does_not_look_at_the_batch():
    torch.manual_seed(0)
    generator = Generator(channels=4, downs=5)
    photos = torch.rand(3, 3, 64, 32) * 2 - 1
    generator(photos)  # running statistics
    generator.eval()
    with torch.no_grad(), cpu_threads(1):
        assert torch.equal(generator(photos)[1:2], generator(photos[1:2]))
        generator.train()
        assert not torch.allclose(generator(photos)[1:2], generator(photos[1:2]))


def test_every_parameter_gets_a_gradient():
    torch.manual_seed(0)
    generator, discriminator = Generator(4, 5), Discriminator(4, (64, 32))
    photos, true = torch.rand(2, 3, 64, 32) * 2 - 1, torch.rand(2, 1, 64, 32) * 2 - 1
    made = generator(photos)
    generator_losses(discriminator(photos, made), made, true)["total"].backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in generator.parameters())
    discriminator.zero_grad()
    discriminator_losses(discriminator(photos, true), discriminator(photos, made.detach()))["total"].backward()
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in discriminator.parameters())
    assert all(bool(p.grad.abs().sum() > 0) for n, p in discriminator.named_parameters() if n.endswith("original"))


def test_discriminator_judges_whole_and_pixels_under_spectral_normalisation():
    torch.manual_seed(0)
    discriminator = Discriminator(4, (64, 32))
    photos, true = torch.rand(2, 3, 64, 32), torch.rand(2, 1, 64, 32)
    for _ in range(30):
        pixel, whole = discriminator(photos, true)
    assert (pixel.shape, whole.shape) == ((2, 1, 64, 32), (2, 1))
    for name, layer in discriminator.named_modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            largest = float(torch.linalg.matrix_norm(layer.weight.detach().flatten(1), ord=2))
            assert largest == pytest.approx(1.0, abs=0.05), name
    discriminator.eval()
    alone = discriminator(photos[1:], true[1:])
    assert torch.allclose(discriminator(photos, true)[0][1:], alone[0], atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = discriminator(photos, true)
    assert torch.allclose(mixed[0].float(), discriminator(photos, true)[0], atol=0.1)


def test_generator_learns_to_invert():
    """A few steps on one batch bring the error down: the losses point the right way."""
    torch.manual_seed(0)
    generator, discriminator = Generator(8, 4), Discriminator(4, (32, 16))
    photos = torch.nn.functional.interpolate(torch.rand(4, 3, 4, 2) * 2 - 1, (32, 16), mode="bilinear")
    true = -photos.mean(1, keepdim=True)
    optimizer = torch.optim.Adam(generator.parameters(), 5e-3, (0.5, 0.999))
    errors = []
    for _ in range(30):
        made = generator(photos)
        losses = generator_losses(discriminator(photos, made), made, true)
        optimizer.zero_grad()
        losses["total"].backward()
        optimizer.step()
        errors.append(losses["l1"].item())
    assert errors[-1] < 0.6 * errors[0]


def test_levels_survive_the_way_to_the_networks_and_back():
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(levels(scaled(every)), every)
    assert float(scaled(every).min()) == -1.0
    assert float(scaled(every).max()) == 1.0


def test_baselines_by_hand():
    rng = np.random.default_rng(0)
    learned = rng.integers(0, 255, (5, 4, 16, 12), np.uint8)
    held_out = learned[:2].copy()
    held_out[:, 3] = luminance(torch.from_numpy(held_out[:, :3]))[:, 0].numpy()
    found = baselines(learned, held_out)
    assert found["luminance"] == Closeness(100.0, 1.0)
    mean = learned[:, 3].mean(0).round()
    errors = ((held_out[:, 3].astype(float) - mean) ** 2).mean((1, 2))
    assert found["mean training image"].psnr == pytest.approx((10 * np.log10(255**2 / errors)).mean(), abs=1e-3)
    errors = ((255.0 - 2 * held_out[:, 3].astype(float)) ** 2).mean((1, 2))
    assert found["inverted luminance"].psnr == pytest.approx((10 * np.log10(255**2 / errors)).mean(), abs=1e-3)
    assert score(held_out, luminance) == found["luminance"]


def test_a_translator_that_does_not_beat_the_mean_image_says_so():
    mean = {"mean training image": Closeness(18.0, 0.5)}
    assert verdict({TRANSLATOR: Closeness(18.1, 0.51), **mean}, "infrared image") == ""
    for ours in (Closeness(17.9, 0.6), Closeness(19.0, 0.5)):
        told = verdict({TRANSLATOR: ours, **mean}, "infrared image")
        assert "does not beat the mean training infrared image" in told
        assert "against 18.00 dB" in told


def test_shared_batch_norm_is_batch_norm_in_one_process():
    from reidsynth.translator.normalisation import SharedBatchNorm2d

    torch.manual_seed(0)
    ours, theirs = SharedBatchNorm2d(3), torch.nn.BatchNorm2d(3)
    images = torch.rand(2, 3, 4, 4)
    assert torch.equal(ours(images), theirs(images))
    assert torch.equal(copy.deepcopy(ours).eval()(images), theirs.eval()(images))
