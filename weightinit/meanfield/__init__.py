"""Mean field: how second moments, correlations and gradients go from layer to layer of wide random networks."""

from weightinit.meanfield.criticality import CriticalPoint, DepthScales, Phase, critical_point, depth_scales
from weightinit.meanfield.finite_width import LogNorm, log_norm
from weightinit.meanfield.fixed_points import FixedPoint, c_star, q_limit, q_star
from weightinit.meanfield.jacobian import SingularValues, jacobian_moments
from weightinit.meanfield.maps import (
    c_map,
    c_slope,
    chi,
    covariance,
    q_map,
    q_slope,
    second_moment,
    slope_covariance,
    slope_second_moment,
)
from weightinit.meanfield.stability import Stability, signal_stability

__all__ = [
    "CriticalPoint",
    "DepthScales",
    "FixedPoint",
    "LogNorm",
    "Phase",
    "SingularValues",
    "Stability",
    "c_map",
    "c_slope",
    "c_star",
    "chi",
    "covariance",
    "critical_point",
    "depth_scales",
    "jacobian_moments",
    "log_norm",
    "q_limit",
    "q_map",
    "q_slope",
    "q_star",
    "second_moment",
    "signal_stability",
    "slope_covariance",
    "slope_second_moment",
]
