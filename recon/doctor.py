"""`recon doctor`: what this machine has, and what is missing for what."""

from __future__ import annotations

import importlib.util
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata

from recon.errors import MissingPart
from recon.stages import resolve


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    subject: str
    found: str
    ok: bool = True
    advice: str = ""
    """What is lost without it, and how to get it; "" when nothing is missing."""


@dataclass(frozen=True)
class DoctorOptions:
    """`recon doctor`."""

    json: bool = False
    """Print the findings as JSON."""


def findings() -> Iterator[Finding]:
    """Look at the machine. Imports torch and numba, so it takes a second or two."""
    yield Finding("system", f"{platform.system()} {platform.release()}, {platform.machine()}")
    yield Finding("python", platform.python_version())
    yield Finding("threads", str(_threads()))
    yield _memory()
    yield from _packages()
    for look in (_cpu, _kernels, _cuda):
        try:
            yield from look()
        except (ImportError, OSError) as error:  # OSError: a library that the package brings cannot be loaded
            advice = "a part is missing or broken: pip install --force-reinstall recon-scene"
            yield Finding(LOOKS[look.__name__], f"cannot be asked ({error})", False, advice)
    yield _optional("pi_heif", "HEIC photos (iPhone)", "heic")
    yield _optional("onnxruntime", "recon depth --mono MODEL.onnx", "mono")
    yield _optional("cryptography", "https with a certificate of recon's own making (--tls)", "serve")
    yield _optional("transformers", "recon depth --mono with a folder of weights", "mono")
    yield _optional("av", "recon render --video FILM.mp4", "video")
    yield _optional("playwright", "the times that recon publish measures", pip="playwright")
    yield _browser()
    yield _node()
    yield _optional("liblzfse", "depth of Record3D recordings", pip="pyliblzfse")
    yield _optional("OpenEXR", "depth images in EXR files", pip="OpenEXR>=3.3")


def _threads() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> Finding:
    try:
        gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (ValueError, OSError, AttributeError):
        return Finding("memory", "not known")
    low = gib < 4
    return Finding("memory", f"{gib:.0f} GiB", not low, "under 4 GiB: use --preset preview" if low else "")


LOOKS = {"_cpu": "vector units", "_kernels": "kernels", "_cuda": "CUDA"}
"""What each function that may fail looks at."""


def _cpu() -> Iterator[Finding]:
    import llvmlite.binding as llvm

    flags = llvm.get_host_cpu_features()
    wanted = {"avx512f": "AVX-512", "avx2": "AVX2", "fma": "FMA", "neon": "NEON"}
    found = [label for flag, label in wanted.items() if flags.get(flag)]
    yield Finding("vector units", ", ".join(found) or "not known")  # LLVM does not say it of every machine


def _kernels() -> Iterator[Finding]:
    ready = resolve("render.kernels.warm:kernels_are_compiled")()
    folder = resolve("render.kernels.warm:CACHE")
    yield Finding("kernels", f"{'compiled' if ready else 'compiled at first use, about half a minute'} ({folder})")


def _packages() -> Iterator[Finding]:
    needed = {
        "pycolmap": "structure from motion",
        "opencv-python-headless": "videos and undistortion",
        "torch": "training",
        "numba": "training on the CPU",
        "viser": "recon view",
    }
    for name, purpose in needed.items():
        try:
            yield Finding(name, metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Finding(name, "missing", False, f"needed for {purpose}: pip install --force-reinstall recon-scene")


def _cuda() -> Iterator[Finding]:
    import torch

    if not torch.cuda.is_available():
        yield Finding("CUDA", "none; everything runs on the CPU")
        return
    memory = torch.cuda.get_device_properties(0).total_memory / 2**30
    yield Finding("CUDA", f"{torch.cuda.get_device_name(0)}, {memory:.0f} GiB, torch built for {torch.version.cuda}")
    if importlib.util.find_spec("gsplat") is None:
        yield Finding(
            "gsplat",
            "missing",
            False,
            "training on CUDA needs it: pip install 'recon-scene[cuda]'; until then the CPU is used",
        )
    else:
        yield Finding("gsplat", metadata.version("gsplat"))


def _browser() -> Finding:
    """What measures a published page."""
    path = resolve("viewer.measure:find_browser")()
    needed = (
        "needed for the times that recon publish measures: install Chromium (apt install chromium, or from its site)"
    )
    return Finding("Chromium", path or "not found", True, "" if path else needed)


def _node() -> Finding:
    """What builds the published page, in a source checkout."""
    if resolve("viewer.web_page:page_is_built")():
        return Finding("Node", "not needed: the published page is built")
    try:
        return Finding("Node", resolve("viewer.web_page:node_tools")())
    except MissingPart as missing:
        return Finding("Node", "not found, or too old", True, f"needed for recon publish and recon demo: {missing}")


def _optional(module: str, purpose: str, extra: str = "", *, pip: str = "") -> Finding:
    """A module that only some inputs or options need, and that an extra of recon's brings, or a package of another name."""
    name, what = pip.partition(">")[0] or module, pip or f"recon-scene[{extra}]"
    if importlib.util.find_spec(module) is not None:
        return Finding(name, "installed")
    return Finding(name, "not installed", True, f"needed for {purpose}: pip install '{what}'")


def doctor(verb: str, summary: str, argv: Sequence[str]) -> int:
    """Print the findings. Exit code 2 when something that recon needs is missing."""
    import dataclasses
    import json

    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from recon.arguments import parse

    args = parse(verb, summary, argv, DoctorOptions)
    found = list(findings())
    if args.json:
        print(json.dumps([dataclasses.asdict(f) for f in found], indent=1))
    else:
        table = Table(box=None, show_header=False, pad_edge=False)
        for _ in range(4):
            table.add_column(overflow="fold")
        for f in found:
            table.add_row(
                "ok" if f.ok else "[red]missing[/]", *(escape(text) for text in (f.subject, f.found, f.advice))
            )
        Console(highlight=False).print(table)
    return 0 if all(f.ok for f in found) else 2
