"""Channel prediction: frames to come, which are entries like others that were not measured (seed 004, section V)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from channelfm.datasets.blocks import Blocks
from channelfm.datasets.sequences import advanced, delay_advance_s
from channelfm.errors import InputError
from channelfm.estimator import Examples, checked_sequences
from channelfm.metrics import achievable_rate, nmse, squared_cosine_similarity
from channelfm.observation import Bool, Complex, Entries, Float, Grid, Observation, check_draw, observe
from channelfm.tasks.base import Measure, Task, decibels, mean, median_decibels
from channelfm.tasks.observing import Count, Decibels

Speeds = tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(gt=0)]]


class Past(NamedTuple):
    """Every ``comb``-th subcarrier of the past is seen, at an SNR (None: clean)."""

    snr_db: float | None = None
    comb: int = 1

    def __str__(self) -> str:
        noise = "clean" if self.snr_db is None else f"{self.snr_db:g} dB SNR"
        return noise if self.comb == 1 else f"{noise}, pilots on 1/{self.comb}"


class Prediction(Task):
    """The frames that follow ``context`` past ones, at each of ``horizons``.

    ``snr_db`` (null: clean) and ``combs`` (every comb-th subcarrier is observed) are crossed. ``speed_bins`` in m/s
    [from, to) group the sequences. ``rate_snr_db`` is that of the data behind the precoder
    (:func:`channelfm.metrics.achievable_rate`). ``alignment``: a receiver's timing advance follows from what it
    "observed", pilots on all subcarriers or, where a comb of them leaves delays in doubt, one synchronisation symbol on
    all of the first frame, as noisy as pilots; "clean" takes it from the channel itself, as earlier tables did.
    """

    kind: Literal["prediction"] = "prediction"
    context: Count = 10
    horizons: tuple[Count, ...] = Field(default=(1, 2, 4, 8), min_length=1)
    speed_bins: tuple[Speeds, ...] = Field(default=((0.0, 10.0), (10.0, 20.0), (20.0, 30.0)), min_length=1)
    snr_db: tuple[Decibels | None, ...] = Field(default=(None,), min_length=1)
    combs: tuple[Count, ...] = Field(default=(1,), min_length=1)
    rate_snr_db: Decibels = 20.0
    alignment: Literal["observed", "clean"] = "observed"

    trivial: ClassVar[str] = "sample-and-hold"
    question: ClassVar[str] = (
        "A base station has heard a moving user for a few milliseconds. Each method below says what the "
        "channel will be in the next ones."
    )
    beside: ClassVar[tuple[str, ...]] = ("snr_db", "combs", "speed_bins")

    @field_validator("speed_bins")
    @classmethod
    def _ordered(cls, bins: tuple[Speeds, ...]) -> tuple[Speeds, ...]:
        for low, high in bins:
            if low >= high:
                raise ValueError(f"[{low:g}, {high:g}) is empty; give the smaller value first")
        return bins

    @property
    def frames(self) -> int:
        """Frames of a sequence."""
        return self.context + max(self.horizons)

    @property
    def measures(self) -> Sequence[Measure]:
        """See :class:`Task`."""
        columns = (
            ("nmse_db", "mean NMSE", "nmse", decibels, "dB", False),
            ("nmse_median_db", "median NMSE", "nmse", median_decibels, "dB", False),
            ("similarity", "squared cosine similarity", "similarity", mean, "", True),
            ("rate", "achievable rate", "rate", mean, "bit/s/Hz", True),
            ("rate_share", "share of the rate with the true channel", "rate_share", mean, "", True),
        )
        return [
            Measure(f"{key}@{ahead}", f"{title}, {ahead} ahead", f"{of}@{ahead}", reduce, unit, more, ahead)
            for key, title, of, reduce, unit, more in columns
            for ahead in self.horizons
        ]

    def cases(self) -> Sequence[Past]:
        """See :class:`Task`."""
        return [Past(snr_db, comb) for comb in self.combs for snr_db in self.snr_db]

    def repeats(self, case: Past) -> bool:
        """See :class:`Task`: only noise is drawn."""
        return case.snr_db is not None

    def examples(self, blocks: Blocks, case: Past, seed: int) -> Examples:
        """See :class:`Task`: frames after the past are hidden; targets are all frames, clean.

        ``blocks`` are sequences that are not aligned in delay; the observation and the target are turned alike.
        Raises InputError for sequences that are too short or have no path in the past, and for a comb that observes
        fewer than two subcarriers.
        """
        check_draw(seed, case.snr_db)
        channel = self._checked(blocks.channel, case.comb)
        grid = replace(blocks.grid, times_s=blocks.grid.times_s[: self.frames])
        everything = np.ones(1, np.bool_)
        if self.alignment == "clean":
            advance = delay_advance_s(channel[:, :1], everything, grid.frequencies_hz)
            channel = advanced(channel, advance, grid.frequencies_hz)
        observation = self._observed(channel, grid, case, seed)
        if self.alignment == "observed":
            heard = observation if case.comb == 1 else self._synchronisation(channel, grid, case, seed)
            advance = delay_advance_s(heard.values, heard.mask, grid.frequencies_hz)
            channel = advanced(channel, advance, grid.frequencies_hz)
            observation = replace(observation, values=advanced(observation.values, advance, grid.frequencies_hz))
        return Examples(observation, channel, replace(blocks, channel=channel, grid=grid))

    def score(self, answer: NDArray[np.complex64], examples: Examples) -> Mapping[str, Float]:
        """See :class:`Task`."""
        values: dict[str, Float] = {}
        for ahead in self.horizons:
            guess, truth = (
                frames[:, self.context + ahead - 1].reshape(len(frames), -1, frames.shape[-1])
                for frames in (answer, examples.target)
            )
            rate, best = (achievable_rate(by, truth, self.rate_snr_db) for by in (guess, truth))
            values |= {
                f"nmse@{ahead}": nmse(guess, truth),
                f"similarity@{ahead}": squared_cosine_similarity(guess, truth),
                f"rate@{ahead}": rate,
                f"rate_share@{ahead}": rate / best,
            }
        return values

    def groups(self, examples: Examples) -> dict[str, Bool]:
        """See :class:`Task`: by speed at the first frame."""
        speed = np.linalg.norm(examples.labels.velocities_mps, axis=1)
        bins = {f"{low:g} to {high:g} m/s": (speed >= low) & (speed < high) for low, high in self.speed_bins}
        return super().groups(examples) | {name: members for name, members in bins.items() if members.any()}

    def _observed(self, channel: Complex, grid: Grid, case: Past, seed: int) -> Observation:
        """The past of sequences, its noise relative to the power of that past."""
        frequencies, past = grid.shape[3], replace(grid, times_s=grid.times_s[: self.context])
        seen = np.arange(frequencies) % case.comb == 0
        comb = np.broadcast_to(seen, (1, self.context, 1, 1, frequencies))
        noise = np.random.default_rng((seed, *b"sequence noise"))
        observed = observe(channel[:, : self.context], Entries(comb), past, case.snr_db, noise)
        ahead = ((0, 0), (0, self.frames - self.context), (0, 0), (0, 0), (0, 0))
        return Observation(np.pad(observed.values, ahead), Entries(np.pad(comb, ahead)), grid, observed.noise)

    def _synchronisation(self, channel: Complex, grid: Grid, case: Past, seed: int) -> Observation:
        first = replace(grid, times_s=grid.times_s[:1])
        noise = np.random.default_rng((seed, *b"synchronisation"))
        return observe(channel[:, :1], Entries(np.ones((1,) * 5, np.bool_)), first, case.snr_db, noise)

    def _checked(self, channel: Complex, comb: int) -> Complex:
        channel = checked_sequences(channel, "sequences")
        frames, frequencies = channel.shape[1], channel.shape[4]
        if frames < self.frames:
            raise InputError(
                f"sequences of {frames} frames are shorter than context {self.context} + horizon "
                f"{max(self.horizons)}: give longer ones, or less of either"
            )
        if comb > 1 and -(-frequencies // comb) < 2:
            raise InputError(f"comb {comb} leaves fewer than two of {frequencies} subcarriers: give a smaller one")
        if not np.any(channel[:, : self.context] != 0, axis=(1, 2, 3, 4)).all():
            raise InputError("a sequence is zero in all of its past (no path): leave it out")
        return channel[:, : self.frames]
