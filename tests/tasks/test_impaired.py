import dataclasses

import numpy as np
import pytest

from channelfm.arrays import UPA
from channelfm.channels.near_field import NEAR_FIELD_MODELS, draw_near_field
from channelfm.config import parse_recipe
from channelfm.datasets.blocks import unlabelled
from channelfm.errors import InputError
from channelfm.hardware import ChainGains, PhaseNoise, Quantisation
from channelfm.observation import Grid
from channelfm.tasks import TASKS

MODELS = [{"kind": "quantisation", "bits": 2}, {"kind": "phase-noise", "step_deg": 5.0}]


def impaired(task, *hardware):
    return parse_recipe(TASKS["impaired"], {"kind": "impaired", "task": task, "hardware": hardware}, "recipe")


@pytest.mark.parametrize("kind", ["extrapolation", "hybrid-estimation", "localisation", "near-field", "estimation"])
def test_every_task_is_seen_through_imperfect_hardware(kind, sight_blocks):
    """Its question, its score and its groups are as they were; observations differ, and tell why."""
    inner = TASKS[kind]()
    task, blocks = impaired({"kind": kind}, [], [{"kind": "chain-gains", "share": 0.1}]), sight_blocks()
    assert len(task.cases()) == 2 * len(inner.cases())
    assert (task.gives, task.trivial, task.frames) == (inner.gives, inner.trivial, None)
    ideal, gains = task.cases()[0], task.cases()[len(inner.cases())]
    plain = inner.examples(blocks, inner.cases()[0], 3)
    first, second = (task.examples(blocks, case, 3) for case in (ideal, gains))
    scale = np.abs(plain.observation.values).max()
    np.testing.assert_allclose(first.observation.values, plain.observation.values, atol=1e-5 * scale)
    error = np.linalg.norm(second.observation.values - plain.observation.values)
    assert error == pytest.approx(0.1 * np.linalg.norm(plain.observation.values), rel=0.2)
    np.testing.assert_array_equal(second.target, plain.target)
    assert second.observation.hardware.find(ChainGains) == ChainGains(share=0.1)
    assert task.groups(second).keys() == inner.groups(plain).keys()


def test_sequences_are_impaired_frame_by_frame(sequence_blocks):
    task = impaired(
        {"kind": "prediction", "context": 6, "horizons": (1, 2)}, [{"kind": "phase-noise", "step_deg": 9.0}]
    )
    blocks = sequence_blocks(3, frames=9)
    assert task.frames == 8
    case = task.cases()[0]
    examples = task.examples(blocks, case, 0)
    ratio = examples.observation.values[:, :6] / examples.channel[:, :6]
    np.testing.assert_allclose(ratio, ratio[..., :1, :1, :1] * np.ones(ratio.shape[2:]), atol=1e-3)
    assert np.std(np.angle(ratio)) > 0.05
    assert not examples.observation.values[:, 6:].any()
    assert task.repeats(case)
    assert not task.task.repeats(case.case)


def test_cases_name_their_hardware_and_are_refused_where_it_is_unknown(sight_blocks):
    task = impaired({"kind": "hybrid-estimation", "chains": 2, "slots": [8]}, MODELS, [])
    first, second = task.cases()
    assert str(first) == "phase-noise (step_deg 5, own 0), quantisation (bits 2); 2 chains, 8 slots, 10 dB"
    assert first._asdict() == {"hardware": first.hardware, "chains": 2, "slots": 8, "snr_db": 10.0}
    assert second.hardware == "ideal"
    hardware = task.examples(sight_blocks(2), first, 4).observation.hardware
    assert hardware.impairments == (PhaseNoise(step_deg=5.0), Quantisation(bits=2))
    assert (hardware.chains, hardware.pilot_seed) == (2, 4)
    other = impaired({"kind": "hybrid-estimation"}, [])
    with pytest.raises(InputError, match="no such hardware"):
        other.examples(sight_blocks(2), first, 0)
    with pytest.raises(InputError, match="twice"):
        impaired({"kind": "hybrid-estimation"}, [MODELS[0], MODELS[0]])
    with pytest.raises(InputError, match="bits"):
        impaired({"kind": "hybrid-estimation"}, [{"kind": "quantisation", "bits": 12}])
    with pytest.raises(InputError, match="task"):
        impaired({"kind": "impaired"}, [])


@pytest.mark.parametrize(
    ("kind", "settings", "own"),
    [
        ("hybrid-estimation", {"chains": 2, "slots": [8], "snr_db": [10.0, None]}, ["oracle-ls"]),
        ("estimation", {"selection": [0.5], "snr_db": [10.0]}, []),
    ],
)
def test_references_of_the_task_are_passed_on_and_converters_have_their_bound(kind, settings, own):
    model = dataclasses.replace(NEAR_FIELD_MODELS["paths"], range_m=(1.5, 15.0), squint=False)
    grid = Grid(UPA(1, 32, 28e9), np.zeros(1), 28e9 + (np.arange(8) - 3.5) * 12e6)
    draw = draw_near_field(model, grid.array, grid.frequencies_hz, 3, 0)
    blocks = unlabelled(draw.response.reshape(3, *grid.shape), grid)
    blocks = dataclasses.replace(blocks, clusters=draw.clusters, rays=draw.rays)
    task = impaired({"kind": kind, **settings}, [], MODELS[1:], MODELS[:1])
    told = {(case.hardware, case.case.snr_db): task.references(task.examples(blocks, case, 0)) for case in task.cases()}
    with_converters = ("quantisation (bits 2)", 10.0)
    for case, references in told.items():
        assert list(references) == [*own, *(["quantised-bound"] if case == with_converters else [])]
    assert (told[with_converters]["quantised-bound"] > 0).all()
