"""U-Nets of diffusers as denoisers, against the schedulers and pipelines of diffusers itself."""

import functools
import sys

import diffusers
import numpy as np
import pytest
import torch

import lindiff
from lindiff.deep.adapters import from_diffusers
from lindiff.deep.jacobian import Jacobian, finite_difference
from lindiff.deep.networks import Rows

PREDICTIONS = ("epsilon", "sample", "v_prediction")
# Both sides evaluate the same formulas on values of order one. In single precision they form
# 1 - alpha_bar and its root in different orders.
ROUNDING = {torch.float32: 1e-5, torch.float64: 1e-9}
# Levels up to about 1.3: a random network then makes images that the pipeline does not clamp.
SHORT = {"num_train_timesteps": 40, "beta_start": 1e-3, "beta_end": 0.05}


def make_unet(**changes):
    """A random network with attention, in training mode as diffusers makes it."""
    torch.manual_seed(3)
    settings = {
        "sample_size": 8,
        "in_channels": 1,
        "out_channels": 1,
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "attention_head_dim": 4,
        "block_out_channels": (8, 8),
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    }
    return diffusers.UNet2DModel(**settings | changes)


def make_pipeline(scheduler="DDPMScheduler", dtype=torch.float64, unet=None, **config):
    """A pipeline, by default in double precision down to the levels."""
    chain = getattr(diffusers, scheduler)(**config)
    chain.alphas_cumprod = chain.alphas_cumprod.to(dtype)
    return diffusers.DDPMPipeline((unet or make_unet()).to(dtype).eval(), chain)


def images(denoiser, n=2, seed=0):
    """Noise of unit variance that fits a denoiser."""
    noise = np.random.default_rng(seed).standard_normal((n, *denoiser.shape))
    return torch.from_numpy(noise).to(next(denoiser.parameters()))


def assert_equals_diffusers(pipeline, denoiser, time, tol):
    """Compare one estimate with the one that the scheduler makes of the network's output."""
    scheduler, unet = pipeline.scheduler, pipeline.unet
    sigma = denoiser.sigmas[-1 - time]
    x = images(denoiser, seed=time)  # in variance-preserving coordinates
    scheduler.set_timesteps(scheduler.config.num_train_timesteps)
    with torch.no_grad():
        theirs = scheduler.step(unet(x, time).sample, time, x).pred_original_sample
        ours = denoiser(x * (1 + sigma**2) ** 0.5, sigma)
    torch.testing.assert_close(ours, theirs, rtol=tol, atol=tol * (1 + sigma))


@pytest.mark.parametrize(
    "scheduler",
    [
        "DDIMScheduler",
        "DDPMScheduler",
        "EulerDiscreteScheduler",
        "EulerAncestralDiscreteScheduler",
        "DPMSolverMultistepScheduler",
        "UniPCMultistepScheduler",
    ],
)
@pytest.mark.parametrize("betas", ["linear", "scaled_linear"])
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of diffusers
def test_a_chain_that_ends_in_pure_noise_has_the_same_levels_for_every_scheduler(scheduler, betas):
    """Some schedulers write the vanishing last signal as 2^-24, which is no level of the chain."""
    settings = {"beta_schedule": betas, "rescale_betas_zero_snr": True}
    settings["prediction_type"] = "v_prediction"
    levels = [
        from_diffusers(make_pipeline(name, **settings)).sigmas
        for name in (scheduler, "DDIMScheduler")
    ]
    assert len(levels[0]) == 999
    np.testing.assert_allclose(levels[0], levels[1], rtol=1e-6)


# ---------------------------------------------------------------- against diffusers


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_stored_pipeline_gives_the_estimates_of_its_own_scheduler(tmp_path, prediction, dtype):
    settings = {"prediction_type": prediction, "clip_sample": False}
    pipeline = make_pipeline(dtype=dtype, **settings)
    pipeline.save_pretrained(tmp_path)
    loaded = from_diffusers(tmp_path)
    assert loaded.prediction == prediction
    y = images(loaded)  # a folder is read in single precision
    direct = from_diffusers(make_pipeline(dtype=torch.float32, **settings))
    torch.testing.assert_close(loaded(y, 0.5), direct(y, 0.5), rtol=0, atol=0)
    for time in (0, 7, 500, 999):
        assert_equals_diffusers(pipeline, from_diffusers(pipeline), time, ROUNDING[dtype])


