"""GeoTIFF to COG: ours, rio-cogeo's `cog_translate` with its defaults, and GDAL's COG driver alone.

All write deflate, level 6, in blocks of 512 with overviews. Ours and the limit do more: a predictor, averages instead
of nearest neighbours, and ours looks with rio-cogeo's validator whether what it wrote is a COG. Each conversion has a
process of its own; its imports are not counted.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine
from rasterio.windows import Window
from rio_cogeo.cogeo import cog_translate, cog_validate
from rio_cogeo.profiles import cog_profiles

from benchmarks.figures import machine
from stacyard.ingestor.recipe import Asset, Conversion
from stacyard.ingestor.stages.convert import to_cog

ROUNDS = 3
LARGE_SIDE = 20_000
LANDSAT = Path(__file__).parents[1] / "demo" / "landsat8"
_BLOCK = 512
_PATIENCE_SECONDS = 60
Done = tuple[float, float]
_CORES = os.cpu_count() or 1


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One conversion of all sources: how long, the largest process in MiB, and bytes written."""

    seconds: float
    peak: float
    written: int


def run_cog(*, scenes: Path = LANDSAT, side: int = LARGE_SIDE, rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """The figures of the Landsat scenes and of a square raster, under the names of the contract.

    Args:
        scenes: directory of the Landsat files.
        side: of the synthetic raster, in pixels.
        rounds: of each workload; the sides take turns.

    Raises:
        RuntimeError: a side wrote something else than the source's pixels as a COG.
    """
    with tempfile.TemporaryDirectory(prefix="stacyard-cog-") as name:
        directory = Path(name)
        large = directory / "large.tif"
        draw(large, side)
        landsat = sorted(scenes.glob("*.TIF"))
        return [
            _result("cog-landsat8", _measured(landsat, directory, rounds), landsat),
            _result(f"cog-{side}", _measured([large], directory, rounds), [large]),
        ]


def draw(path: Path, side: int) -> None:
    """A square raster of 16-bit numbers: fields of smooth change under noise, the same at every call."""
    chance = np.random.default_rng(7)
    noise = chance.normal(0, 60, (_BLOCK, 8192)).astype("float32")
    columns = np.arange(side, dtype="float32")[np.newaxis]
    profile = {"driver": "GTiff", "width": side, "height": side, "count": 1, "dtype": "uint16", "nodata": 0}
    place = {"crs": "EPSG:32633", "transform": Affine(0.5, 0, 5e5, 0, -0.5, 5e6)}
    stored = {"tiled": True, "blockxsize": _BLOCK, "blockysize": _BLOCK, "compress": "lzw", "predictor": 2}
    with rasterio.open(path, "w", **profile, **place, **stored) as dataset:
        for top in range(0, side, _BLOCK):
            height = min(_BLOCK, side - top)
            rows = np.arange(top, top + height, dtype="float32")[:, np.newaxis]
            fields = 3000 + 900 * np.sin(columns / 611) * np.cos(rows / 487) + 400 * np.sin((columns + rows) / 97)
            shifted = np.roll(noise, int(chance.integers(noise.shape[1])), axis=1)
            repeated = np.tile(shifted, (1, -(-side // noise.shape[1])))[:height, :side]
            dataset.write((fields + repeated).astype("uint16")[np.newaxis], window=Window(0, top, side, height))


def _ours(sources: Sequence[Path], directory: Path) -> Done:
    """As the ingestor does it: by several processes, or one with several threads."""
    processes = min(_CORES, len(sources))
    work = [(source, directory / f"{number}.tif", _CORES // processes) for number, source in enumerate(sources)]
    if processes == 1:
        return _timed(lambda: [_convert(each) for each in work])
    context = get_context("spawn")
    ready = context.Barrier(processes + 1)
    with ProcessPoolExecutor(processes, mp_context=context, initializer=ready.wait) as pool:
        # the processes of a run start once, for all its files; the pool starts one for each task that finds none idle
        for _ in range(processes):
            pool.submit(_peak)
        ready.wait(timeout=_PATIENCE_SECONDS)
        return _timed(lambda: list(pool.map(_convert, work)))


def _convert(work: tuple[Path, Path, int]) -> float:
    source, target, threads = work
    to_cog(source, target, Asset(), Conversion(compression="deflate"), threads=threads)
    return _peak()


def _stock(sources: Sequence[Path], directory: Path) -> Done:
    profile = cog_profiles["deflate"]
    return _timed(
        lambda: [
            cog_translate(source, directory / f"{number}.tif", profile, quiet=True)
            for number, source in enumerate(sources)
        ]
    )


def _limit(sources: Sequence[Path], directory: Path) -> Done:
    options = {"COMPRESS": "DEFLATE", "PREDICTOR": "YES", "OVERVIEW_RESAMPLING": "AVERAGE", "NUM_THREADS": "ALL_CPUS"}
    return _timed(
        lambda: [
            rasterio.shutil.copy(str(source), str(directory / f"{number}.tif"), driver="COG", **options)
            for number, source in enumerate(sources)
        ]
    )


_SIDES: dict[str, Callable[[Sequence[Path], Path], Done]] = {"ours": _ours, "stock": _stock, "limit": _limit}


def _timed(work: Callable[[], Iterable[object]]) -> Done:
    """Seconds, and the largest process in MiB: this one, or another that says how large it was."""
    started = time.perf_counter()
    peaks = [peak for peak in work() if isinstance(peak, float)]
    return time.perf_counter() - started, max(peaks, default=_peak())


def _peak() -> float:
    """Most memory of this process so far, in MiB; `ru_maxrss` would count what its parent had when it started it."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


def _measured(sources: Sequence[Path], directory: Path, rounds: int) -> dict[str, list[Sample]]:
    samples: dict[str, list[Sample]] = {side: [] for side in _SIDES}
    for number in range(rounds):
        for side, taken in samples.items():
            with tempfile.TemporaryDirectory(dir=directory) as place:
                taken.append(_sample(side, sources, Path(place)))
                if number == 0:
                    _check(side, sources, Path(place))
    return samples


def _sample(side: str, sources: Iterable[Path], place: Path) -> Sample:
    arguments = [sys.executable, "-m", "benchmarks.cog", side, str(place), *map(str, sources)]
    process = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if process.returncode:
        raise RuntimeError(f"{side} failed: {process.stderr[-2000:]}")
    written = sum(path.stat().st_size for path in place.iterdir())
    return Sample(**json.loads(process.stdout), written=written)


def _check(side: str, sources: Iterable[Path], place: Path) -> None:
    for number, source in enumerate(sources):
        path = place / f"{number}.tif"
        with rasterio.open(source) as before, rasterio.open(path) as after:
            same = before.shape == after.shape and before.checksum(1) == after.checksum(1)
        if not same or not cog_validate(str(path), strict=True, quiet=True)[0]:
            raise RuntimeError(f"{side} made no COG of the same pixels of {source}")


def _result(name: str, samples: dict[str, list[Sample]], sources: Iterable[Path]) -> dict[str, Any]:
    megapixels = sum(map(_pixels, sources)) / 1e6
    rates = {side: [megapixels / sample.seconds for sample in taken] for side, taken in samples.items()}
    ratios = [ours / stock for ours, stock in zip(rates["ours"], rates["stock"], strict=True)]
    return {
        "name": name,
        "unit": "megapixels/s",
        **{side: round(statistics.median(taken), 1) for side, taken in rates.items()},
        "ratio": round(statistics.median(ratios), 2),
        "samples": {
            **{side: [round(rate, 1) for rate in taken] for side, taken in rates.items()},
            **{f"{side}_peak_mib": [round(sample.peak) for sample in taken] for side, taken in samples.items()},
            **{f"{side}_bytes": [sample.written for sample in taken] for side, taken in samples.items()},
        },
        "machine": machine(),
    }


def _pixels(source: Path) -> int:
    with rasterio.open(source) as dataset:
        return int(dataset.width * dataset.height)


def _main(side: str, directory: str, *sources: str) -> None:
    seconds, peak = _SIDES[side]([Path(source) for source in sources], Path(directory))
    print(json.dumps({"seconds": seconds, "peak": peak}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
