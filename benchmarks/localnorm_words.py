"""What docs/localnorm.md says around its figures, which localnorm_report.py puts in."""

from __future__ import annotations

INTRODUCTION = """
# LocalNorm put to the test

<!-- Written by benchmarks/localnorm_report.py; edit that file and localnorm_words.py. -->

LocalNorm (Yin et al., [arXiv 1902.06550](https://arxiv.org/abs/1902.06550)) cuts each training batch
into K groups and gives each group its own statistics, weight and bias; at test time the statistics
follow the images. Its authors claim up to three times the accuracy on noisy images, the same accuracy on
clean ones, little cost, and that a trained network is easily converted. This page tests those claims
with `lnbench` itself: `convert_localnorm` and the fine-tuning of `lnbench convert`, and `lnbench
evaluate`. Nothing here claims to repeat a table of the paper: networks, corruptions and budgets differ.

To make it again: `python -m benchmarks.localnorm_study …`, then `--report` (its docstring has the
options). Figures after ± are half the width of a 95 % interval: over seeds (Student's t) where there are
several, else over images (Wilson).
"""

SUMMARY = """
## What came out

- With a batch at hand, the fine-tuned LocalNorm network keeps three times the original network's accuracy
  under heavy noise and contrast, at little loss on clean images. But so does the BatchNorm network in
  mode `batch`: the gain comes from the statistics of the test images, not from the groups.
- Trained with many images in a group, as in the paper, a LocalNorm network is lost with a single image at
  test time, and its vote does not help: in training it never saw such statistics. The smaller the groups
  of training, the better a single image does; groups of one image in some steps and larger ones in others
  give one network that works in `fixed`, `batch` and `local` alike (`lnbench convert --group-images
  1,64`).
- **Which layers** matters most. With LocalNorm after the first convolution and in the first stage alone,
  and stored statistics behind them (`lnbench convert --layers bn1,layer1 --group-images 1`, evaluated in
  `local:layers=localnorm`), a single image of 32 px comes within a point of BatchNorm's batches when
  clean, four points below its stored statistics, and heavy contrast costs next to nothing: 83 % where
  stored statistics leave 23 %. Against heavy noise it brings six points, which four times the training
  gives BatchNorm as well. This is an extension, not the paper's method.
- Single images of 32 px with LocalNorm in every layer stay far below batches on clean images, as the
  paper says. That images of 64 px do much better was not found: neither for crops, from scratch, nor for
  CIFAR-10 enlarged.
- On an ImageNet network at 224 px, without any training, one image's own statistics in the first norm layer
  alone bring contrast 5 from 10.0 to 81.0 %, for three points of clean accuracy. They do not help against
  noise or blur, and deeper they cost more than they bring (section 5).
- On CIFAR-10's ResNet-20 and ResNet-56, also untrained, single images do suffice once they are mixed with
  the stored statistics (`blend:N=4`, every layer): clean within a point of batches, and 26 points or more
  above the stored statistics under heavy noise and contrast (section 5). Larger images are not what makes
  it work.
- From scratch on few images, plain LocalNorm comes within two points of BatchNorm in `fixed`, and its
  `batch` is no better than BatchNorm's.
"""

FINE_TUNED = """
## 1. A trained network, converted and fine-tuned

ResNet-20, trained on CIFAR-10 by others (91.7 % on lossless images), is fine-tuned for three epochs on
20,000 JPEG-compressed training images: SGD with Nesterov momentum, peak rate 0.03, batches of 128, flips
and padded crops, 16-bit convolutions. Every network gets the same images, and with a seed the same order.
No corruption is ever trained on. Noise and contrast have the `cifar` parameters; mode `batch` has batches
of 128 images.

- `batchnorm`: the fair baseline, fine-tuned as it is.
- `localnorm-k2`, `-k8`, `-k32`: LocalNorm with K groups, so 64, 16 or 4 images a group, as in the paper.
- `single-k2`, `mixed-k2`: extensions. Two groups' weights, but statistics of one image at a time in
  training, or of one image and of 64 in turn, from step to step.
- `stem-k2`, `early-k2`: extensions. As `single-k2`, but only after the first convolution, or there and in
  the first stage, are there LocalNorm layers; the others stay BatchNorm.
"""

FROM_SCRATCH = """
## 2. Trained from scratch

The demo's network and data: 64 px crops of 12 photographs and textures, 30 epochs; with a seed the same
first weights, order and budget. `scratch-localnorm-k4` has K = 4 groups of 4 images, as the authors have
for large images; `scratch-single-k4` (an extension) groups of one image; `scratch-mixed-k4` (an
extension) groups of one and of four images in turn, with seed 0 the checkpoint that ships as
`demo:localnorm`. `tiny-imagenet` parameters; 480 test crops; mode `batch` has batches of 64. Each condition
draws the 32 images of `adapt` anew, and which they are moves its figures by points that the interval over the
images does not cover ([modes.md](modes.md#each-mode)). These rows are of seed 0 alone and of random generator
2, the others of generator 1.
"""

SMALL_AND_LARGE = """
## 3. Single images, large and small

The paper says that small images (32 px) give usable statistics only as a batch, and large ones by
themselves. Each network is held against the BatchNorm network trained like it. CIFAR-10 enlarged to 64 px
(bicubic; 10,000 training and 1,000 test images, otherwise as in section 1, `tiny-imagenet` parameters)
has four times the positions to take statistics from, if no more detail.
"""

WHY = """
### What decides it

Group size in training, and which layers are LocalNorm (32 px, one image at a time, top-1 in percent):
"""

CONTRAST = """
An image of little contrast is divided by its own small spread, which makes noise large. On the thirds of
the demo's test crops with the least, middle and most contrast (top-1 in percent, mean over seeds), noise
does cost the crops of least contrast most in every network trained on small groups. But that explains a
part only: the crops of most contrast stay far below stored statistics too.
"""

COSTS = """
## 4. What a mode costs

K passes for `local` on K groups, and otherwise a little more than `fixed`: measured in
[modes.md](modes.md#what-it-costs).
"""

LIMITS = """
## What limits this

- Figures with one seed have the interval of the test images alone, which says nothing about the luck of a
  training.
- Clean accuracy is compared mode by mode, a rule that was settled after first results were seen. Read as
  "`batch` against batchnorm's `fixed`" instead, every network fails it by about four points, BatchNorm's
  own `batch` as well.
- Group sizes of the mixed networks, the layers of `stem-k2` and `early-k2`, and the demo's classes, first
  convolution and recipe were chosen among a few by results on these test images, so their figures are
  somewhat too good.
- Sizes were chosen for a CPU: a small network, few epochs, subsets of the images, few severities. Images
  larger than 64 px and networks with more than 20 layers were not trained. At 64 px the fine-tuning has
  to get used to the new size as well, with half the images: its networks are further from their end than
  those at 32 px.
"""
