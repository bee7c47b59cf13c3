"""Harmonic pursuit: sequences as sums of waves off any grid of angle, delay and Doppler, followed into the future."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from channelfm.baselines.time.autoregression import Autoregression, LocalAutoregression
from channelfm.baselines.time.bins import bounded, seen_in_common
from channelfm.baselines.time.completion import complete_frames
from channelfm.baselines.time.noise import estimate_noise
from channelfm.baselines.time.wave_fit import Axes, Waves, refine, solve_gains, superposition
from channelfm.baselines.time.wave_search import PeakSearch, wave_axes
from channelfm.estimator import SequenceEstimator

Complex = NDArray[np.complex64]
Float = NDArray[np.float64]
Int = NDArray[np.int64]

_AT_ONCE = 8  # sequences, so that their spectra stay in a CPU's cache hierarchy
_PEAKS = 3  # waves found in one spectrum at most
_STEPS = 2  # Gauss-Newton steps on all waves after each spectrum
_LAST_STEPS = 6
_FALSE_ALARM = 0.01  # chance that the strongest peak of noise is taken for a wave
_FLOOR = 10**-4.5  # a residual 45 dB below the samples is explained
_SHORTEST = 4  # frames that are fitted on their own
_DOUBTFUL, _NEGLIGIBLE = 1.5, 1e-4  # residuals above so much noise and power may come of a path that ended or began
_FAR_LESS = 2.0
_LEAST_NOISE = 0.01 * _FLOOR  # that regularises the fit of clean frames


class HarmonicPursuit(SequenceEstimator):
    """Waves g exp(j 2 pi (f_t t + f_c c + f_r r + f_k k + q (c^2 + r^2))) over frame, column, row and subcarrier.

    They are found as in Newtonised orthogonal matching pursuit (Mamandipoor, Ramasamy & Madhow 2016): the strongest
    peaks of the residual in a zero-padded DFT, then refinement of everything found, until no peak stands out of the
    noise at a false alarm rate of 1 %, the residual is 45 dB below the samples, or there are ``most_waves`` (or one
    real unknown for four real samples). Unlike there, up to 3 peaks enter at a time, and damped Gauss-Newton steps
    refine all gains and parameters jointly (:mod:`channelfm.baselines.time.wave_fit`), with a weak curvature q of
    wavefronts as one of them. The fit is to the observed samples: combs need no completion, delays being sought where a
    comb does not alias.

    Paths end and begin, and waves that imitate it by beating predict nothing. Where the fit leaves more than noise in
    the later half of the frames, and a fit to these frames alone leaves less than half of that, the latter is taken.

    The prediction continues the waves, and adds what ``rest`` predicts of the completed residual: many weak waves, of
    which little is left in noise. :func:`channelfm.baselines.time.bins.bounded` limits each frame's energy. Where
    masks differ so much among frames or antennas that most samples are on no common comb, the fit is to the completed
    frames.
    """

    name = "harmonic-pursuit"

    def __init__(self, most_waves: int = 24, rest: Autoregression | None = None) -> None:
        self.most_waves = most_waves
        self.rest = LocalAutoregression(3) if rest is None else rest

    def future(self, past: Complex, mask: NDArray[np.bool_], horizon: int) -> Complex:
        """See :class:`channelfm.estimator.SequenceEstimator`."""
        noise = estimate_noise(past, mask)
        completed = complete_frames(past, mask, noise)
        waves = np.zeros((len(past), past.shape[1] + horizon, *past.shape[2:]), dtype=np.complex64)
        for chosen, frames, frequencies in seen_in_common(mask):
            samples = past[chosen]
            common = len(frames) * len(frequencies) * math.prod(past.shape[2:4])
            if 2 * common < mask[chosen].sum(axis=(1, 2, 3, 4)).max():
                samples, frames, frequencies = completed[chosen], np.arange(past.shape[1]), np.arange(past.shape[4])
            for first in range(0, len(chosen), _AT_ONCE):
                part = slice(first, first + _AT_ONCE)
                waves[chosen[part]] = self._recent(samples[part], frames, frequencies, noise[chosen[part]], horizon)
        fitted, future = np.split(waves, [past.shape[1]], axis=1)
        rest = complete_frames(np.where(mask, past - fitted, 0), mask, noise)
        return bounded(future + self.rest.predict_completed(rest, noise, horizon), completed)

    def _recent(self, past: Complex, frames: Int, frequencies: Int, noise: Float, horizon: int) -> Complex:
        """As :meth:`_continued`, with the waves of the later half of the frames where they leave far less of them."""
        waves = self._continued(past, frames, frequencies, noise, horizon)
        later = frames[len(frames) // 2 :]
        if len(later) < _SHORTEST:
            return waves

        def unexplained(among: Int, fitted: Complex) -> Float:
            error = (past[among] - fitted[:, : past.shape[1]])[:, later][..., frequencies]
            return np.asarray(np.mean(np.abs(error) ** 2, axis=(1, 2, 3, 4), dtype=np.float64))

        left = unexplained(np.arange(len(past)), waves)
        power = np.mean(np.abs(past[:, frames][..., frequencies]) ** 2, axis=(1, 2, 3, 4), dtype=np.float64)
        doubtful = np.flatnonzero(left > _DOUBTFUL * noise + _NEGLIGIBLE * power)
        if len(doubtful):
            others = self._continued(past[doubtful], later, frequencies, noise[doubtful], horizon)
            better = left[doubtful] > _FAR_LESS * np.maximum(unexplained(doubtful, others), noise[doubtful])
            earlier = np.arange(waves.shape[1]) < later[0]
            others[:, earlier] = waves[doubtful][:, earlier]
            waves[doubtful[better]] = others[better]
        return waves

    @torch.inference_mode()
    def _continued(self, past: Complex, frames: Int, frequencies: Int, noise: Float, horizon: int) -> Complex:
        """The fitted waves over all frames of the past and the horizon, [B, T + horizon, row, col, F]."""
        size = past.shape[1:]
        samples = torch.from_numpy(past[:, frames][..., frequencies]).flatten(2, 3)
        scale = samples.abs().square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-30)
        level = torch.from_numpy(noise) / scale.flatten().double() ** 2
        axes = wave_axes(size, frames, frequencies)
        waves = self._fitted(axes, samples / scale, level, PeakSearch(size, frames, frequencies))
        everywhere = wave_axes(size, np.arange(size[0] + horizon), np.arange(size[3]))
        future = superposition(everywhere, waves) * scale
        return future.reshape(len(past), -1, *size[1:]).numpy()

    def _fitted(self, axes: Axes, samples: Tensor, noise: Tensor, search: PeakSearch) -> Waves:
        """Waves of samples [B, T, M, F] of unit power with noise of power [B]."""
        waves, residual = Waves.none(len(samples), axes.parameters), samples
        most = max(1, min(self.most_waves, samples[0].numel() // (2 * axes.parameters + 4)))
        noise = noise.clamp_min(_LEAST_NOISE)
        significant = noise * math.log(search.cells / _FALSE_ALARM)
        goes_on = torch.ones(len(samples), dtype=torch.bool)
        while waves.number < most:
            parameters, power = search.peaks(residual, min(_PEAKS, most - waves.number))
            left = residual.abs().square().mean((1, 2, 3), dtype=torch.float64)
            new = (goes_on & (left > _FLOOR))[:, None] & (power > significant[:, None])
            goes_on = new.any(1)
            if not bool(goes_on.any()):
                break
            waves = solve_gains(axes, waves.joined(parameters, new), samples, noise)
            waves, residual = refine(axes, waves, samples, noise, _STEPS)
        return refine(axes, waves, samples, noise, _LAST_STEPS)[0] if waves.number else waves