@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_the_levels_are_those_of_the_betas(schedule):
    pipeline = make_pipeline("DDIMScheduler", beta_schedule=schedule, clip_sample=False)
    denoiser = from_diffusers(pipeline)
    # diffusers accumulates in single precision; next to 1 that leaves three digits of 1e-4
    expected = lindiff.from_betas(pipeline.scheduler.betas.double().numpy())[:-1]
    np.testing.assert_allclose(denoiser.sigmas, expected, rtol=1e-3)
    assert (denoiser.sigma_max, denoiser.sigma_min) == tuple(denoiser.sigmas[[0, -1]])
    assert_equals_diffusers(pipeline, denoiser, 300, 1e-9)
    with pytest.raises(ValueError, match="read-only"):
        denoiser.sigmas[0] = 1.0


def test_a_chain_that_ends_in_pure_noise_keeps_its_finite_levels():
    settings = {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}
    pipeline = make_pipeline("DDIMScheduler", clip_sample=False, **settings)
    denoiser = from_diffusers(pipeline)
    assert denoiser.sigmas.size == 999
    assert denoiser.time(denoiser.sigma_max) == 998
    assert_equals_diffusers(pipeline, denoiser, 998, 1e-9)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_sampling_makes_the_images_that_the_ddim_pipeline_makes(prediction):
    base = make_pipeline("DDIMScheduler", prediction_type=prediction, clip_sample=False, **SHORT)
    pipeline = diffusers.DDIMPipeline(base.unet, base.scheduler)
    pipeline.scheduler.alphas_cumprod = base.scheduler.alphas_cumprod.double()
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(5)
    theirs = pipeline(2, generator, num_inference_steps=8, output_type="np").images

    denoiser = from_diffusers(pipeline)
    levels = denoiser.sigmas[-1 - pipeline.scheduler.timesteps.numpy()]
    noise = torch.randn(2, 1, 8, 8, generator=generator.manual_seed(5), dtype=torch.float64)
    start = noise * (1 + levels[0] ** 2) ** 0.5
    with torch.no_grad():
        *_, end = lindiff.sample(denoiser, start, [*levels, 0.0], step=lindiff.ddim)
    ours = (end.x / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-9)
    assert np.mean((theirs > 0) & (theirs < 1)) > 0.5  # not a comparison of clamped values


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers
def test_between_the_levels_time_and_path_are_those_of_euler_on_karras_levels():
    pipeline = make_pipeline("EulerDiscreteScheduler", torch.float32, use_karras_sigmas=True)
    scheduler, denoiser = pipeline.scheduler, from_diffusers(pipeline)
    scheduler.set_timesteps(10)
    levels, times = scheduler.sigmas.double().numpy(), scheduler.timesteps.tolist()
    assert sum(abs(time - round(time)) > 0.01 for time in times) >= 7
    # diffusers has level and time in single precision: 1e-7 of a log that spans 10 in 1000 steps
    np.testing.assert_allclose([denoiser.time(s) for s in levels[:-1]], times, atol=2e-3)

    x = images(denoiser) * float(levels[0])
    with torch.no_grad():
        ours = list(lindiff.sample(denoiser, x, levels))[1:]
        for time, state in zip(scheduler.timesteps, ours, strict=True):
            out = pipeline.unet(scheduler.scale_model_input(x, time), time).sample
            x = scheduler.step(out, time, x).prev_sample
            # rounding of the times, 2e-3 of a step, through a network with slope below 0.1
            torch.testing.assert_close(state.x, x, rtol=1e-4, atol=1e-4 * float(levels[0]))


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_network_with_classes_gives_the_estimates_of_the_class_it_is_told(prediction):
    pipeline = make_pipeline(
        unet=make_unet(num_class_embeds=3), prediction_type=prediction, clip_sample=False
    )
    plain = pipeline.unet.forward
    estimates = []
    for label in range(3):
        denoiser = from_diffusers(pipeline, condition=label)
        pipeline.unet.forward = functools.partial(plain, class_labels=torch.tensor([label]))
        assert denoiser.condition == label
        assert_equals_diffusers(pipeline, denoiser, 500, 1e-9)
        estimates.append(denoiser(images(denoiser), 1.0))
        del pipeline.unet.forward
    assert (estimates[0] - estimates[1]).abs().max() > 1e-4  # the class does matter


