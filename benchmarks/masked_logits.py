"""Top-1 and top-5 of photographs in wnid folders with the logits of absent classes left out, without lnbench.

python benchmarks/masked_logits.py FOLDER tf_efficientnet_lite0.safetensors
"""

import sys
from pathlib import Path

import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from torchvision import transforms

files = sorted(Path(sys.argv[1]).glob("*/*"))
wnids = timm.data.ImageNetInfo("imagenet-1k").label_names()
kept = sorted({wnids.index(file.parent.name) for file in files})
resize = transforms.Resize(256, transforms.InterpolationMode.BICUBIC)
normalize = transforms.Normalize([0.5] * 3, [0.5] * 3)
steps = [resize, transforms.CenterCrop(224), transforms.ToTensor(), normalize]
network = timm.create_model("tf_efficientnet_lite0").eval()
network.load_state_dict(load_file(sys.argv[2]))
top1 = top5 = 0
with torch.inference_mode():
    for file in files:
        pixels = transforms.Compose(steps)(Image.open(file).convert("RGB"))
        best = network(pixels[None])[0, kept].topk(min(5, len(kept))).indices.tolist()
        found = [wnids[kept[place]] for place in best]
        top1 += found[0] == file.parent.name
        top5 += file.parent.name in found
rates = f"top-1 {top1 / len(files):.2%}, top-5 {top5 / len(files):.3%}"
print(f"{len(files)} photographs, {len(kept)} classes: {rates}")
