"""What docs/parity.md says around its figures, which parity_report.py puts in."""

from __future__ import annotations

INTRODUCTION = """\
# Parity: are these the corruptions of ImageNet-C?

Three things are held against each other:

- **native**: what `lnbench` computes, batched, on the device;
- **the definitions**: the corruptions of [hendrycks/robustness](https://github.com/hendrycks/robustness)
  (ImageNet-C, Tiny-ImageNet-C and CIFAR-10-C scripts) written out literally with NumPy, SciPy, OpenCV,
  scikit-image and Pillow, one image at a time, in `tests/oracle/`; motion blur after ImageMagick's
  formula;
- **imagecorruptions 1.1.2**, written by others, with the parameters of the 224 px table.

Written by `python benchmarks/parity.py report` from `benchmarks/results/parity_*.json`; the other commands of
that script compute those (`--help`). A cell that misses its target is set in **bold with ✗**.

Each table says which version of the random generator ([corruptions.md](corruptions.md#what-holds-for-all))
its fields are of; today's is {now}. Both sides of a comparison get the same fields unless it says otherwise,
so that a version moves what is compared, not how near the two are.
"""

PIXELS = """\
## 1. Pixels, the definition fed the same random field

Photographs of ImageNet ({images}), random generator {generator}; section 4 says
the same of CIFAR-10 images by the thousand. The definition of a random corruption gets the very numbers that
native draws from its key: fields of noise, angles, glass blur's steps, places in frost's pictures, Poisson
counts. (Those come from native's tables of the Poisson distribution, which the tests check against SciPy's,
level by level.)

Frost is the one with several differing values in a hundred, all by one level: at 64 px OpenCV shrinks the
pictures of ice in fixed point, which moves one of eight of their values by a level; elsewhere its weighted
sums are often whole numbers, which float32 and float64 put on either side before truncation.

Targets: contrast, brightness, saturate, gaussian_blur, defocus_blur, zoom_blur and pixelate ≥ 99.5 % equal
and never more than 2 levels; jpeg_compression ≥ 97 % within 1 level; the random ones ≥ 99.5 % within 1.
Columns s1 to s5: share of equal values (pixels × channels) in percent at each severity.
"""

REFERENCE = """\
## 2. Pixels, imagecorruptions as a second reference

The corruptions without randomness at 224 px, {images} photographs. Targets as above where the definition is
the same. It is another one for
zoom_blur (the upper left part of each enlarged centre instead of its middle, where that is larger than the
image) and pixelate (enlarges by Pillow's NEAREST instead of BOX); at 224 px neither shows.
"""

REFERENCE_RANDOM = """\
The random ones, severity 3, {images} photographs, each with its own randomness, native's from generator
{generator}. Every figure: native against
imagecorruptions / what chance alone gives, from imagecorruptions with two seeds. Measures as in section 3.
Few images and few draws, so this is a rough check. Defined otherwise there, so that figures must differ:

- **motion_blur**: truncated instead of rounded, so the mean is half a level lower; else the same filter;
- **snow**: the upper left part of the enlarged layer, not truncated to 8 bits before its motion blur (too
  little to show here);
- **frost**: pictures enlarged by 1.1 with a bicubic filter;
- **elastic_transform**: no affine map, smoothing by 1 % of the side, other strengths.
"""

DISTRIBUTIONS = """\
## 3. Distributions of the random ones

Native with its own generator (version {generator}) against the definition with NumPy's, on {small} lossless
CIFAR-10 images (table cifar, mean over the five severities) and on {large} photographs (table imagenet,
severity 3). Each figure is *native against the definition / what chance alone gives* for so many images, that
is the definition against itself with another seed. The definition runs with three seeds; a figure is the mean
over them.

- **mean**: level of a pixel, difference of the means over all images, in levels;
- **spread**: root mean square of what the corruption changed in an image, likewise;
- **spectrum**: power of what it changed in 8 rings of spatial frequency, mean |log ratio|, percent;
- **histogram**: total variation distance of the histograms of the 256 levels, percent.

Chance is the expected absolute difference of two draws for the first two, which are single numbers, and
the mean over the pairs of draws for the others. A pair is set in **bold with ✗** where native differs more
than {apart:g} times as much as chance, which a single pair does by chance about once in twenty.
"""

ACCURACY = """\
## 4. Accuracy

Top-1 of CIFAR-10 networks on native images and on the definition's, table cifar, 19 corruptions × 5
severities. Both get the same random field, so this is a paired comparison of the same images. Images with
equal pixels on both sides get equal predictions, so the network runs twice only on those in which at least
one pixel differs, and where the level is not given (–) it ran on no others. In each cell: the difference
native − definition in points, and its 95 % interval for paired rates (Bonett & Price 2012), which stays open
even where no prediction changed. A difference whose interval leaves out zero is set in **bold with ✗**.
"""

OWN = """\
### {title}

The same with independent randomness: native with its own generator (version {generator}), the definition with
NumPy's. Now the images differ, and so do predictions, by chance: an interval leaves out zero in about one
cell of twenty. Here {apart} of {cells}; the mean difference over all cells is {mean:+.2f} points.
"""
