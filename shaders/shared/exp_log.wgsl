// Exponential, and logarithm near 1, to within a unit or two in the last place: the built-in ones may be off by
// 3 + 2·|x| units or 2⁻²¹ (Vulkan's bounds), which a loss and its gradient would inherit.

// exp(x) for x ≤ 0: x = k·ln 2 + r, a Taylor polynomial in r, and k put into the exponent. 0 below −87.
fn exp_accurate(x: f32) -> f32 {
    let k = round(max(x, -87.0) * 1.4426950408889634);
    // ln 2 in two parts, of which the first times k is exact.
    let r = (max(x, -87.0) - k * 0.693359375) + k * 2.1219444005469058e-4;
    var p = 1.9841269841269841e-4;
    p = p * r + 1.3888888888888889e-3;
    p = p * r + 8.3333333333333333e-3;
    p = p * r + 4.1666666666666667e-2;
    p = p * r + 1.6666666666666667e-1;
    p = p * r + 0.5;
    p = p * r * r + r + 1.0;
    return select(p * bitcast<f32>((i32(k) + 127) << 23u), 0.0, x < -87.0);
}

// ln(1 + x) for x ≥ 0; for small x as 2·artanh(x / (2 + x)), to avoid the rounding error of 1 + x.
fn log_1p_accurate(x: f32) -> f32 {
    let s = x / (2.0 + x);
    let q = s * s;
    let series = 2.0 * s * (1.0 + q * (1.0 / 3.0 + q * (1.0 / 5.0 + q * (1.0 / 7.0 + q * (1.0 / 9.0)))));
    return select(log(1.0 + x), series, x < 0.5);
}
