"""Options of the methods on the command line."""

from __future__ import annotations

import argparse
from pathlib import Path

from bids_recon.cli.option_group import add_option
from bids_recon.cli.values import finite_number, fraction, positive_number, seed_number, whole_number
from bids_recon.config import CHOICES


def add_method_options(group: argparse._ArgumentGroup) -> None:
    """Add the options of methods and decoders."""
    add_option(
        group,
        "--method",
        nargs="+",
        metavar="NAME",
        help="reconstruction methods: eigenimage (default), deep-recon, brain-diffuser",
    )
    add_option(
        group,
        "--decoder",
        metavar="NAME",
        help="decoder, where a method has several (ridge, unit-ridge, sparse, parametric-inversion)",
    )
    add_option(
        group, "--alpha", nargs="+", type=positive_number, metavar="ALPHA",
        help="penalties of ridge-type decoders: one is taken, of several one is chosen (the method's)",
    )  # fmt: skip
    add_option(
        group, "--alpha-selection", choices=CHOICES["alpha_selection"],
        help="how the penalty is chosen: folds of stimuli, leaving out each, or generalised cross-validation",
    )  # fmt: skip
    add_option(
        group, "--alpha-per", choices=CHOICES["alpha_per"],
        help="one penalty for a latent space (default), or one for each target",
    )  # fmt: skip
    add_option(
        group, "--noise-covariance", choices=CHOICES["noise_covariance"],
        help="covariance of voxel noise that the decoder parametric-inversion takes into account (none)",
    )  # fmt: skip
    add_option(
        group, "--rescale", choices=CHOICES["rescale"],
        help="bring decoded latents to the spread of true ones, by out-of-fold predictions of training trials"
        " (default: what the method does)",
    )  # fmt: skip
    add_option(
        group, "--decoders", type=Path, metavar="DIR",
        help="output folder of an earlier run, whose decoders are used; nothing is fitted",
    )  # fmt: skip
    add_option(
        group,
        "--n-components",
        type=whole_number,
        metavar="N",
        help="principal components of eigenimage (120)",
    )
    add_option(
        group, "--image-size", type=whole_number, metavar="PIXELS",
        help="height and width of pictures (the method's: eigenimage 64, deep-recon 224)",
    )  # fmt: skip
    add_option(
        group, "--extra-images", type=Path, metavar="DIR",
        help="more pictures to fit latent spaces on; none of them may be a test picture",
    )  # fmt: skip
    add_option(
        group, "--legacy-test-statistics", action="store_true",
        help="use test-set statistics where the publication did; sidecars say so",
    )  # fmt: skip
    add_option(
        group,
        "--n-shuffles",
        type=whole_number,
        metavar="N",
        help="shuffles that measure the floor (the method's: 20; deep-recon and brain-diffuser 2)",
    )
    add_option(
        group, "--seed", "--random-seed", type=seed_number, metavar="N", help="seed of everything random (0)"
    )


def add_optimisation_options(group: argparse._ArgumentGroup) -> None:
    """Add the options of a method that finds pictures by optimisation."""
    add_option(
        group, "--encoder", choices=CHOICES["encoder"],
        help="network whose features are decoded (vgg19; vgg19-imagery has average pooling and leaky ReLUs)",
    )  # fmt: skip
    add_option(
        group, "--layers", nargs="+", metavar="NAME",
        help="its layers, by name or group: conv1_1, DNN3, DNN1-4 (all)",
    )  # fmt: skip
    add_option(
        group, "--norm-correction", choices=CHOICES["norm_correction"],
        help="bring decoded features to the norm of training pictures, of --extra-images, or around a mean",
    )  # fmt: skip
    add_option(
        group, "--generator", choices=CHOICES["generator"],
        help="optimise pixels (none), the input of a generator of natural pictures (relu7), or smooth waves",
    )  # fmt: skip
    add_option(
        group, "--optimiser", choices=CHOICES["optimiser"],
        help="how pictures are found (lbfgs for pixels, gradient-descent for a generator)",
    )  # fmt: skip
    add_option(group, "--iterations", type=whole_number, metavar="N", help="iterations of the search (200)")
    add_option(
        group, "--layer-order", choices=CHOICES["layer_order"],
        help="match all layers from the start, or shallow ones first (the encoder's: together for VGG19)",
    )  # fmt: skip


def add_diffusion_options(group: argparse._ArgumentGroup) -> None:
    """Add the options of a method that refines a first guess by diffusion."""
    add_option(
        group, "--vdvae-latents", choices=CHOICES["vdvae_latents"],
        help="targets of the first guess: mean of the VDVAE's posterior (default), or a sample as published",
    )  # fmt: skip
    add_option(
        group, "--vdvae-guess", choices=CHOICES["vdvae_guess"],
        help="what was not decoded of the first guess: sampled, as published (default), or its mean",
    )  # fmt: skip
    add_option(
        group, "--ablate", nargs="+", choices=CHOICES["ablate"],
        help="leave out the first guess, a condition, or the whole refinement (nothing)",
    )  # fmt: skip
    add_option(
        group, "--strength", type=fraction, metavar="FRACTION",
        help="part of the diffusion steps that the first guess goes through (0.75)",
    )  # fmt: skip
    add_option(
        group, "--guidance-scale", type=finite_number, metavar="SCALE",
        help="weight of the conditions against none (7.5)",
    )  # fmt: skip
    add_option(
        group, "--text-strength", type=fraction, metavar="FRACTION",
        help="weight of CLIP-text; that of CLIP-vision is the rest (0.4)",
    )  # fmt: skip
    add_option(group, "--steps", type=whole_number, metavar="N", help="steps of the whole diffusion (50)")
    add_option(
        group, "--vd-start", choices=CHOICES["vd_start"],
        help="noise of the start: a step more than is removed (published, the default), or as in diffusers",
    )  # fmt: skip
    add_option(
        group, "--precision", choices=CHOICES["precision"],
        help="numbers of the diffusion network (auto: float16 on CUDA, else float32)",
    )  # fmt: skip


def add_analysis_options(group: argparse._ArgumentGroup) -> None:
    """Add the options of what is made beside one picture for each response."""
    add_option(
        group, "--samples", type=whole_number, metavar="N",
        help="pictures drawn from each response, by methods that draw at random, with a map of their"
        " spread (1)",
    )  # fmt: skip
    add_option(
        group, "--roi-pictures", action="store_true", help="draw and score pictures of each region alone, too"
    )
    add_option(
        group, "--analyses", nargs="+", choices=CHOICES["analyses"],
        help="which regions weigh for which latents, and pictures that would drive a region (none)",
    )  # fmt: skip
    add_option(
        group, "--roi-mix", nargs="+", metavar="MIX",
        help="regions of the analyses, mixed by & | ~ and brackets, as 'V1 & ~V2' (each region alone)",
    )  # fmt: skip
    add_option(
        group, "--eccentricity", type=Path, metavar="FILE",
        help="pRF eccentricity map in degrees, whose bins are regions of the analyses (the data set's own)",
    )  # fmt: skip
