"""Recurrent prediction of channel sequences: one LSTM or GRU that all patches of a frame share.

The usual learned rival of sample-and-hold (LSTM: Hochreiter and Schmidhuber 1997; GRU: Cho et al. 2014; LSTM as a
baseline of LWM-Temporal and of WiFo). Neither paper states how the frame is cut, the width or the depth: chosen here.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from channelfm.errors import InputError
from channelfm.tokens.patches import patch_counts, patchify, unpatchify

_CELLS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}


class RecurrentPredictor(nn.Module):
    """Predicts every frame from the frames before it; frames of which nothing was seen, from its own predictions.

    Every patch is a sequence of its own. The head adds to the patch what it expects to change until the next frame;
    it starts at zero, as sample-and-hold.

    Parameters
    ----------
    kind : "lstm" or "gru".
    width, layers : of the recurrent network.
    patch : rows and columns of a patch.
    """

    def __init__(
        self, kind: Literal["lstm", "gru"] = "lstm", width: int = 256, layers: int = 2, patch: tuple[int, int] = (4, 4)
    ) -> None:
        super().__init__()
        if kind not in _CELLS:
            raise InputError(f"recurrent network '{kind}': use one of: {', '.join(_CELLS)}")
        if min(width, layers, *patch) < 1:
            raise InputError(f"width {width}, layers {layers}, patch {patch}: give at least 1")
        # A recipe's pair is a list.
        self.patch = (patch[0], patch[1])
        area = patch[0] * patch[1]
        self.recurrent = _CELLS[kind](3 * area, width, layers, batch_first=True)
        self.project = nn.Linear(width, 2 * area)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, frames: Tensor, seen: Tensor) -> Tensor:
        """Prediction float32 [N, T, rows, cols, 2] of every frame from those before it; of the first one, zeros.

        Rows and columns are zero-padded at their ends to whole patches and cut again. An entry that was not seen in a
        patch of which others were holds its last value; a patch of which nothing was seen is its own prediction and
        from there on as good as seen.

        Parameters
        ----------
        frames : float [N, T, rows, cols, 2]; entries where ``seen`` is False are ignored.
        seen : bool [N, T, rows, cols], True = observed. All False in frames that are asked for.
        """
        count, times, rows, cols = seen.shape
        down, across = patch_counts(rows, cols, self.patch)
        values = _pairs(self._sequences(frames.float().masked_fill(~seen[..., None], 0.0)))
        flags = self._sequences(seen[..., None].float()) > 0
        inside = self._sequences(torch.ones_like(seen[:, :1, ..., None], dtype=torch.float32)) > 0
        predicted = self._predict(values, flags, inside[:, 0]).flatten(2)
        tokens = predicted.reshape(count, down * across, times, -1).transpose(1, 2).flatten(0, 1)
        return unpatchify(tokens, rows, cols, self.patch).reshape(frames.shape)

    def features(self, frames: Tensor, seen: Tensor) -> Tensor:
        """Hidden states [N, patches * (T - 1), width] from which the frames after the first are predicted; arguments as
        :meth:`forward`."""
        kept: list[Tensor] = []
        hook = self.project.register_forward_pre_hook(lambda module, given: kept.append(given[0]))
        try:
            self(frames, seen)
        finally:
            hook.remove()
        states = torch.cat(kept, dim=1)
        return states.reshape(len(frames), -1, states.shape[2])

    def _sequences(self, frames: Tensor) -> Tensor:
        """[N * patches, T, area * C] of frames [N, T, rows, cols, C]."""
        count, times = frames.shape[:2]
        tokens = patchify(frames.flatten(0, 1), self.patch)
        return tokens.reshape(count, times, *tokens.shape[1:]).transpose(1, 2).flatten(0, 1)

    def _predict(self, values: Tensor, flags: Tensor, inside: Tensor) -> Tensor:
        """Predictions [S, T, area, 2] of values [S, T, area, 2], seen where ``flags`` [S, T, area].

        One call for the frames before the first patch of which nothing was seen, then frame by frame. ``inside``
        [S, area] is False in the padding.
        """
        lost = ~flags.any(dim=-1)
        times = flags.shape[1]
        needed = [*lost.any(dim=0).tolist(), True].index(True)
        taught = min(needed, times - 1)
        predicted = [torch.zeros_like(values[:, :1])]
        current, state = predicted[0], None
        if taught:
            held = _hold(values[:, :taught], flags[:, :taught])
            change, state = self._advance(held, flags[:, :taught], None)
            predicted.append(held + change)
            current = held[:, -1:]
        for time in range(taught, times - 1):
            seen = flags[:, time : time + 1]
            fed_back = (lost[:, time, None] & inside)[:, None]
            current = torch.where(fed_back[..., None], predicted[-1][:, -1:], current)
            current = torch.where(seen[..., None], values[:, time : time + 1], current)
            change, state = self._advance(current, seen | fed_back, state)
            predicted.append(current + change)
        return torch.cat(predicted, dim=1)

    def _advance(
        self, current: Tensor, flags: Tensor, state: Tensor | tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor | tuple[Tensor, Tensor]]:
        """Expected changes [S, t, area, 2] to the next frame, and the state after t frames."""
        given = torch.cat([current.flatten(2), flags.float()], dim=-1).to(self.project.weight.dtype)
        hidden, state = self.recurrent(given, state)
        return _pairs(self.project(hidden).float()), state


def _pairs(entries: Tensor) -> Tensor:
    """[S, t, area, 2] of entries [S, t, area * 2]."""
    return entries.reshape(*entries.shape[:2], -1, 2)


def _hold(values: Tensor, flags: Tensor) -> Tensor:
    """The last seen value of every entry [S, T, area, 2]; zero where there was none."""
    time = torch.arange(flags.shape[1], device=flags.device)[:, None]
    latest = torch.where(flags, time, 0).cummax(dim=1).values
    return values.gather(1, latest[..., None].expand_as(values))
