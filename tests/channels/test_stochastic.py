"""3GPP channels: against Sionna's own coefficients, the standard's tables, and the geometry of plane waves."""

import dataclasses
import functools
import subprocess
import sys

import numpy as np
import pytest
from scipy.special import j0

from channelfm.arrays import UPA
from channelfm.channels import cluster_rays, stochastic
from channelfm.channels.statistics import power_delay_profile, rician_k, rms_delay_spread, temporal_autocorrelation
from channelfm.channels.stochastic import stochastic_channels
from channelfm.errors import DependencyError, InputError

pytest.importorskip("sionna.phy", reason="needs the extra threegpp")

CARRIER = 3.5e9
POINT = UPA(1, 1, CARRIER, position=(0.0, 0.0, 10.0), pattern="isotropic")
TILTED = UPA(
    3,
    4,
    CARRIER,
    position=(5.0, -2.0, 25.0),
    orientation_rad=(0.5, 0.2, -0.3),
    spacing_wavelengths=0.6,
    pattern="tr38901",
)


def table(model):
    """Clusters of a CDL model, from Sionna's copy of the standard's table; row 0 of D and E is the line of sight."""
    from sionna.phy.channel.tr38901 import models

    return models.load_json(models.parameter_file(f"CDL-{model[-1].upper()}.json"))


def linear(decibel):
    return 10.0 ** (np.asarray(decibel) / 10.0)


def coherence(response, waves):
    """|<wave, h>|^2 / (|wave|^2 |h|^2) of responses [S, A] and waves [S, A] or [A]."""
    inner = np.abs(np.sum(np.conj(waves) * response, axis=1)) ** 2
    return inner / (np.sum(np.abs(response) ** 2, axis=1) * np.sum(np.abs(waves) ** 2, axis=-1))


def plane_wave(array, direction):
    """Plane wave over the elements, from unit vectors [..., 3] in the scene's frame towards its source."""
    return np.exp(2j * np.pi / array.wavelength_m * np.asarray(direction) @ array.element_offsets.T)


def sionna_response(model, array, steps, interval_s, frequencies, seed):
    """The channel [step, antenna, frequency] of track 0 by Sionna alone, sorted into our order of antennas."""
    import torch
    from sionna.phy.channel import tr38901

    kind = {"V": "single", "H": "single"}.get(array.polarization, "dual")
    panel = tr38901.PanelArray(
        array.rows,
        array.cols,
        kind,
        array.polarization,
        {"tr38901": "38.901", "isotropic": "omni"}[array.pattern],
        array.carrier_hz,
        element_vertical_spacing=array.spacing_wavelengths,
        element_horizontal_spacing=array.spacing_wavelengths,
        precision="double",
        device="cpu",
    )
    terminal = tr38901.PanelArray(1, 1, "single", "V", "omni", array.carrier_hz, precision="double", device="cpu")
    scenario = stochastic._scenario(model, array, None, None, None)
    user = stochastic._draw_user(scenario, array, (10.0, 10.0), np.random.SeedSequence([seed, 0]))
    with cluster_rays.seeded(user.seed):
        if scenario.is_cdl:
            channel = tr38901.CDL(
                model[-1].upper(),
                stochastic.NOMINAL_DELAY_SPREAD_S,
                array.carrier_hz,
                terminal,
                panel,
                "uplink",
                bs_orientation=torch.tensor(array.orientation_rad, dtype=torch.float64),
                ut_velocity=torch.from_numpy(user.velocity_mps),
                precision="double",
                device="cpu",
            )
            gain, delay = channel(1, steps, 1.0 / interval_s)
            flight = 0.0
        else:
            scene = {"umi": tr38901.UMi, "uma": tr38901.UMa}[model]
            off = {"enable_pathloss": False, "enable_shadow_fading": False}
            channel = scene(array.carrier_hz, "low", terminal, panel, "uplink", precision="double", device="cpu", **off)
            cluster_rays.set_topology(channel, array, user)
            gain, delay = channel(steps, 1.0 / interval_s)
            flight = np.linalg.norm(user.position_m - np.array(array.position)) / 299_792_458.0
    gain, delay = gain[0, 0, :, 0, 0].numpy(), delay.numpy().reshape(-1) + flight  # [antenna, path, step]
    turns = np.exp(-2j * np.pi * (np.asarray(frequencies) - array.carrier_hz) * delay[:, None])
    places = UPA(array.rows, array.cols, array.carrier_hz, spacing_wavelengths=array.spacing_wavelengths)
    ours = places.element_offsets
    antennas = (
        [panel.ant_ind_pol1.numpy(), panel.ant_ind_pol2.numpy()] if kind == "dual" else [np.arange(panel.num_ant)]
    )
    order = [
        indices[np.argmin(np.linalg.norm(panel.ant_pos.numpy()[indices] - place, axis=1))]
        for indices in antennas
        for place in ours
    ]
    return np.einsum("apt,pf->taf", gain, turns)[:, order]


