"""Sequential Monte Carlo: the particle filter, tempering and resampling."""

from .belief import Particles, ParticlesFamily, particles
from .particle_filter import ParticleFilter
from .resampling import Resampler, multinomial, resampler, residual, stratified, systematic
from .tempering import Tempering, tempering

__all__ = [
    "ParticleFilter",
    "Particles",
    "ParticlesFamily",
    "Resampler",
    "Tempering",
    "multinomial",
    "particles",
    "resampler",
    "residual",
    "stratified",
    "systematic",
    "tempering",
]
