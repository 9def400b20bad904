#!/usr/bin/env python3
"""Makes the seeds of the fuzz targets, `fuzz/corpus/TARGET/*`: small files with the parts that each format has.

    python3 -m pip install pillow && python3 fuzz/seeds.py

The same seeds come from the same version of Pillow. `scripts/campaign` adds the fixtures of the tests, which are not copied here.
"""

import gzip
import io
import json
import lzma
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT / "fuzz" / "corpus"
FIXTURES = ROOT / "tests" / "fixtures"


def save(target, name, data):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)


def image(mode="RGB", size=(5, 4)):
    """A picture of the size that the targets read, in which no two pixels are equal."""
    picture = Image.new("RGB", size)
    picture.putdata([(20 * x, 40 * y, 7 * (x + y)) for y in range(size[1]) for x in range(size[0])])
    return picture.convert(mode)


def encoded(picture, kind, **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def turned(kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(image(size=(4, 5)), kind, exif=exif)


def pictures():
    for mode in ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"]:
        picture = Image.new(mode, (5, 4), 300) if mode == "I;16" else image(mode)
        save("picture_png", f"{mode.replace(';', '-').lower()}.png", encoded(picture, "png"))
    save("picture_png", "turned.png", turned("png"))
    save("picture_png", "transparent.png", encoded(image("P"), "png", transparency=3))
    save("picture_png", "larger.png", encoded(image(size=(40, 30)), "png"))
    for name, picture, options in [
        ("color", image(), {}),
        ("gray", image("L"), {}),
        ("inks", image("CMYK"), {}),
        ("progressive", image(size=(20, 18)), {"progressive": True}),
        ("subsampled", image(size=(20, 18)), {"subsampling": 2}),
        ("restarts", image(size=(40, 18)), {"restart_marker_blocks": 1}),
        ("whole-colors", image(size=(20, 18)), {"subsampling": 0, "optimize": True}),
    ]:
        save("picture_jpeg", f"{name}.jpg", encoded(picture, "jpeg", **options))
    save("picture_jpeg", "turned.jpg", turned("jpeg"))
    for mode in ["1", "L", "P", "RGB", "RGBA"]:
        save("picture_bmp", f"{mode.lower()}.bmp", encoded(image(mode), "bmp"))
    # Pillow writes no run lengths: a row of five pixels of color 1, its end, and the picture's.
    runs = b"\5\1\0\0\0\1"
    colors = bytes(4) + b"\xff\x80\x10\0"
    header = struct.pack("<IiiHHIIiiII", 40, 5, 4, 1, 8, 1, len(runs), 0, 0, 2, 0)
    start = 14 + len(header) + len(colors)
    head = b"BM" + struct.pack("<IHHI", start + len(runs), 0, 0, start)
    save("picture_bmp", "runs.bmp", head + header + colors + runs)
    frames = [image("P"), image("L").convert("P")]
    save("picture_gif", "one.gif", encoded(frames[0], "gif"))
    save("picture_gif", "several.gif", encoded(frames[0], "gif", save_all=True, append_images=frames[1:], duration=9))
    save("picture_gif", "interlaced.gif", encoded(image("P", (5, 16)), "gif", interlace=1, transparency=1))
    for name, options in [
        ("lossy", {"quality": 30}),
        ("lossless", {"lossless": True}),
        ("several", {"save_all": True, "append_images": [image().rotate(180)], "lossless": True}),
    ]:
        save("picture_webp", f"{name}.webp", encoded(image(), "webp", **options))
    save("picture_webp", "transparent.webp", encoded(image("RGBA").rotate(30), "webp", quality=30))
    save("picture_webp", "turned.webp", turned("webp"))
    several = [image("RGBA").rotate(angle) for angle in [30, 60]]
    save("picture_webp", "lossy-frames.webp", encoded(several[0], "webp", save_all=True, append_images=several[1:]))
    save("picture_webp", "larger.webp", encoded(image(size=(40, 30)), "webp", quality=60))


def record(labels, fill):
    return bytes(labels) + bytes([fill]) * 3072


def tar(files, form=tarfile.USTAR_FORMAT):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for name, data in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    # Without the zeros that fill a tape's block.
    return file.getvalue().rstrip(b"\0") + bytes(1024)


def zipped(files, method=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in files:
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return file.getvalue()


def data_sets():
    one, other = record([3], 1), record([9], 2)
    save("cifar_binary", "cifar-10", b"\0" + one + other)
    save("cifar_binary", "cifar-100", b"\1" + record([3, 90], 1))
    save("cifar_binary", "coarse", b"\2" + record([19, 90], 1))
    save("cifar_binary", "twelve-classes", b"\x0c" + one + other)
    save("cifar_pickle", "batches.meta", (FIXTURES / "cifar" / "batches.meta").read_bytes())
    save("class_names", "names", "airplane\nautomobile\nbird\n\n")
    save("class_names", "marked", "\ufeffcat\r\ndög\r\n")
    save("label_table", "usual", "id,label\n1,cat\n2,dog\n")
    save("label_table", "quoted", 'id,label,more\r\n"cat.jpg"," a ""dog""",x\r\n1,cat\r\n')
    png, jpeg = encoded(image(), "png"), encoded(image(), "jpeg")
    split = [(f"set/{split}/{name}/1.png", png) for split in ["train", "test"] for name in ["cat", "dog"]]
    classes = [(f"{name}/{number}.jpg", jpeg) for name in ["cat", "dog"] for number in [1, 2]]
    table = [("train/1.png", png), ("train/2.png", png), ("trainLabels.csv", b"id,label\n1,cat\n2,dog\n")]
    official = [(f"cifar-10-batches-bin/{name}.bin", one) for name in ["data_batch_1", "test_batch"]]
    long = [("train/" + "long" * 40 + "/" + "x" * 90 + ".png", png), ("train/./cat//1.png", png), ("../1.png", png)]
    for name, files in [("split", split), ("classes", classes), ("table", table), ("official", official), ("long", long)]:
        plain = tar(files, tarfile.GNU_FORMAT if name == "long" else tarfile.USTAR_FORMAT)
        save("archive_tar", name, plain)
        save("archive_gzip", name, gzip.compress(plain, mtime=0))
        save("archive_xz", name, lzma.compress(plain, check=lzma.CHECK_CRC32))
        save("archive_zip", name, zipped(files))
    save("archive_tar", "pax", tar(long, tarfile.PAX_FORMAT))
    halves = tar(split)
    save("archive_gzip", "members", gzip.compress(halves[:700], mtime=0) + gzip.compress(halves[700:], mtime=0) + bytes(9))
    save("archive_xz", "streams", lzma.compress(halves[:700]) + lzma.compress(halves[700:]))
    save("archive_zip", "deflated", zipped(split, zipfile.ZIP_DEFLATED))


def safetensors(tensors, metadata=None):
    header, data = {"__metadata__": metadata} if metadata else {}, b""
    for name, (dtype, shape, values) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


TINY = """name = "tiny"
input = [4, 5, 3]
layers = [
    { type = "flatten" },
    { type = "linear", name = "out", features = "classes", bias = false },
]

[normalization]
mean = [0.5, 0.5, 0.5]
std = [0.2, 0.3, 0.25]
"""

EVERY_LAYER = """input = [20, 24, 3]
init = "he-normal"
layers = [
    { type = "conv2d", name = "stem", channels = 8, kernel = 3, padding = [1, 0, 2, 1], stride = 2 },
    { type = "batch_norm", name = "stem_bn", epsilon = 1e-3 },
    { type = "relu" },
    { type = "residual", body = [
        { type = "conv2d", name = "a.b", channels = 12, kernel = [1, 3], stride = 2, padding = "same", bias = false },
    ], shortcut = [
        { type = "avg_pool2d", kernel = 1, stride = 2 },
        { type = "pad_channels", channels = 12 },
    ] },
    { type = "max_pool2d", kernel = 2, stride = 2, padding = "same" },
    { type = "global_avg_pool" },
    { type = "dropout", probability = 0.5 },
    { type = "linear", name = "fc", features = "classes" },
]
"""


def floats(*values):
    return struct.pack(f"<{len(values)}f", *values)


def networks():
    save("description", "tiny", "\3" + TINY)
    save("description", "every-layer", "\n" + EVERY_LAYER)
    for file in sorted((ROOT / "src" / "nn" / "networks").glob("*.toml")):
        save("description", file.stem, "\n" + file.read_text())
    metadata = {
        "arch": "tiny",
        "network": TINY,
        "preprocessing": '{"mean":[0.5,0.5,0.5],"std":[0.2,0.3,0.25]}',
        "classes": '["a","b"]',
    }
    own = safetensors({"out.weight": ("F32", [2, 60], floats(*range(120)))}, metadata)
    types = {"a": ("F16", [2], b"\0\x3c\0\x3c"), "b": ("BF16", [1, 1], b"\x80\x3f"), "c": ("F64", [], bytes(8))}
    save("safetensors", "own", own)
    save("safetensors", "types", safetensors(types))
    save("weights", "own", own)
    for name, start in [("html", b"<!doctype html>"), ("onnx", b"\x08\x08\x12\x07pytorch"), ("lfs", b"version https://git-lfs")]:
        save("weights", name, start)
    save("torch", "float16.pth", (FIXTURES / "formats" / "float16.pth").read_bytes())
    array = b"\x93NUMPY\1\0\x46\0{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }".ljust(79) + b"\n" + floats(1, 2)
    save("npz", "stored", zipped([("a.npy", array), ("b.npy", array)]))
    save("npz", "deflated", zipped([("a.npy", array)], zipfile.ZIP_DEFLATED))
    save("keras", "large.weights.h5", (FIXTURES / "formats" / "large.weights.h5").read_bytes())


SETTINGS = """arch = "lenet5"
data = "synthetic"
image_size = "32x32"
gray = false
device = "cpu"
epochs = 4
batch_size = 64
micro_batch = 32
optimizer = "muon"
lr = 0.02
momentum = 0.9
nesterov = true
schedule_epochs = 3
dropout = [0.2, 0.1]
augmentation = "light"
label_smoothing = 0.1
class_weights = "balanced"
clip_norm = 1.0
average_decay = 0.99
warmup_epochs = 0.5
initializer = "he"
whitening = "start"
normalize = "standard"
validation = 5000
tta = "flip"
max_steps = 3
precision = "f16"
autotune = "quick"

[schedule]
kind = "step"
milestones = [0.5, 0.75]
factor = 0.1

[muon]
lr = 0.05

[teacher]
weights = "teacher.safetensors"
weight = 0.9
temperature = 4.0

[checkpoints]
every_steps = 10
keep = 1
"""


def runs():
    save("settings", "many", SETTINGS)
    for name in ["one-cycle", "cosine", "time-decay", "constant"]:
        save("settings", name, f'schedule = "{name}"\n[augmentation]\nflip = "random"\ncrop_padding = 4\nrotation_degrees = 7.5\n')
    epoch = '{"epoch":1,"steps":1,"lr":0.02,"train_loss":null,"train_accuracy":0.5,"test_loss":2.5,"test_accuracy":0.25,' \
        '"images_per_second":9.5,"seconds":1.5}\n'
    step = '{"step":0,"epoch":1,"loss":2.25,"lr":0.02}\n'
    save("metrics", "whole", step + epoch + step + epoch.replace('1,"s', '2,"s', 1))
    save("metrics", "cut", step + epoch[:40])
    progress = '{"format":1,"step":3,"epoch":1,"steps_in_epoch":3,"totals":{"loss":6.5,"images":192,"correct":21},' \
        '"epoch_seconds":0.5,"seconds":0.5,"metrics_bytes":81,"best":{"accuracy":0.5,"step":2}}'
    save("checkpoint", "early", safetensors({"parameters": ("F32", [3], floats(1, 2, 3))}, {"progress": progress}))
    save("checkpoint", "summed", safetensors({}, {"progress": progress, "crc32": str(zlib.crc32(progress.encode()))}))
    config = {
        "version": "0.1.0", "generator": 2, "arch": "lenet5", "data": "synthetic", "labels": "fine", "device": "cpu",
        "backend": "primary", "epochs": 4, "batch_size": 64, "optimizer": "sgd", "lr": 0.02, "momentum": 0.9,
        "nesterov": False, "muon": {"lr": 0.05, "momentum": 0.9, "fixed_norm": False}, "bias_lr_factor": 1.0,
        "weight_decay": 0.0, "schedule": {"kind": "constant"}, "seed": 1, "shuffle": True, "dropout": [0.2, 0.2],
        "augmentation": {"flip": "never", "crop_padding": 0, "crop_border": "black", "shift": 0.0,
                         "rotation_degrees": 0.0, "cutout": 0},
        "label_smoothing": 0.0, "class_weights": "none", "clip_norm": 0.0, "average_decay": 0.0, "warmup_epochs": 0.0,
        "initializer": "published", "whitening": "none", "normalize": "published", "validation": None,
        "test_on_training": False, "tta": "none", "limit_train": 64, "limit_test": 16, "max_steps": 3, "log_every": 1,
        "checkpoints": {"every_steps": 0, "every_minutes": 5.0, "keep": 2}, "profile": False, "autotune": None,
        "precision": "f32", "ran_on": "CPU, 2 threads", "source": "synthetic shapes", "init": None, "began": 1.5,
        "checksum": 7, "train_images": 64, "test_images": 16, "class_names": ["a", "b"],
        "preprocessing": {"mean": [0.5] * 3, "std": [0.2] * 3}, "network": TINY, "plans": {},
    }  # fmt: skip
    save("run_config", "described", json.dumps(config))
    early = {**config, "network": None, "device": "CPU, 2 threads"}
    del early["ran_on"], early["generator"]
    save("run_config", "early", json.dumps(early))
    tuned = {**config, "network": EVERY_LAYER, "plans": {"stem conv2d_forward": "winograd-2 direct-8x8"}}
    save("run_config", "tuned", json.dumps(tuned))
    plans = ["direct-8x8", "winograd-2 broadcast-4x16", "staged-64x64-8x4", "staged-128x96", "cooperative-64x32"]
    problems = {f"Full F32 Forward {number}": plan for number, plan in enumerate(plans)}
    save("autotune_cache", "plans", json.dumps({"format": 2, "devices": {"a GPU": problems, "another": {}}}))


pictures()
data_sets()
networks()
runs()
