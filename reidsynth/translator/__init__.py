"""Learns to turn photographs into infrared images or sketches from aligned pairs: InfraGAN.

Reference: M. A. Özkanoğlu, S. Ozer, "InfraGAN: A GAN architecture to transfer visible images to infrared domain",
Pattern Recognition Letters 155, 2022; FlexiReID makes the infrared images of CIRS-PEDES with it. The authors' code is
built on pix2pix (P. Isola et al., CVPR 2017) and on the U-Net discriminator of E. Schönfeld, B. Schiele, A. Khoreva,
CVPR 2020. No weights are public, so the toolkit trains its own.

What is decided here, and what differs from the authors' released code:

- Seven downs by default, for 256x128 and 384x128 (theirs: eight or nine, for squares).
- SSIM is taken on the range that images really have, 2 from black to white (theirs takes 1), and on the images as they
  are, -1..1 (theirs moves its inputs in place); `ssim_offset=1` moves them for it, which did better on the drawn world
  (benchmarks/translator.py).
- The discriminator answers with logits and the losses take them, which is the same as sigmoids and their cross-entropy,
  without the overflow. It has no attention layer, and its depth follows the images' size.
- The generator runs in eval mode when it translates, so that no image depends on what stands beside it in the batch
  (theirs, as pix2pix, keeps batch statistics and dropout on).
- With several processes the statistics of batch normalisation are those of the whole batch.

Modules here import torch when they are imported; nothing outside the package imports them before it needs them.
"""
