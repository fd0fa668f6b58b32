"""Spectra against waves written down, covariances built without transforms, and SciPy."""

import re

import numpy as np
import pytest
import scipy.fft
import scipy.stats

from lindiff import frequency
from lindiff.frequency import (
    dct_basis,
    fourier_basis,
    mean_frequency,
    radial_spectrum,
    spectral_slope,
    stationary,
)
from lindiff.gaussian import Gaussian

ROUNDING = 1e-12  # for sums of about a thousand terms of size one
BASES = {"fourier": fourier_basis, "cosine": dct_basis}


def plane_wave(h, w, down, across, phase=0.0):
    """A cosine with so many periods over the image in each direction."""
    y, x = np.mgrid[:h, :w]
    return np.cos(2 * np.pi * (down * y / h + across * x / w) + phase)


def mirror_wave(h, w, down, across):
    """A product of cosines with so many half periods in each direction."""
    y, x = np.mgrid[:h, :w] + 0.5
    return np.cos(np.pi * down * y / h) * np.cos(np.pi * across * x / w)


# ---------------------------------------------------------------- radial spectra


@pytest.mark.parametrize("transform", BASES)
@pytest.mark.parametrize("shape", [(2, 2), (7, 7), (8, 8), (6, 11), (2, 9)])
def test_the_power_of_all_modes_is_the_power_of_all_pixels(shape, transform):
    images = 3 + np.random.default_rng(0).standard_normal((5, *shape))
    spectrum = radial_spectrum(images, transform=transform)
    assert spectrum.modes.sum() == shape[0] * shape[1]
    total = (spectrum.modes * spectrum.power).sum()
    assert total == pytest.approx((images**2).sum() / 5, rel=ROUNDING)
    assert (np.diff(spectrum.frequency) > 0).all()


@pytest.mark.parametrize("transform", BASES)
def test_ring_0_is_the_mean_grey_alone(transform):
    spectrum = radial_spectrum(np.full((2, 6, 6), 3.0), transform=transform)
    assert (spectrum.frequency[0], spectrum.modes[0]) == (0, 1)
    assert spectrum.power[0] == pytest.approx(9 * 36, rel=ROUNDING)
    np.testing.assert_allclose(spectrum.power[1:], 0, atol=1e-20)


@pytest.mark.parametrize("transform", BASES)
def test_white_noise_has_its_variance_in_every_ring(transform):
    n = 3000
    noise = 2 * np.random.default_rng(1).standard_normal((n, 12 * 12))
    spectrum = radial_spectrum(noise, transform=transform)
    # the power of a mode is 4 chi^2_1, of variance 2 * 16; two Fourier modes share one wave
    error = 4 * np.sqrt(2 * (2 if transform == "fourier" else 1) / (n * spectrum.modes))
    assert (np.abs(spectrum.power - 4) < 4 * error).all()


def test_a_plane_wave_lies_in_its_ring_and_its_power_is_shared_by_the_modes_there():
    # the modes (3, 4), (-3, -4) hold it all; ring 5 of 32 has the modes at 4.5 <= radius < 5.5
    modes = [(a, b) for a in range(-16, 16) for b in range(-16, 16)]
    radii = np.hypot(*np.array(modes).T)
    members = radii[np.rint(radii) == 5]
    spectrum = radial_spectrum(plane_wave(32, 32, 3, 4, 0.3)[None])
    assert spectrum.modes[5] == members.size
    assert spectrum.frequency[5] == pytest.approx(members.mean() / 32, rel=ROUNDING)
    assert spectrum.power[5] == pytest.approx(32 * 32 / 2 / members.size, rel=ROUNDING)
    np.testing.assert_allclose(np.delete(spectrum.power, 5), 0, atol=1e-20)