@pytest.mark.parametrize(
    ("model", "polarization", "pattern"),
    [
        ("cdl-a", "V", "tr38901"),
        ("cdl-d", "cross", "tr38901"),
        ("cdl-e", "VH", "isotropic"),
        ("cdl-b", "H", "isotropic"),
        ("umi", "cross", "tr38901"),
        ("uma", "V", "tr38901"),
    ],
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equals_sionnas_own_sum_over_its_panel(model, polarization, pattern, seed):
    array = dataclasses.replace(TILTED, polarization=polarization, pattern=pattern)
    # so close to the carrier that the array's squint, which Sionna leaves out, is below the tolerance
    frequencies = CARRIER + np.array([-2e5, 0.0, 3e5])
    ours = stochastic_channels(
        model,
        array,
        num_tracks=1,
        num_steps=3,
        interval_s=2e-3,
        frequencies_hz=frequencies,
        speed_mps=(10, 10),
        seed=seed,
    )
    expected = sionna_response(model, array, 3, 2e-3, frequencies, seed)
    assert np.linalg.norm(ours.response - expected) < 2e-3 * np.linalg.norm(expected)
    at_carrier = ours.response[..., 1] - expected[..., 1]
    assert np.linalg.norm(at_carrier) < 2e-6 * np.linalg.norm(expected[..., 1])


@pytest.mark.parametrize("orientation", [(0.0, 0.0, 0.0), (0.6, 0.0, 0.0), (-0.4, 0.3, 0.2)])
def test_the_line_of_sight_of_cdl_e_is_a_plane_wave_of_the_tabled_direction(orientation):
    array = UPA(4, 6, CARRIER, orientation_rad=orientation, pattern="isotropic")
    rows = table("cdl-e")
    zenith, azimuth = np.deg2rad(rows["zod"][0]), np.deg2rad(rows["aod"][0])  # the standard's base station departs
    towards = np.array([np.sin(zenith) * np.cos(azimuth), np.sin(zenith) * np.sin(azimuth), np.cos(zenith)])
    channels = stochastic_channels("cdl-e", array, num_tracks=10)
    # a K factor of 9.3 dB over all clusters: some tenth of the power comes from elsewhere
    assert np.median(coherence(channels.response[..., 0], plane_wave(array, towards))) > 0.85
    assert coherence(channels.response[..., 0], plane_wave(array, -towards)).max() < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("model", ["umi", "uma"])
def test_the_line_of_sight_of_a_user_comes_from_its_position(model):
    array = UPA(8, 8, CARRIER, position=(3.0, 4.0, 12.0), orientation_rad=(0.9, 0.1, 0.0), pattern="isotropic")
    channels = stochastic_channels(model, array, num_tracks=40, distance_m=(11.0, 18.0))
    assert channels.line_of_sight.all()  # the standard's probability is 1 up to 18 m
    towards = channels.positions_m - np.array(array.position)
    waves = plane_wave(array, towards / np.linalg.norm(towards, axis=1, keepdims=True))
    # a Rician K of 9 dB on average
    assert np.median(coherence(channels.response[..., 0], waves)) > 0.8
    mirrored = plane_wave(array, towards * [1, 1, -1] / np.linalg.norm(towards, axis=1, keepdims=True))
    assert np.median(coherence(channels.response[..., 0], mirrored)) < 0.2


def test_wide_bands_squint():
    """At one and a half times the carrier, elements are that many more wavelengths apart."""
    frequencies = [CARRIER, 1.5 * CARRIER]
    array = UPA(2, 16, CARRIER, orientation_rad=(0.7, 0.0, 0.0), pattern="isotropic")
    response = stochastic_channels("cdl-e", array, num_tracks=5, frequencies_hz=frequencies).response
    towards = np.array([np.sin(np.deg2rad(99.6)), 0.0, np.cos(np.deg2rad(99.6))])
    wider = dataclasses.replace(array, spacing_wavelengths=0.75)
    assert np.median(coherence(response[..., 0], plane_wave(array, towards))) > 0.85
    assert np.median(coherence(response[..., 1], plane_wave(wider, towards))) > 0.85
    assert coherence(response[..., 1], plane_wave(array, towards)).max() < 0.5


SPREAD = 1e-6
WIDE = CARRIER + np.arange(128) / (24.0 * SPREAD)  # the latest cluster of all comes at 20.6 delay spreads


@functools.cache
def fading(model):
    """Responses [200, F] of one isotropic element to 200 users."""
    channels = stochastic_channels(model, POINT, num_tracks=200, frequencies_hz=WIDE, delay_spread_s=SPREAD)
    return channels.response[:, 0]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["cdl-a", "cdl-b", "cdl-c", "cdl-d", "cdl-e"])
