"""Networks in training on Lightning Fabric: set up for one or many processes, and one step of gradient descent."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.model_parallel import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from channelfm.errors import InputError
from channelfm.pretraining.identity import teacher_of
from channelfm.pretraining.recipe import PretrainRecipe
from channelfm.pretraining.state import Trained, TrainingState, averaged, whole_tensors
from channelfm.processes import end_with_parent

NETWORK, CRITIC = "network", "critic"
_STARTER = "CHANNELFM_STARTER"  # number of the process that starts others
_REMEDY = (
    "lower learning_rate or gradient_clip, or use precision 32-true; the state that was saved last is kept, so that "
    "the run can go on from there"
)


def launch(recipe: PretrainRecipe) -> Fabric:
    """Fabric on the recipe's machines, its processes started; those end with the one that started them."""
    if starter := os.environ.pop(_STARTER, None):
        end_with_parent(int(starter))
    fabric = Fabric(
        accelerator=recipe.accelerator,
        strategy=_sharding(recipe) if recipe.strategy == "fsdp" else recipe.strategy,
        devices=recipe.devices,
        num_nodes=recipe.num_nodes,
        precision=recipe.precision,
    )
    os.environ[_STARTER] = str(os.getpid())  # Fabric starts its processes with the very command of this one
    try:
        fabric.launch()
    finally:
        del os.environ[_STARTER]
    return fabric


class Learner:
    """What an objective's step works with: ``networks`` by name, ``recipe``, and :meth:`descend`.

    ``modules`` are plain networks by name, each with its peak learning rate; ``state`` is what changes; ``teacher``
    is the finished model of objectives that name one.
    """

    def __init__(self, fabric: Fabric, recipe: PretrainRecipe, modules: dict[str, tuple[nn.Module, float]]) -> None:
        self.recipe, self._fabric = recipe, fabric
        average = averaged(modules[NETWORK][0])
        self.networks: dict[str, nn.Module] = {}
        self._optimizers: dict[str, Any] = {}
        trained = {}
        for name, (module, rate) in modules.items():
            self.networks[name] = fabric.setup_module(_compiled(module) if recipe.compile else module)
            groups = [{"params": list(module.parameters()), "peak": rate}]  # once they lie where they train
            optimizer = torch.optim.AdamW(
                groups,
                lr=rate,
                weight_decay=recipe.weight_decay,
                betas=(0.9, 0.98),
                fused=recipe.precision != "16-mixed",  # a fused step would undo the loss's scale, which clipping needs
            )
            self._optimizers[name] = fabric.setup_optimizers(optimizer)
            trained[name] = Trained(module.train(), optimizer)
        if recipe.strategy == "fsdp":
            fabric.setup_module(average)  # spread as the network is, so that each process averages its part
        self.teacher = teacher_of(recipe, fabric.device)
        self.state = TrainingState(trained, average.to(fabric.device).requires_grad_(False))

    def set_learning_rate(self, factor: float) -> None:
        """Let all networks learn at ``factor`` times their peak rate."""
        for optimizer in self._optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = factor * group["peak"]

    def descend(self, name: str, loss: Tensor) -> Tensor:
        """One optimizer step of a network down its ``loss``; returns the gradient's norm before clipping.

        Raises InputError for a loss or a gradient that is not finite; the network is then as before the step.
        """
        step = self.state.step
        if not torch.isfinite(loss.detach()):
            raise InputError(f"step {step}: the loss of the {name} is {loss.item()}; {_REMEDY}")
        network, optimizer = self.networks[name], self._optimizers[name]
        optimizer.zero_grad()
        self._fabric.backward(loss)
        norm = self._fabric.clip_gradients(
            network, optimizer, max_norm=self.recipe.gradient_clip, error_if_nonfinite=False
        )
        assert norm is not None
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        # With 16-mixed, infinite gradients are how the loss scaler finds its scale: it skips the step.
        if not torch.isfinite(norm) and self.recipe.precision != "16-mixed":
            raise InputError(f"step {step}: the gradient of the {name} is not finite; {_REMEDY}")
        optimizer.step()
        return norm.detach()

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a value over all processes."""
        return cast(Tensor, self._fabric.all_reduce(value, reduce_op="mean"))

    def average(self) -> nn.Module:
        """The moving average as a plain network on the training device."""
        network = self.recipe.predictor.network()
        network.load_state_dict(whole_tensors(self.state.average.state_dict()))
        return network.to(self._fabric.device).eval()

    @contextmanager
    def frozen(self, name: str) -> Iterator[nn.Module]:
        """A network through which gradients pass, but which does not learn from what is done within."""
        module = self.state.trained[name].network
        module.requires_grad_(False).eval()
        try:
            with self._fabric.autocast():
                yield module
        finally:
            module.requires_grad_(True).train()


def _compiled(module: nn.Module) -> nn.Module:
    return cast(nn.Module, torch.compile(module))


def _sharding(recipe: PretrainRecipe) -> ModelParallelStrategy:
    """Weights, gradients and moments of the network's layers spread over all processes (FSDP)."""

    def spread(module: nn.Module, mesh: DeviceMesh) -> nn.Module:
        over = mesh["data_parallel"]
        for layers in module.modules():
            if isinstance(layers, nn.ModuleList):
                for layer in layers:
                    fully_shard(layer, mesh=over)
        fully_shard(module, mesh=over)
        return module

    return ModelParallelStrategy(
        parallelize_fn=spread, data_parallel_size=recipe.devices * recipe.num_nodes, tensor_parallel_size=1
    )


def rate_factor(recipe: PretrainRecipe, step: int) -> float:
    """The learning rate of a step over its peak: linear warm-up, then half a cosine down to 1 %."""
    if step < recipe.warmup_steps:
        return (step + 1) / recipe.warmup_steps
    progress = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Exponential moving average, shorter in the first steps so that it forgets the initialisation."""
    now = min(decay, (1 + step) / (10 + step))
    means: list[Tensor] = list(average.parameters())
    weights = [weight.to(mean.dtype) for weight, mean in zip(network.parameters(), means, strict=True)]
    torch._foreach_lerp_(means, weights, 1 - now)