def test_rows_and_images_of_any_shape_give_the_same():
    images = np.random.default_rng(2).standard_normal((4, 6, 9))
    as_rows = images.reshape(4, 54)
    for a, b in zip(radial_spectrum(images), radial_spectrum(as_rows, (6, 9)), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(mean_frequency(images), mean_frequency(as_rows, (6, 9)))
    np.testing.assert_array_equal(
        mean_frequency(images[:, :, :6]), mean_frequency(images[:, :, :6].reshape(4, 36))
    )


@pytest.mark.parametrize("transform", ["fourier", "cosine"])
def test_the_frequency_of_a_colour_image_weighs_its_channels_with_their_power(transform):
    images = (
        np.random.default_rng(2).standard_normal((4, 3, 6, 9)) * np.array([1, 2, 5])[:, None, None]
    )
    found = mean_frequency(images, transform=transform)
    channels = mean_frequency(images.reshape(12, 6, 9), transform=transform).reshape(4, 3)
    power = (images**2).sum(axis=(2, 3))
    expected = (power * channels).sum(axis=1) / power.sum(axis=1)
    np.testing.assert_allclose(found, expected, rtol=ROUNDING)
    rows = images.reshape(4, -1)
    np.testing.assert_array_equal(mean_frequency(rows, (3, 6, 9), transform=transform), found)
    one = mean_frequency(images[:, :1], transform=transform)
    np.testing.assert_array_equal(one, mean_frequency(images[:, 0], transform=transform))


def test_many_images_are_the_mean_of_their_parts():
    x = np.random.default_rng(3).standard_normal((2500, 16))
    parts = [radial_spectrum(x[:100]).power, radial_spectrum(x[100:]).power]
    np.testing.assert_allclose(
        radial_spectrum(x).power, 0.04 * parts[0] + 0.96 * parts[1], rtol=ROUNDING
    )


def test_the_border_of_a_ramp_is_an_edge_for_fourier_and_none_for_cosines():
    ramp = np.broadcast_to(np.linspace(-1, 1, 64), (1, 64, 64))
    share = {}
    for transform in BASES:
        cycles, power, modes = radial_spectrum(ramp, transform=transform)
        share[transform] = (modes * power)[cycles > 0.25].sum() / (modes * power).sum()
    # amplitudes fall like 1/k and, over odd k, 1/k^2: tails of about (1/16 - 1/32) / (pi^2 / 6)
    # and 1 / (6 * 32^3)
    assert share["fourier"] > 0.01
    assert share["cosine"] < 1e-4


# ---------------------------------------------------------------- mean frequencies


@pytest.mark.parametrize(
    ("down", "across"), [(0, 0), (0, 1), (5, 0), (3, 4), (-2, 5), (6, 0), (6, -7)]
)
@pytest.mark.parametrize("phase", [0.0, 0.7])
def test_the_mean_frequency_of_a_plane_wave_is_its_frequency(down, across, phase):
    wave = plane_wave(12, 15, down, across, phase)[None]
    expected = np.hypot(down / 12, across / 15)
    assert mean_frequency(wave)[0] == pytest.approx(expected, abs=ROUNDING)


@pytest.mark.parametrize(("down", "across"), [(0, 0), (0, 1), (11, 14), (3, 4)])
def test_the_mean_frequency_of_a_mirrored_wave_is_its_frequency(down, across):
    wave = mirror_wave(12, 15, down, across)[None]
    expected = np.hypot(down / 24, across / 30)
    assert mean_frequency(wave, transform="cosine")[0] == pytest.approx(expected, abs=ROUNDING)


def test_the_mean_is_weighted_with_power_and_counts_the_mean_grey():
    low, high = plane_wave(16, 16, 0, 2), plane_wave(16, 16, 6, 0)
    grey = np.full((16, 16), np.sqrt(0.5))  # of the power of either wave
    mixed = mean_frequency([low + 2 * high, low + high + grey])
    np.testing.assert_allclose(mixed, [(2 + 4 * 6) / 5 / 16, (2 + 6) / 3 / 16], rtol=ROUNDING)


@pytest.mark.parametrize("scale", [-1.0, 1e-200, 1e200])
def test_sign_and_length_of_an_image_do_not_matter(scale):
    x = np.random.default_rng(4).standard_normal((3, 25))
    np.testing.assert_allclose(mean_frequency(scale * x), mean_frequency(x), rtol=ROUNDING)


# ---------------------------------------------------------------- bases


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("size", [2, 3, 8, 13])
def test_a_basis_is_orthonormal_and_its_waves_are_pure_and_ordered(name, size):
    rows, cycles = BASES[name](size)
    np.testing.assert_allclose(rows @ rows.T, np.eye(size**2), atol=ROUNDING)
    np.testing.assert_allclose(rows[0], 1 / size, rtol=ROUNDING)
    assert (np.diff(cycles) > -ROUNDING).all()
    np.testing.assert_allclose(mean_frequency(rows, transform=name), cycles, atol=1e-10)


def test_the_cosine_basis_is_the_dct_of_scipy_in_another_order():
    x = np.random.default_rng(5).standard_normal((7, 7))
    mine = dct_basis(7).rows @ x.ravel()
    np.testing.assert_allclose(
        np.sort(mine), np.sort(scipy.fft.dctn(x, norm="ortho").ravel()), atol=ROUNDING
    )


def kernel(size, rng):
    """An even, positive definite function on the torus of side `size`: a sum of random waves."""
    waves = [plane_wave(size, size, a, b) for a in range(size) for b in range(size)]
    return np.einsum("k,kyx", rng.uniform(0.1, 1, len(waves)), waves)


def pixels(size):
    return np.divmod(np.arange(size**2), size)


def circulant(size):
    """Covariance that depends on the difference of places on a torus."""
    c = kernel(size, np.random.default_rng(6))
    y, x = pixels(size)
    return c[(y[:, None] - y) % size, (x[:, None] - x) % size]


def mirrored(size):
    """Covariance of a patch of an image that a stationary law continues by mirror images."""
    c = kernel(2 * size, np.random.default_rng(7))
    c = c + c[::-1].take(np.arange(-1, 2 * size - 1), axis=0)  # even in each direction
    y, x = pixels(size)
    return sum(
        c[down % (2 * size), across % (2 * size)]
        for down in (y[:, None] - y, y[:, None] + y + 1)
        for across in (x[:, None] - x, x[:, None] + x + 1)
    )


@pytest.mark.parametrize(
    ("covariance", "name", "other"), [(circulant, "fourier", "cosine"), (mirrored, "cosine", None)]
)
@pytest.mark.parametrize("size", [4, 5])
def test_the_waves_are_the_principal_components(covariance, name, other, size):
    sigma = covariance(size)
    np.testing.assert_allclose(sigma, sigma.T, atol=1e-10)
    rows = BASES[name](size).rows
    diagonal = rows @ sigma @ rows.T
    values = np.diag(diagonal)
    np.testing.assert_allclose(diagonal, np.diag(values), atol=1e-11 * values.max())
    np.testing.assert_allclose(np.sort(values), np.linalg.eigvalsh(sigma), rtol=1e-9)
    if other:  # the test can fail: another basis of waves does not do it
        wrong = BASES[other](size).rows
        off = wrong @ sigma @ wrong.T
        assert np.abs(off - np.diag(np.diag(off))).max() > 0.01 * values.max()


# ---------------------------------------------------------------- a stationary law


@pytest.mark.parametrize("alpha", [-2.0, -0.5, 0.0, 1.0, 3.0])
@pytest.mark.parametrize("size", [2, 5, 8])
def test_a_stationary_law_has_its_exponent_unit_variance_and_no_mean_grey(size, alpha):
    law = stationary(size, alpha)
    assert isinstance(law, Gaussian)
    assert law.rank == size**2 - 1
    # every pixel has variance 1 and every shift leaves the covariance alone
    sigma = law.covariance()
    np.testing.assert_allclose(np.diag(sigma), 1, rtol=1e-10)
    shift = np.roll(np.arange(size**2).reshape(size, size), (1, 2), axis=(0, 1)).ravel()
    np.testing.assert_allclose(sigma[np.ix_(shift, shift)], sigma, atol=1e-10)
    np.testing.assert_allclose(sigma.sum(axis=1), 0, atol=1e-10)
    # each eigenvector is a wave, and its eigenvalue follows the power law
    cycles = mean_frequency(law.basis)
    np.testing.assert_allclose(
        law.eigenvalues / law.eigenvalues[0], (cycles / cycles[0]) ** -alpha, rtol=1e-9
    )


def test_low_frequencies_lead_if_power_falls_and_high_ones_if_it_rises():
    for alpha, sign in ((2.0, 1), (-2.0, -1)):
        cycles = mean_frequency(stationary(9, alpha).basis)
        assert (sign * np.diff(cycles) > -1e-10).all()


def test_extreme_exponents_stay_finite():
    for alpha in (-5000.0, 5000.0):
        assert np.isfinite(stationary(4, alpha).eigenvalues).all()


@pytest.mark.parametrize("alpha", [2.0, -2.0])
def test_the_slope_of_samples_is_the_exponent_of_their_law(alpha):
    x = stationary(32, alpha).sample(200, rng=np.random.default_rng(8))
    spectrum = radial_spectrum(x)
    fit = spectral_slope(spectrum.frequency, spectrum.power, 1 / 32, 0.5)
    # bias of the rings 0.02; relative error of a ring at most sqrt(2 / (200 * 8)) = 0.04, at the
    # lowest frequency, over 2.8 units of log frequency: below 0.02
    assert fit.alpha == pytest.approx(alpha, abs=0.05)
    predicted = fit.amplitude * spectrum.frequency[8] ** -fit.alpha
    assert predicted == pytest.approx(spectrum.power[8], rel=0.1)


# ---------------------------------------------------------------- slopes


@pytest.mark.parametrize("alpha", [-1.0, 0.0, 2.5])
def test_an_exact_power_law_is_read_without_error(alpha):
    f = np.linspace(0, 1, 21)
    power = np.append(-1e9, 3 * f[1:] ** -alpha)  # what lies outside the range does not count
    fit = spectral_slope(f, power, 0.05, 0.5)
    np.testing.assert_allclose(fit, [alpha, 0, 3], atol=1e-10)


def test_slope_and_error_are_those_of_scipy():
    rng = np.random.default_rng(9)
    f = np.geomspace(0.01, 0.5, 40)
    power = f**-2 * np.exp(0.3 * rng.standard_normal(40))
    fit = spectral_slope(f, power, 0.02, 0.4)
    inside = (f >= 0.02) & (f <= 0.4)
    expected = scipy.stats.linregress(np.log(f[inside]), np.log(power[inside]))
    np.testing.assert_allclose(
        fit, [-expected.slope, expected.stderr, np.exp(expected.intercept)], rtol=1e-10
    )


def test_both_ends_of_the_range_are_included():
    f, power = np.array([0.1, 0.2, 0.3, 0.4]), np.array([1.0, 2.0, 1.0, 5.0])
    assert spectral_slope(f, power, 0.1, 0.3) == spectral_slope(f[:3], power[:3], 0.05, 0.35)


# ---------------------------------------------------------------- refusals

IMAGES = np.ones((2, 4, 4))


@pytest.mark.parametrize("call", [radial_spectrum, mean_frequency])
@pytest.mark.parametrize(
    ("v", "shape", "message"),
    [
        (np.ones((3, 10)), None, "v has rows of 10 pixels; expected a square number, or the shape"),
        (np.ones(16), None, "v has shape (16,); expected 2 dimension(s)"),
        (np.ones((2, 1, 2, 4, 4)), None, "v has shape (2, 1, 2, 4, 4); expected 2 dimension(s)"),
        (np.ones((3, 10)), (3, 4), "v has shape (3, 10); expected (k, 12) or (k, 3, 4)"),
        (IMAGES, (2, 8), "v has shape (2, 4, 4); expected (k, 16) or (k, 2, 8)"),
        (IMAGES, 4, "shape is 4; expected integers (h, w)"),
        (IMAGES, (4, 4, 1, 1), "shape is (4, 4, 1, 1); expected integers (h, w)"),
        (np.ones((3, 10)), (2.5, 4), "side of the images in v is 2.5; expected an integer"),
        (np.ones((3, 1)), None, "side of the images in v is 1; expected an integer of at least 2"),
        (np.ones((3, 1, 9)), None, "side of the images in v is 1; expected an integer"),
        (np.ones((0, 16)), None, "number of images in v is 0; expected an integer of at least 1"),
        (np.full((1, 16), np.nan), None, "v is nan at index [0, 0]"),
    ],
)
def test_what_is_no_set_of_images_is_refused(call, v, shape, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call(v, shape)


def test_colours_that_do_not_fit_are_refused_with_the_form_expected():
    rows = np.ones((2, 48))
    with pytest.raises(
        ValueError, match=r"expected a square number, or the shape \(h, w\) or \(c, h"
    ):
        mean_frequency(rows)
    with pytest.raises(ValueError, match=r"expected \(k, 32\) or \(k, 2, 4, 4\)"):
        mean_frequency(rows, (2, 4, 4))
    with pytest.raises(ValueError, match="number of channels is 0"):
        mean_frequency(rows, (0, 4, 4))
    with pytest.raises(ValueError, match=r"shape is \(3, 4, 4\); expected integers \(h, w\)$"):
        radial_spectrum(rows, (3, 4, 4))


@pytest.mark.parametrize("call", [radial_spectrum, mean_frequency])
def test_an_unknown_transform_is_refused(call):
    with pytest.raises(ValueError, match="transform is 'wavelet'; expected 'fourier' or 'cosine'"):
        call(IMAGES, transform="wavelet")


def test_an_empty_image_has_no_mean_frequency():
    with pytest.raises(ValueError, match="image 1 of v is zero; expected some power"):
        mean_frequency([np.ones(9), np.zeros(9)])


@pytest.mark.parametrize("call", [fourier_basis, dct_basis, lambda size: stationary(size, 1.0)])
@pytest.mark.parametrize("size", [1, 2.5, None])
def test_a_basis_of_less_than_two_pixels_is_refused(call, size):
    with pytest.raises(ValueError, match=f"size is {size}; expected an integer of at least 2"):
        call(size)


@pytest.mark.parametrize(
    ("alpha", "message"), [(np.nan, "alpha is nan"), ("steep", "alpha is no"), ([2.0], "alpha has")]
)
def test_an_exponent_that_is_no_number_is_refused(alpha, message):
    with pytest.raises(ValueError, match=message):
        stationary(4, alpha)


F = [0.1, 0.2, 0.3, 0.4]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((F, F[:3], 0.1, 0.4), "power has shape (3,); expected (4,)"),
        ((F, F, 0.0, 0.4), "low is 0.0; expected a finite number > 0"),
        ((F, F, 0.3, 0.3), "high is 0.3; expected a finite number > 0.3"),
        ((F, F, 0.1, 0.25), "2 frequencies lie in [0.1, 0.25]; expected at least 3"),
        (([0.1, 0.1, 0.2, 0.2], F, 0.1, 0.2), "2 frequencies lie in"),
        ((F, [1, 0, 1, 1], 0.1, 0.4), "power has 0.0 in the range; expected positive powers"),
        ((F, [1, np.inf, 1, 1], 0.1, 0.4), "power is inf at index [1]"),
    ],
)
def test_a_slope_without_enough_to_fit_is_refused(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        spectral_slope(*arguments)


def test_records_have_their_names():
    assert frequency.Basis._fields == ("rows", "frequency")
    assert radial_spectrum(IMAGES)._fields == ("frequency", "power", "modes")
    assert frequency.Slope._fields == ("alpha", "error", "amplitude")


@pytest.mark.parametrize(("transform", "width"), [("fourier", 1 / 16), ("cosine", 1 / 32)])
def test_rings_of_a_wide_image_are_one_lowest_frequency_wide(transform, width):
    rings = radial_spectrum(np.random.default_rng(0).random((1, 8, 16)), transform=transform)
    place = rings.frequency / width
    np.testing.assert_array_equal(place.round(), np.arange(len(place)))