def test_mean_power_is_one_and_the_delay_spread_the_requested_one(model):
    delay, power = power_delay_profile(fading(model), WIDE)
    assert np.mean(np.abs(fading(model)) ** 2) == pytest.approx(1.0, rel=0.12)
    assert rms_delay_spread(delay, power) == pytest.approx(SPREAD, rel=0.08)


@pytest.mark.parametrize("model", ["cdl-a", "cdl-b", "cdl-c"])
def test_models_without_line_of_sight_fade_as_rayleigh(model):
    assert rician_k(fading(model)) < 0.5


@pytest.mark.parametrize("model", ["cdl-d", "cdl-e"])
def test_models_with_line_of_sight_have_the_k_of_their_table(model):
    powers = linear(table(model)["powers"])
    assert rician_k(fading(model)) == pytest.approx(powers[0] / powers[1:].sum(), rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize(("model", "expected_db"), [("cdl-d", 13.3), ("cdl-e", 22.0)])
def test_the_first_cluster_has_the_k_of_the_standard(model, expected_db):
    """Tables 7.7.1-4 and 7.7.1-5 state 13.3 and 22 dB: the line of sight over the first cluster alone."""
    second = sorted(set(table(model)["delays"]))[1] * SPREAD  # when the next cluster comes
    frequencies = CARRIER + (np.arange(64) - 32) / (4.0 * second)
    channels = stochastic_channels(
        model, POINT, num_tracks=250, frequencies_hz=frequencies, delay_spread_s=SPREAD, seed=1
    )
    tap = channels.response[:, 0] @ np.hanning(64)  # at delay 0, resolved to an eighth of that
    assert 10.0 * np.log10(rician_k(tap)) == pytest.approx(expected_db, abs=0.8)


def test_delays_scale_with_the_delay_spread():
    settings = {"num_tracks": 2, "seed": 8}
    offsets = np.arange(5) * 2e6
    once = stochastic_channels("cdl-c", POINT, frequencies_hz=CARRIER + offsets, delay_spread_s=50e-9, **settings)
    twice = stochastic_channels("cdl-c", POINT, frequencies_hz=CARRIER + offsets / 2, delay_spread_s=100e-9, **settings)
    assert np.allclose(once.response, twice.response, atol=1e-5)


def test_cross_polar_power_is_below_by_the_ratio_of_the_table():
    both = dataclasses.replace(POINT, polarization="VH")
    response = stochastic_channels("cdl-c", both, num_tracks=150, frequencies_hz=WIDE[::16]).response
    power = np.mean(np.abs(response) ** 2, axis=(0, 2))
    assert power[0] / power[1] == pytest.approx(linear(table("cdl-c")["xpr"]), rel=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("speed", [3.0, 30.0])
def test_time_correlation_is_that_of_the_clusters_and_a_random_heading(speed):
    """Over all headings in the plane, a ray of zenith angle z decorrelates as J0(2 pi v t sin(z) / lambda)."""
    channels = stochastic_channels(
        "cdl-a",
        POINT,
        num_tracks=200,
        num_steps=12,
        interval_s=5e-4,
        frequencies_hz=WIDE[::16],
        speed_mps=(speed, speed),
    )
    series = np.moveaxis(channels.response[:, 0].reshape(200, 12, 8), 1, 2)
    correlation = temporal_autocorrelation(series)
    rows = table("cdl-a")
    powers = linear(rows["powers"])
    shift = speed / POINT.wavelength_m * np.sin(np.deg2rad(rows["zoa"]))
    expected = (powers / powers.sum()) @ j0(2.0 * np.pi * shift[:, None] * channels.times_s[:12])
    assert np.abs(correlation - expected).max() < 0.12
    assert np.abs(correlation[4:]).max() < 0.5 if speed == 30.0 else np.abs(correlation).min() > 0.5


def test_tracks_are_continuous():
    channels = stochastic_channels("cdl-b", POINT, num_tracks=3, num_steps=50, interval_s=1e-5, speed_mps=(30.0, 30.0))
    series = channels.response[:, 0, 0].reshape(3, 50)
    # at most the greatest shift, v / lambda = 350 Hz, times 10 us, of the sum of all rays' amplitudes
    assert np.abs(np.diff(series)).max() < 2.0 * np.pi * 350.0 * 1e-5 * 10.0
    assert np.array_equal(channels.track, np.repeat([0, 1, 2], 50))
    assert np.allclose(channels.times_s, np.tile(np.arange(50) * 1e-5, 3))


def test_the_doppler_shift_is_positive_towards_the_array():
    """The phase of a line-of-sight user follows its distance: 2 pi / lambda per metre, with the velocity's sign."""
    array = dataclasses.replace(POINT, position=(0.0, 0.0, 10.0))
    for seed in range(5):
        channels = stochastic_channels(
            "umi",
            array,
            num_tracks=1,
            num_steps=4,
            interval_s=1e-4,
            distance_m=(11.0, 18.0),
            speed_mps=(20, 20),
            seed=seed,
        )
        turned = np.unwrap(np.angle(channels.response[:, 0, 0]))
        expected = -2.0 * np.pi * np.diff(channels.distance_m).mean() / array.wavelength_m
        assert np.diff(turned).mean() == pytest.approx(expected, abs=0.06)


def test_labels_of_cdl_hold_no_geometry():
    channels = stochastic_channels("cdl-d", POINT, num_tracks=4, num_steps=3, speed_mps=(2.0, 5.0))
    for label in (channels.positions_m, channels.distance_m, channels.azimuth_rad, channels.elevation_rad):
        assert not label.any()
    assert channels.has_path.all()
    assert channels.line_of_sight.all()
    assert not channels.near_field.any()
    speed = np.linalg.norm(channels.velocities_mps, axis=1)
    assert np.all((speed >= 2.0) & (speed <= 5.0))
    assert not channels.velocities_mps[:, 2].any()


def test_labels_of_umi_follow_the_user():
    array = UPA(16, 16, CARRIER, position=(100.0, 50.0, 10.0), orientation_rad=(np.pi / 2, 0.0, 0.0))
    channels = stochastic_channels("umi", array, num_tracks=60, num_steps=2, interval_s=0.1, distance_m=(10.0, 60.0))
    assert channels.positions_m[1] == pytest.approx(channels.positions_m[0] + 0.1 * channels.velocities_mps[0])
    first = channels.select(slice(None, None, 2))
    horizontal = np.linalg.norm(first.positions_m[:, :2] - [100.0, 50.0], axis=1)
    assert np.all((horizontal >= 10.0) & (horizontal <= 60.0))
    assert np.all(first.positions_m[:, 2] == 1.5)
    assert np.all(np.abs(first.azimuth_rad) <= np.pi / 3 + 1e-9)
    assert np.allclose(channels.distance_m, np.linalg.norm(channels.positions_m - [100.0, 50.0, 10.0], axis=1))
    assert np.array_equal(channels.near_field, channels.distance_m < array.rayleigh_distance_m)
    assert 0 < first.line_of_sight.sum() < 60
    assert 0 < channels.near_field.sum() < 120


def test_path_loss_is_that_of_free_space_and_more():
    near = {"num_tracks": 60, "distance_m": (11.0, 18.0), "seed": 3}
    with_loss = stochastic_channels("umi", POINT, **near, path_loss=True)
    without = stochastic_channels("umi", POINT, **near)
    ratio = np.mean(np.abs(with_loss.response) ** 2, axis=(1, 2)) / np.mean(np.abs(without.response) ** 2, axis=(1, 2))
    loss_db = -10.0 * np.log10(ratio)
    tabled = 32.4 + 21.0 * np.log10(with_loss.distance_m) + 20.0 * np.log10(3.5)  # table 7.4.1-1, UMi LoS
    assert np.mean(loss_db - tabled) == pytest.approx(0.0, abs=2.0)  # shadowing of 4 dB, averaged over 60
    assert np.std(loss_db - tabled) == pytest.approx(4.0, rel=0.4)


@pytest.mark.parametrize("model", ["cdl-c", "umi"])
def test_equal_seeds_give_equal_bytes_whatever_ran_before(model):
    import torch
    from sionna.phy import config

    settings = {"num_steps": 3, "frequencies_hz": CARRIER + np.arange(3) * 1e6}
    array = dataclasses.replace(TILTED, polarization="cross")
    first = stochastic_channels(model, array, num_tracks=3, **settings, seed=5)
    sionnas, torchs = config.torch_rng("cpu").get_state(), torch.get_rng_state()
    other = stochastic_channels(model, array, num_tracks=1, **settings, seed=6)
    again = stochastic_channels(model, array, num_tracks=2, **settings, seed=5)
    assert torch.equal(config.torch_rng("cpu").get_state(), sionnas)
    assert torch.equal(torch.get_rng_state(), torchs)
    assert again.response.tobytes() == first.response[:6].tobytes()  # a track does not depend on their number
    assert not np.allclose(other.response, first.response[:3])
    assert not np.allclose(first.response[:3], first.response[3:6])


def test_chunks_do_not_change_the_sum(monkeypatch):
    settings = {"num_tracks": 1, "num_steps": 7, "frequencies_hz": CARRIER + np.arange(5) * 1e6}
    whole = stochastic_channels("cdl-a", TILTED, **settings)
    monkeypatch.setattr(stochastic, "CHUNK_ENTRIES", 6_000)
    assert np.allclose(stochastic_channels("cdl-a", TILTED, **settings).response, whole.response, atol=1e-6)


def test_bytes_do_not_depend_on_the_number_of_threads():
    import torch

    array = UPA(7, 7, CARRIER)
    settings = {"num_tracks": 1, "num_steps": 20, "frequencies_hz": CARRIER + np.arange(32) * 30e3}
    before = torch.get_num_threads()
    found = set()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.add(stochastic_channels("cdl-a", array, **settings).response.tobytes())
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert len(found) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "cdl-f"}, "cdl-f"),
        ({"num_tracks": 0}, "num_tracks = 0"),
        ({"interval_s": 0.0}, "interval_s"),
        ({"speed_mps": (5.0, 1.0)}, "speed_mps"),
        ({"frequencies_hz": [-1.0]}, "frequencies_hz"),
        ({"delay_spread_s": -1.0}, "delay_spread_s"),
        ({"path_loss": True}, "no geometry"),
        ({"distance_m": (10.0, 20.0)}, "no geometry"),
        ({"model": "umi", "delay_spread_s": 1e-7}, "draws its own"),
        ({"model": "uma", "distance_m": (20.0, 10.0)}, "smaller one first"),
        ({"model": "uma", "array": UPA(1, 1, CARRIER)}, "position"),
        ({"array": UPA(1, 1, 200e9)}, "0.5 to 100 GHz"),
    ],
)
def test_unusable_settings_are_refused(changes, message):
    settings = {"model": "cdl-a", "array": POINT, "num_tracks": 1} | changes
    with pytest.raises(InputError, match=message) as caught:
        stochastic_channels(**settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("model", ["cdl-a", "umi"])
def test_a_missing_sionna_names_the_extra(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "sionna.phy", None)
    monkeypatch.setitem(sys.modules, "sionna.phy.channel", None)
    with pytest.raises(DependencyError, match=r"pip install 'channelfm\[threegpp\]'"):
        stochastic_channels(model, POINT, num_tracks=1)


def test_another_release_is_refused(monkeypatch):
    monkeypatch.setattr(cluster_rays.importlib.metadata, "version", lambda name: "3.0.0")
    with pytest.raises(DependencyError, match=r"sionna-no-rt==2\.2\.0"):
        cluster_rays.load_sionna()


def test_importing_the_module_does_not_import_sionna():
    code = "import sys, channelfm.channels.stochastic; sys.exit('sionna' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
