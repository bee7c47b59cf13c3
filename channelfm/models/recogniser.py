"""A small network that tells what imperfect hardware did from how measurements differ from a fit of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

TOKEN_FEATURES = 4


class Recogniser(nn.Module):
    """From a token for each slot and chain and a summary of a link to ``answers`` numbers.

    Tokens meet along both axes, slots and chains: each sees its neighbours in time and the means over its slot, over
    its chain and over all; how chains are numbered does not matter, nor how many slots there are. What tokens say is
    pooled (mean and root mean square) and joined to the summary, which has a straight way to the answers, too: some are
    there to be read off.
    """

    def __init__(self, summary: int, answers: int, width: int = 16, hidden: int = 128) -> None:
        super().__init__()
        self.tokens = nn.Linear(TOKEN_FEATURES, width)
        self.along_slots = nn.Conv1d(width, width, 3, padding=1, padding_mode="replicate")
        self.mixed = nn.Sequential(nn.Linear(5 * width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.head = nn.Sequential(
            nn.Linear(2 * width + summary, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, answers),
        )
        self.straight = nn.Linear(summary, answers)
        self.register_buffer("middle", torch.zeros(summary))
        self.register_buffer("spread", torch.ones(summary))
        self.register_buffer("token_middle", torch.zeros(TOKEN_FEATURES))
        self.register_buffer("token_spread", torch.ones(TOKEN_FEATURES))

    def standardise(self, tokens: Tensor, summary: Tensor) -> None:
        """Take the mean and the deviation of all inputs from those of the training."""
        self.middle, self.spread = summary.mean(0), summary.std(0) + 1e-3
        flat = tokens.flatten(0, 2)
        self.token_middle, self.token_spread = flat.mean(0), flat.std(0) + 1e-3

    def forward(self, tokens: Tensor, summary: Tensor) -> Tensor:
        """Answers [N, answers] for tokens [N, S, C, 4] and a summary [N, G]."""
        count, slots, chains, _ = tokens.shape
        inner = self.tokens(((tokens - self.token_middle) / self.token_spread).clamp(-10, 10))
        series = inner.permute(0, 2, 3, 1).flatten(0, 1)
        moving = self.along_slots(series).reshape(count, chains, -1, slots).permute(0, 3, 1, 2)
        means = [inner.mean(axes, keepdim=True).expand_as(inner) for axes in ((1,), (2,), (1, 2))]
        mixed = self.mixed(nn.functional.gelu(torch.cat([inner, moving, *means], -1))).flatten(1, 2)
        pooled = [mixed.mean(1), mixed.square().mean(1).add(1e-6).sqrt()]
        known = ((summary - self.middle) / self.spread).clamp(-10, 10)
        answer: Tensor = self.head(torch.cat([*pooled, known], -1)) + self.straight(known)
        return answer