def test_a_learned_variance_is_left_out():
    unet = make_unet(out_channels=2)
    pipeline = make_pipeline(unet=unet, variance_type="learned_range", clip_sample=False)
    assert_equals_diffusers(pipeline, from_diffusers(pipeline), 500, 1e-9)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_estimates_are_not_clipped_even_where_the_scheduler_clips(prediction):
    unet = make_unet()
    with torch.no_grad():
        unet.conv_out.weight *= 20
    open_ended = make_pipeline(unet=unet, prediction_type=prediction, clip_sample=False)
    clipping = make_pipeline(unet=unet, prediction_type=prediction, clip_sample=True)
    denoiser = from_diffusers(clipping)
    assert_equals_diffusers(open_ended, denoiser, 300, 1e-9)
    assert denoiser(images(denoiser), 1.0).abs().max() > 1.5


# ---------------------------------------------------------------- times


def test_half_way_between_two_levels_the_network_is_told_half_a_time():
    pipeline = make_pipeline()
    denoiser = from_diffusers(pipeline)
    sigma = np.sqrt(denoiser.sigmas[-11] * denoiser.sigmas[-12])  # times 10 and 11
    assert denoiser.time(sigma) == pytest.approx(10.5, abs=1e-9)
    y = images(denoiser)
    x = y / (1 + sigma**2) ** 0.5
    noise = {time: pipeline.unet(x, torch.tensor([time])).sample for time in (10.0, 10.5, 11.0)}
    torch.testing.assert_close(denoiser(y, sigma), (y - sigma * noise[10.5]).detach())
    # the network does distinguish them: a time without its fraction would be seen
    for whole in (10.0, 11.0):
        assert (noise[10.5] - noise[whole]).abs().max() > 1e-3


def test_the_estimate_is_continuous_in_sigma():
    denoiser = from_diffusers(make_pipeline())
    y = images(denoiser)
    for sigma in denoiser.sigmas[[-2, -12, 500, 1]]:  # where two pieces of the time meet
        near = denoiser(y, sigma * (1 - 1e-7)) - denoiser(y, sigma * (1 + 1e-7))
        assert near.abs().max() < 1e-4 * sigma  # times move by up to 1e-4, rounded


def test_a_table_of_times_is_read_at_the_nearest_one():
    unet = make_unet(time_embedding_type="learned", num_train_timesteps=1000)
    pipeline = make_pipeline(unet=unet, clip_sample=False)
    denoiser = from_diffusers(pipeline)
    assert [denoiser.time(s) for s in denoiser.sigmas[-3] * np.array([0.99, 1.0, 1.01])] == [2] * 3
    assert_equals_diffusers(pipeline, denoiser, 500, 1e-9)


@pytest.mark.parametrize("sigma", [0.0, 1e-3, 158.0, float("nan"), -1.0, "much"])
def test_levels_outside_of_training_are_refused_with_the_range(sigma):
    denoiser = from_diffusers(make_pipeline())
    expected = r"expected (0.0100\d* to 157.4\d*|a finite number)"
    with pytest.raises(ValueError, match=f"sigma is {sigma}; {expected}"):
        denoiser(images(denoiser), sigma)


def test_the_ends_of_the_range_are_inside_up_to_rounding():
    denoiser = from_diffusers(make_pipeline())
    assert denoiser.time(float(np.float32(denoiser.sigma_max)) * (1 + 1e-7)) == 999
    assert denoiser.time(denoiser.sigma_min * (1 - 1e-7)) == 0


# ---------------------------------------------------------------- the rest of the package


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_jacobian_is_exact_through_attention(prediction):
    denoiser = from_diffusers(make_pipeline(prediction_type=prediction))
    y, sigma = images(denoiser)[0], 0.7
    jacobian = Jacobian(denoiser, y, sigma)
    dense = torch.autograd.functional.jacobian(lambda y: denoiser(y[None], sigma)[0], y)
    dense = dense.reshape(64, 64).numpy()
    v = images(denoiser, n=3, seed=1)
    rows = v.reshape(3, 64).numpy()
    np.testing.assert_allclose(jacobian.jv(rows), rows @ dense.T, atol=1e-10)
    np.testing.assert_allclose(jacobian.vj(rows), rows @ dense, atol=1e-10)
    # a central difference has an error of about (1e-16)^(2/3) times a third derivative
    approximate = finite_difference(denoiser, y, sigma, v)
    torch.testing.assert_close(jacobian.jv(v), approximate, rtol=0, atol=1e-7)
    found = jacobian.svd(2, rng=np.random.default_rng(0))
    # residuals of 1e-3 leave an error of about their square
    np.testing.assert_allclose(
        found.singular_values, np.linalg.svd(dense, compute_uv=False)[:2], rtol=1e-4
    )


