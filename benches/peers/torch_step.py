#!/usr/bin/env python3
"""Times PyTorch on the networks of cifar-gpu: whole training steps or inference, on random images.

A step is what `cifar-gpu bench` times: images are taken from bytes on the device and normalized, then forward, loss,
backward and update (train) or forward alone (infer); the device is waited for after each step. The program prints one
line of JSON, which benches/compare.py reads. It needs nothing but `pip install torch`.
"""

import argparse
import json
import sys
import time

try:
    import torch
    from torch import nn
except ImportError:
    sys.exit("error: PyTorch is not installed for this Python\nhint: pip install torch, in a virtual environment if you like")


def conv_relu(inputs, outputs, kernel, stride=1, padding=0):
    return [nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.ReLU()]


def lenet5():
    return nn.Sequential(
        *conv_relu(3, 32, 5), nn.Dropout(0.2), nn.MaxPool2d(2),
        *conv_relu(32, 64, 5), nn.Dropout(0.2), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(1600, 200), nn.ReLU(), nn.Linear(200, 100), nn.ReLU(), nn.Linear(100, 10),
    )


def ygnet():
    return nn.Sequential(
        *conv_relu(3, 96, 3, padding=1), nn.Dropout(0.2),
        *conv_relu(96, 96, 3, padding=1), *conv_relu(96, 96, 3, padding=1), nn.MaxPool2d(3, 2), nn.Dropout(0.5),
        *conv_relu(96, 192, 3, padding=1), *conv_relu(192, 192, 3), *conv_relu(192, 192, 3, padding=1),
        nn.MaxPool2d(3, 2), nn.Dropout(0.5),
        *conv_relu(192, 192, 3, padding=1), *conv_relu(192, 192, 1), nn.Conv2d(192, 10, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )


def all_cnn_c():
    return nn.Sequential(
        nn.Dropout(0.2), *conv_relu(3, 96, 3, padding=1), *conv_relu(96, 96, 3, padding=1),
        *conv_relu(96, 96, 3, 2, 1), nn.Dropout(0.5),
        *conv_relu(96, 192, 3, padding=1), *conv_relu(192, 192, 3, padding=1), *conv_relu(192, 192, 3, 2, 1),
        nn.Dropout(0.5),
        *conv_relu(192, 192, 3), *conv_relu(192, 192, 1), *conv_relu(192, 10, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )


NETWORKS = {"lenet5": lenet5, "ygnet": ygnet, "all-cnn-c": all_cnn_c}


def positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n"
        "  torch_step.py --arch lenet5 --mode train\n"
        "  torch_step.py --device cuda                                   f32, TF32 off\n"
        "  torch_step.py --device cuda --precision tf32                  f32 with TF32\n"
        "  torch_step.py --device cuda --precision f16 --channels-last   autocast to half precision",
    )
    parser.add_argument("--arch", choices=NETWORKS, default="ygnet")
    parser.add_argument("--mode", choices=["train", "infer"], default="train")
    parser.add_argument("--batch", type=positive, default=64, help="images of a step")
    parser.add_argument("--steps", type=positive, default=20, help="steps to time")
    parser.add_argument("--warmup", type=int, default=3, help="steps before these, which are not timed")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["f32", "tf32", "f16"], default="f32", help="tf32 and f16 need cuda")
    parser.add_argument("--channels-last", action="store_true", help="keep activations channels-last")
    parser.add_argument("--compile", action="store_true", help="through torch.compile")
    parser.add_argument("--threads", type=positive, help="threads on the CPU (default: PyTorch's)")
    options = parser.parse_args()
    if options.device == "cpu" and options.precision != "f32":
        parser.error(f"--precision {options.precision} needs --device cuda")
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("error: PyTorch finds no CUDA device\nhint: check nvidia-smi, and that this is a build with CUDA")
    return options


def make_step(options):
    """The function that does one step."""
    torch.manual_seed(1)
    device = torch.device(options.device)
    half = options.precision == "f16"
    layout = torch.channels_last if options.channels_last else torch.contiguous_format
    model = NETWORKS[options.arch]().to(device, memory_format=layout)
    model.train(options.mode == "train")
    forward = torch.compile(model) if options.compile else model
    pixels = torch.randint(0, 256, (options.batch, 3, 32, 32), dtype=torch.uint8, device=device)
    labels = torch.randint(0, 10, (options.batch,), device=device)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=1e-5, momentum=0.9, nesterov=options.arch == "ygnet",
        weight_decay=1e-3 if options.arch == "all-cnn-c" else 0,
    )
    scaler = torch.amp.GradScaler(options.device, enabled=half)
    # The images of a step are chosen by index, as from a shuffled set.
    order = torch.arange(options.batch, device=device)

    def images():
        return pixels[order].float().mul_(1 / 255).contiguous(memory_format=layout)

    def infer():
        with torch.inference_mode(), torch.autocast(options.device, torch.float16, enabled=half):
            return forward(images())

    def train():
        with torch.autocast(options.device, torch.float16, enabled=half):
            loss = nn.functional.cross_entropy(forward(images()), labels[order])
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    return train if options.mode == "train" else infer


def main():
    options = arguments()
    if options.threads:
        torch.set_num_threads(options.threads)
    cuda = options.device == "cuda"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = options.precision != "f32"
    torch.backends.cudnn.benchmark = True
    step = make_step(options)
    seconds = []
    for number in range(options.warmup + options.steps):
        if cuda:
            torch.cuda.synchronize()
        start = time.perf_counter()
        step()
        if cuda:
            torch.cuda.synchronize()
        if number >= options.warmup:
            seconds.append(time.perf_counter() - start)
    seconds.sort()
    middle = len(seconds) // 2
    median = seconds[middle] if len(seconds) % 2 else (seconds[middle - 1] + seconds[middle]) / 2
    print(json.dumps({
        "version": f"PyTorch {torch.__version__}",
        "device": torch.cuda.get_device_name() if cuda else f"CPU, {torch.get_num_threads()} threads",
        "arch": options.arch,
        "mode": options.mode,
        "batch_size": options.batch,
        "steps": options.steps,
        "warmup": options.warmup,
        "precision": options.precision,
        "channels_last": options.channels_last,
        "compiled": options.compile,
        "best_images_per_second": options.batch / seconds[0],
        "median_images_per_second": options.batch / median,
        "peak_device_bytes": torch.cuda.max_memory_allocated() if cuda else None,
    }))


if __name__ == "__main__":
    main()
