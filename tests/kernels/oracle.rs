//! Each operation written down as plainly as possible, in f64, with the magnitudes that rounding is measured against.

use cifar_gpu::ops::StepState;
use cifar_gpu::ops::batch_assembly::{Augmentation, Flip, Normalization};
use cifar_gpu::ops::conv2d::Conv2dGeometry;
use cifar_gpu::ops::pool2d::Pool2dGeometry;
use cifar_gpu::ops::random::threefry;

use crate::compare::Conditioned;

/// Calls `visit(output element, input element, weight element)` for every product of a convolution.
fn products(g: &Conv2dGeometry, mut visit: impl FnMut(usize, usize, usize)) {
    for n in 0..g.batch {
        for oy in 0..g.out_h {
            for ox in 0..g.out_w {
                for ky in 0..g.kernel_h {
                    for kx in 0..g.kernel_w {
                        let (y, x) = (oy * g.stride + ky, ox * g.stride + kx);
                        if y < g.pad_top || x < g.pad_left || y - g.pad_top >= g.in_h || x - g.pad_left >= g.in_w {
                            continue;
                        }
                        let pixel = (n * g.in_h + y - g.pad_top) * g.in_w + x - g.pad_left;
                        for c in 0..g.in_c {
                            for o in 0..g.out_c {
                                visit(
                                    ((n * g.out_h + oy) * g.out_w + ox) * g.out_c + o,
                                    pixel * g.in_c + c,
                                    ((ky * g.kernel_w + kx) * g.in_c + c) * g.out_c + o,
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}

fn zeros(count: usize) -> Vec<Conditioned> {
    vec![Conditioned::default(); count]
}

pub fn conv2d_forward(g: &Conv2dGeometry, relu: bool, input: &[f32], weight: &[f32], bias: &[f32]) -> Vec<Conditioned> {
    let mut output = zeros(g.output_shape().iter().product());
    for (i, sum) in output.iter_mut().enumerate() {
        sum.add(f64::from(bias[i % g.out_c]));
    }
    products(g, |o, i, w| output[o].add(f64::from(input[i]) * f64::from(weight[w])));
    if relu {
        output.iter_mut().for_each(|sum| sum.value = sum.value.max(0.0));
    }
    output
}

pub fn dropout(probability: f64, key: [u32; 2], step: u32, values: &mut [Conditioned]) {
    for (i, value) in values.iter_mut().enumerate() {
        let random = threefry(key, [i as u32 / 2, step])[i % 2];
        let dropped = f64::from(random) / 2_f64.powi(32) < probability;
        *value = value.scaled(if dropped { 0.0 } else { 1.0 / (1.0 - probability) });
    }
}

pub fn conv2d_backward_input(g: &Conv2dGeometry, d_output: &[f32], weight: &[f32]) -> Vec<Conditioned> {
    let mut d_input = zeros(g.input_shape().iter().product());
    products(g, |o, i, w| d_input[i].add(f64::from(d_output[o]) * f64::from(weight[w])));
    d_input
}

pub fn conv2d_backward_weight(
    g: &Conv2dGeometry,
    input: &[f32],
    d_output: &[f32],
) -> (Vec<Conditioned>, Vec<Conditioned>) {
    let mut d_weight = zeros(g.weight_shape().iter().product());
    products(g, |o, i, w| d_weight[w].add(f64::from(input[i]) * f64::from(d_output[o])));
    let mut d_bias = zeros(g.out_c);
    for (i, &cotangent) in d_output.iter().enumerate() {
        d_bias[i % g.out_c].add(f64::from(cotangent));
    }
    (d_weight, d_bias)
}

pub fn max_pool2d_forward(g: &Pool2dGeometry, input: &[f32]) -> (Vec<f32>, Vec<u32>) {
    let (mut output, mut choice) = (Vec::new(), Vec::new());
    for n in 0..g.batch {
        for oy in 0..g.out_h {
            for ox in 0..g.out_w {
                for c in 0..g.channels {
                    let at = |tap: usize| {
                        let y = (oy * g.stride + tap / g.kernel_w).wrapping_sub(g.pad_top);
                        let x = (ox * g.stride + tap % g.kernel_w).wrapping_sub(g.pad_left);
                        let inside = y < g.in_h && x < g.in_w;
                        if inside { input[((n * g.in_h + y) * g.in_w + x) * g.channels + c] } else { f32::NEG_INFINITY }
                    };
                    let taps = g.kernel_h * g.kernel_w;
                    let best = (0..taps).map(at).fold(f32::NEG_INFINITY, f32::max);
                    output.push(best);
                    choice.push((0..taps).position(|tap| at(tap) == best).unwrap_or(usize::MAX) as u32);
                }
            }
        }
    }
    (output, choice)
}

pub fn max_pool2d_backward(g: &Pool2dGeometry, choice: &[u32], d_output: &[f32]) -> Vec<Conditioned> {
    let mut d_input = zeros(g.input_shape().iter().product());
    for (o, (&choice, &cotangent)) in choice.iter().zip(d_output).enumerate() {
        let (c, ox, oy) = (o % g.channels, o / g.channels % g.out_w, o / g.channels / g.out_w % g.out_h);
        let n = o / g.channels / g.out_w / g.out_h;
        let y = oy * g.stride + choice as usize / g.kernel_w - g.pad_top;
        let x = ox * g.stride + choice as usize % g.kernel_w - g.pad_left;
        d_input[((n * g.in_h + y) * g.in_w + x) * g.channels + c].add(f64::from(cotangent));
    }
    d_input
}

pub fn global_avg_pool_forward(pixels: usize, channels: usize, input: &[f32]) -> Vec<Conditioned> {
    let mut output = zeros(input.len() / pixels);
    for (i, &value) in input.iter().enumerate() {
        output[i / (pixels * channels) * channels + i % channels].add(f64::from(value) / pixels as f64);
    }
    output
}

pub fn global_avg_pool_backward(pixels: usize, channels: usize, d_output: &[f32]) -> Vec<Conditioned> {
    (0..d_output.len() * pixels)
        .map(|i| d_output[i / (pixels * channels) * channels + i % channels])
        .map(|value| Conditioned::exact(f64::from(value) / pixels as f64))
        .collect()
}

pub struct CrossEntropy {
    pub loss: Conditioned,
    pub correct: f32,
    pub d_logits: Vec<Conditioned>,
}

pub fn softmax_cross_entropy(smoothing: f64, classes: usize, logits: &[f32], labels: &[u32]) -> CrossEntropy {
    let rows = labels.len() as f64;
    let mut result = CrossEntropy { loss: Conditioned::default(), correct: 0.0, d_logits: Vec::new() };
    for (logits, &label) in logits.chunks(classes).zip(labels) {
        let logits: Vec<f64> = logits.iter().map(|&v| f64::from(v)).collect();
        let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = logits.iter().map(|v| (v - largest).exp()).sum();
        let mean = logits.iter().sum::<f64>() / classes as f64;
        result.loss.add((total.ln() + largest - (1.0 - smoothing) * logits[label as usize] - smoothing * mean) / rows);
        // Subtracting the largest logit rounds; so does 1 − p.
        result.loss.magnitude += largest.abs() / rows;
        if logits.iter().position(|&v| v == largest) == Some(label as usize) {
            result.correct += 1.0;
        }
        for (c, value) in logits.iter().enumerate() {
            let hit = if c == label as usize { 1.0 - smoothing } else { 0.0 } + smoothing / classes as f64;
            let probability = (value - largest).exp() / total;
            result.d_logits.push(Conditioned { value: (probability - hit) / rows, magnitude: 1.0 / rows });
        }
    }
    result
}

/// The images at `indices`, changed as is drawn for each, by the words of the operation's documentation.
pub fn batch_assembly(
    n: &Normalization,
    augmentation: Option<Augmentation>,
    state: &StepState,
    [height, width]: [usize; 2],
    images: &[u8],
    indices: &[u32],
) -> Vec<Conditioned> {
    let a = augmentation.unwrap_or(Augmentation::NONE);
    let (pixels, channels) = (height * width, n.mean.len());
    let key = [state.seed[0], state.seed[1] + 0x4000_0000];
    // The high or low half of a word as a number below `bound`.
    let below = |half: u32, bound: u32| i64::from(half * bound / 65_536);
    let halves = |word: u32| [word / 65_536, word % 65_536];
    let signed = |word: u32| f64::from(word / 256) / f64::from(1 << 23) - 1.0;
    let mut output = Vec::new();
    for (place, &index) in (0_u32..).zip(indices) {
        let draw = |number: u32| threefry(key, [4 * place + number, state.step]);
        let ([coin, crop], shifts, [angle, cut]) = (draw(0), draw(1), draw(2));
        let flipped = match a.flip {
            Flip::Never => false,
            Flip::Random => coin % 2 == 1,
            Flip::Alternating => (threefry([key[0], key[1] + 1], [index, 0])[0] + state.epoch) % 2 == 1,
            Flip::Always => true,
        };
        let padding = i64::from(a.crop_padding);
        let crop = halves(crop).map(|half| below(half, 2 * a.crop_padding + 1) - padding);
        let [cut_x, cut_y] = halves(cut);
        let corner = [below(cut_x, width as u32), below(cut_y, height as u32)].map(|c| c - i64::from(a.cutout / 2));
        let (sine, cosine) = (signed(angle) * f64::from(a.rotation_degrees).to_radians()).sin_cos();
        let shift =
            [signed(shifts[0]) * width as f64, signed(shifts[1]) * height as f64].map(|s| s * f64::from(a.shift));
        for p in 0..pixels {
            let (x, y) = ((p % width) as i64, (p / width) as i64);
            let cut_out = |v: i64, corner: i64| v >= corner && v < corner + i64::from(a.cutout);
            let is_cut = cut_out(x, corner[0]) && cut_out(y, corner[1]);
            let x = if flipped { width as i64 - 1 - x } else { x } + crop[0];
            let y = y + crop[1];
            let is_border = x < 0 || x >= width as i64 || y < 0 || y >= height as i64;
            let (middle_x, middle_y) = ((width - 1) as f64 / 2.0, (height - 1) as f64 / 2.0);
            let (dx, dy) = (x as f64 - middle_x, y as f64 - middle_y);
            let source_x = (cosine * dx - sine * dy + middle_x + shift[0]).clamp(0.0, (width - 1) as f64);
            let source_y = (sine * dx + cosine * dy + middle_y + shift[1]).clamp(0.0, (height - 1) as f64);
            for c in 0..channels {
                if is_cut {
                    output.push(Conditioned::exact(0.0));
                    continue;
                }
                let mut value = Conditioned::default();
                value.add(-n.mean[c] / n.std[c]);
                for y in 0..height {
                    for x in 0..width {
                        // Each pixel weighs as much as the tent over it is high there.
                        let tent = |place: f64, pixel: usize| (1.0 - (place - pixel as f64).abs()).max(0.0);
                        let weight = if is_border { 0.0 } else { tent(source_x, x) * tent(source_y, y) };
                        let byte = f64::from(images[(index as usize * channels + c) * pixels + y * width + x]);
                        value.add(weight * byte / 255.0 / n.std[c]);
                    }
                }
                if a.shift > 0.0 || a.rotation_degrees > 0.0 {
                    // A place rounds to 2⁻²¹ of a pixel or so, and neighbors differ by the whole range at most.
                    value.magnitude += 1.0 / n.std[c] * height.max(width) as f64;
                }
                output.push(value);
            }
        }
    }
    output
}