def test_rows_of_numpy_go_through_in_the_precision_of_the_network():
    denoiser = from_diffusers(make_pipeline())
    y = images(denoiser)
    rows = Rows(denoiser, denoiser.shape)(y.reshape(2, 64).numpy(), 0.5)
    np.testing.assert_array_equal(rows.reshape(y.shape), denoiser(y, 0.5).numpy())


def test_the_model_stays_as_it_was_and_in_training():
    unet = make_unet(dropout=0.5)
    unet(torch.ones(1, 1, 8, 8), 3).sample.sum().backward()
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    weights = {name: (p, p.grad.clone()) for name, p in unet.named_parameters()}
    denoiser = from_diffusers(diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler()))
    y = images(denoiser).requires_grad_()
    out = denoiser(y, 0.5)
    torch.testing.assert_close(out, denoiser(y, 0.5), rtol=0, atol=0)  # no dropout
    out.sum().backward()
    assert y.grad.abs().max() > 0
    Jacobian(denoiser, images(denoiser)[0], 0.5).jv(np.ones(64))

    assert all(module.training for module in unet.modules())
    for name, p in unet.named_parameters():
        assert p is weights[name][0]
        assert p.requires_grad
        torch.testing.assert_close(p.grad, weights[name][1], rtol=0, atol=0)
    for name, value in unet.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_gradient_checkpointing_is_turned_off_in_the_denoiser_and_stays_on_in_the_model():
    pipeline = make_pipeline()
    exact = Jacobian(from_diffusers(pipeline), torch.ones(1, 8, 8).double(), 0.5).dense()
    pipeline.unet.enable_gradient_checkpointing()
    jacobian = Jacobian(from_diffusers(pipeline), torch.ones(1, 8, 8).double(), 0.5)
    np.testing.assert_allclose(jacobian.dense(), exact, atol=1e-12)
    np.testing.assert_allclose(jacobian.jv(np.eye(64)).T, exact, atol=1e-12)
    assert pipeline.unet.is_gradient_checkpointing


def test_the_weights_are_shared_and_ask_for_no_gradients():
    pipeline = make_pipeline()
    denoiser = from_diffusers(pipeline)
    pairs = list(zip(denoiser.parameters(), pipeline.unet.parameters(), strict=True))
    assert all(mine.data_ptr() == theirs.data_ptr() for mine, theirs in pairs)
    assert not any(mine.requires_grad for mine, _ in pairs)
    assert not denoiser(images(denoiser), 0.5).requires_grad


@pytest.mark.parametrize(("size", "expected"), [((8, 16), (8, 16)), (None, (None, None))])
def test_the_shape_is_that_of_the_training_images(tmp_path, size, expected):
    make_pipeline(unet=make_unet(sample_size=size)).save_pretrained(tmp_path)
    denoiser = from_diffusers(str(tmp_path))
    assert denoiser.shape == (1, *expected)
    assert denoiser(torch.zeros(2, 1, 6, 10), 0.5).shape == (2, 1, 6, 10)  # others will do


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize("name", ["someone/no-such-model", "not/a/valid/name", "no-such-folder"])
def test_a_closed_network_or_a_wrong_name_gets_advice(monkeypatch, name):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(OSError, match=rf"{name} is no folder, .* pipeline.save_pretrained") as info:
        from_diffusers(name)
    assert isinstance(info.value.__cause__, Exception)


@pytest.mark.parametrize("broken", ["model_index.json", "unet/config.json", "everything"])
def test_a_folder_without_a_pipeline_gets_advice(tmp_path, broken):
    if broken != "everything":
        make_pipeline().save_pretrained(tmp_path)
        (tmp_path / broken).write_text("{")
    with pytest.raises(
        OSError, match=r"holds no usable pipeline .* pipeline.save_pretrained"
    ) as info:
        from_diffusers(tmp_path)
    assert isinstance(info.value.__cause__, Exception)


@pytest.mark.parametrize("shown", [True, False])
def test_loading_prints_no_bar_and_keeps_the_setting_of_the_user(tmp_path, capfd, shown):
    make_pipeline().save_pretrained(tmp_path)
    logging = diffusers.utils.logging
    capfd.readouterr()
    try:
        if not shown:
            logging.disable_progress_bar()
        from_diffusers(tmp_path)
        assert logging.is_progress_bar_enabled() == shown
    finally:
        logging.enable_progress_bar()
    assert capfd.readouterr() == ("", "")


def test_without_diffusers_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ImportError, match=r"needs the package diffusers: .*lindiff\[deep\]"):
        from_diffusers("any")


@pytest.mark.parametrize("make", [make_unet, dict, object])
def test_what_is_no_pipeline_is_refused(make):
    source = make()
    kind = type(source).__name__
    with pytest.raises(
        ValueError, match=rf"source is a {kind}; expected .*DDPMPipeline\(unet, sch"
    ):
        from_diffusers(source)


@pytest.mark.parametrize("kind", ["timestep", "identity"])
def test_a_class_that_is_no_entry_of_a_table_is_refused(kind):
    with pytest.raises(ValueError, match=f"conditional on a class by class_embed_type {kind}; exp"):
        from_diffusers(make_pipeline(unet=make_unet(class_embed_type=kind)), condition=1)


@pytest.mark.parametrize(
    ("classes", "condition", "message"),
    [
        (3, None, "unet is conditional on a class; expected condition=, an integer from 0 to 2"),
        (3, 3, "condition is 3; expected an integer of at least 0 and at most 2"),
        (3, 0.5, r"condition is 0.5; expected an integer"),
        (None, 0, "condition is 0; expected None: the network is unconditional"),
    ],
)
def test_a_condition_that_does_not_fit_is_refused(classes, condition, message):
    pipeline = make_pipeline(unet=make_unet(num_class_embeds=classes))
    with pytest.raises(ValueError, match=message):
        from_diffusers(pipeline, condition=condition)


def test_a_network_conditional_on_text_is_refused():
    unet = diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8,),
        norm_num_groups=4,
        cross_attention_dim=8,
        attention_head_dim=4,
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
    )
    with pytest.raises(ValueError, match="unet is a UNet2DConditionModel; expected an uncond"):
        from_diffusers(make_pipeline(unet=unet))


def test_a_network_that_wants_more_channels_than_images_have_is_refused():
    with pytest.raises(ValueError, match="unet has 3 channels in and 1 out; expected"):
        from_diffusers(make_pipeline(unet=make_unet(in_channels=3)))


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("EDMEulerScheduler", {}),
        ("ScoreSdeVeScheduler", {}),
        ("FlowMatchEulerDiscreteScheduler", {}),
        (
            "EulerDiscreteScheduler",
            {"timestep_type": "continuous", "prediction_type": "v_prediction"},
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers
def test_schedulers_of_other_processes_are_refused_by_name(name, config):
    scheduler = getattr(diffusers, name)(**config)
    with pytest.raises(ValueError, match=f"scheduler is a {name} without .* such as DDPMScheduler"):
        from_diffusers(diffusers.DDPMPipeline(make_unet(), scheduler))


def test_an_unknown_prediction_is_refused():
    message = "prediction_type of the scheduler is 'flow'; expected epsilon, sample, v_prediction"
    with pytest.raises(ValueError, match=message):
        from_diffusers(make_pipeline(prediction_type="flow"))


@pytest.mark.parametrize(
    ("betas", "message"),
    [([0.1, 0.0, 0.1], "sigmas goes from"), ([0.0, 0.1, 0.1], "smallest level .* is 0")],
)
def test_a_chain_that_adds_no_noise_in_a_step_is_refused(betas, message):
    with pytest.raises(ValueError, match=message):
        from_diffusers(make_pipeline(trained_betas=betas))


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.zeros((2, 1, 8, 8)), "y is a ndarray; expected a torch tensor"),
        (torch.zeros(1, 8, 8), r"y has shape \(1, 8, 8\); expected \(n, 1, h, w\)"),
        (torch.zeros(2, 3, 8, 8), r"y has shape \(2, 3, 8, 8\); expected \(n, 1, h, w\)"),
        (torch.zeros(2, 1, 9, 8), r"y has shape \(2, 1, 9, 8\); .* divisible by 2"),
        (torch.zeros(2, 1, 8, 7), r"y has shape \(2, 1, 8, 7\); .* divisible by 2"),
        (torch.zeros(2, 1, 8, 8), "y is torch.float32 on cpu; expected torch.float64 on cpu"),
        (
            torch.zeros(2, 1, 8, 8, dtype=torch.float64, device="meta"),
            "y is torch.float64 on meta; expected torch.float64 on cpu",
        ),
    ],
)
def test_images_that_do_not_fit_are_refused(y, message):
    with pytest.raises(ValueError, match=message):
        from_diffusers(make_pipeline())(y, 0.5)
