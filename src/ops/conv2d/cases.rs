//! Cases of convolution: its three products by every algorithm and family of tiles.

use super::operands::Operands;
use super::{Algorithm, Conv2d, Conv2dGeometry, Direction, Epilogue, Plan, Target, Tiling, transpose_weight};
use crate::error::{Error, Result};
use crate::ops::Draw;
use crate::ops::case::{Case, Conditioned, Exactness, Purpose, TOLERANCE, Trial};
use crate::ops::dropout::{self, DropoutMask};
use crate::ops::{Padding, StepState};
use crate::tensor::{DType, Device};

/// [`TOLERANCE`] where Winograd's F(4×4, 3×3) and F(2×2, 5×5) may compute: their transforms multiply by up to 8 and subtract
/// what is nearly equal.
const WINOGRAD_4_TOLERANCE: f64 = 1.6e-5;
/// The same for cooperative matrices, whose sums GPUs may truncate instead of rounding.
const COOPERATIVE_TOLERANCE: f64 = 2e-5;
/// Plans that a GPU takes without having tried them.
const UNTRIED: [&str; 16] = [
    "staged-128x96",
    "staged-64x96-4x8",
    "staged-128x64",
    "staged-64x64-4x8",
    "staged-128x32-8x4",
    "staged-128x16-4x4",
    "staged-32x64-4x4",
    "staged-32x32-4x4",
    "winograd-4 staged-128x96",
    "winograd-4 staged-64x96-4x8",
    "winograd-4 staged-128x64",
    "winograd-4 staged-64x64-4x8",
    "winograd-4 staged-32x64-4x4",
    "winograd-4 staged-32x32-4x4",
    "winograd-2 staged-32x64-4x4",
    "winograd-2 staged-32x32-4x4",
];

/// Shapes of a convolution: input, side lengths of the window, output channels, stride and padding.
type Shapes = ([usize; 4], [usize; 2], usize, usize, Padding);

const VALID: Padding = Padding::Valid;
const SAME: Padding = Padding::Same;

/// Odd and prime sides, strides 1 to 3, every padding, batch 1, channels that no tile divides; whether with 16 bits, too: those
/// that take other ways through the kernels, for the time that drivers take to compile.
const SMALL: [(Shapes, bool); 18] = [
    (([1, 1, 1, 1], [1, 1], 1, 1, VALID), false),
    (([2, 7, 5, 3], [3, 3], 10, 1, SAME), true),
    (([1, 11, 13, 5], [5, 3], 7, 2, SAME), false),
    (([3, 9, 8, 4], [2, 2], 8, 1, SAME), false),
    (([2, 10, 7, 6], [3, 3], 9, 3, VALID), false),
    (([1, 8, 8, 12], [3, 3], 96, 1, VALID), true),
    (([2, 6, 6, 96], [1, 1], 10, 1, SAME), true),
    (([5, 1, 1, 33], [1, 1], 20, 1, VALID), false),
    (([2, 5, 5, 8], [3, 3], 16, 1, Padding::Explicit(2)), false),
    (([2, 16, 16, 8], [3, 3], 12, 2, Padding::Explicit(1)), true),
    (([1, 17, 3, 2], [7, 1], 3, 1, Padding::Explicit(3)), false),
    (([3, 2, 2, 4], [1, 1], 4, 3, Padding::Explicit(1)), false),
    (([9, 15, 15, 20], [3, 3], 24, 1, SAME), false),
    (([9, 15, 15, 20], [3, 3], 24, 2, SAME), false),
    (([2, 33, 31, 4], [3, 3], 8, 2, Padding::Explicit(1)), false),
    (([66, 8, 8, 3], [5, 5], 32, 1, VALID), false),
    (([2, 8, 9, 5], [3, 4], 6, 2, Padding::Sides { top: 2, bottom: 0, left: 1, right: 3 }), false),
    // Corners of the weight's gradient are sums of two products, smaller than the rounding errors of Winograd's transforms.
    (([1, 2, 3, 33], [3, 3], 64, 1, Padding::Explicit(1)), false),
];

const ODD: Shapes = ([2, 7, 5, 3], [3, 3], 10, 1, SAME);
const WIDE: Shapes = ([3, 9, 11, 20], [3, 3], 100, 2, SAME);
const NARROW: Shapes = ([3, 9, 12, 33], [3, 3], 18, 1, VALID);
const PADDED: Shapes = ([5, 8, 6, 40], [3, 3], 36, 1, Padding::Explicit(2));

/// Every algorithm and family of tiles, with shapes that fill no tile, reach over several and have odd channels. Few of them:
/// software drivers take seconds to compile a tile that is unrolled for a GPU.
const PLANNED: [(&str, DType, Shapes); 33] = [
    ("direct-4x16", DType::F32, ODD),
    ("direct-8x8", DType::F32, WIDE),
    ("direct-8x32", DType::F32, ODD),
    ("broadcast-2x16", DType::F32, ODD),
    ("broadcast-4x8", DType::F32, WIDE),
    ("broadcast-8x16", DType::F32, ([3, 9, 15, 12], [3, 3], 18, 1, VALID)),
    ("broadcast-4x8", DType::F32, ([2, 6, 11, 8], [3, 3], 12, 3, Padding::Explicit(2))),
    ("broadcast-2x12", DType::F32, ([3, 5, 4, 10], [3, 3], 9, 1, SAME)),
    ("staged-64x64", DType::F32, ODD),
    ("staged-128x96", DType::F32, WIDE),
    // Slabs of 24 channels; four rows in a line, or not; slabs of pixels in a line.
    ("staged-128x96", DType::F32, ([3, 9, 12, 48], [3, 3], 96, 1, SAME)),
    ("staged-128x96", DType::F32, ([2, 9, 15, 24], [3, 3], 24, 1, VALID)),
    ("staged-64x64", DType::F16, ([2, 5, 16, 24], [3, 3], 40, 1, SAME)),
    ("staged-64x96-4x8", DType::F32, ([2, 5, 32, 8], [3, 3], 12, 2, Padding::Explicit(1))),
    // Slabs of pixels that are parts of a line, the last one short.
    ("staged-64x64", DType::F32, ([2, 3, 35, 8], [3, 3], 12, 1, SAME)),
    ("staged-32x64", DType::F32, WIDE),
    ("staged-32x32", DType::F32, ODD),
    ("staged-64x32", DType::F16, ODD),
    ("cooperative-64x32", DType::F16, ([2, 5, 7, 4], [3, 3], 12, 1, SAME)),
    ("cooperative-64x32", DType::F16, PADDED),
    ("cooperative-128x96", DType::F16, PADDED),
    ("cooperative-64x96", DType::F16, ([1, 2, 32, 32], [3, 3], 40, 2, SAME)),
    ("cooperative-128x64", DType::F16, ([1, 2, 32, 32], [3, 3], 68, 1, SAME)),
    ("winograd-2 direct-8x8", DType::F32, ([1, 1, 1, 1], [3, 3], 1, 1, SAME)),
    ("winograd-2 direct-8x8", DType::F32, NARROW),
    ("winograd-4 direct-4x16", DType::F32, NARROW),
    ("winograd-2 broadcast-8x16", DType::F32, NARROW),
    ("winograd-4 broadcast-2x16", DType::F32, PADDED),
    ("winograd-4 direct-8x8", DType::F32, PADDED),
    ("winograd-2 staged-64x64", DType::F32, PADDED),
    ("winograd-2 direct-8x8", DType::F32, ([2, 7, 9, 3], [5, 5], 5, 1, VALID)),
    ("winograd-2 direct-8x8", DType::F32, ([3, 9, 12, 33], [5, 5], 18, 1, SAME)),
    ("winograd-2 direct-8x8", DType::F32, ([5, 8, 6, 40], [5, 5], 36, 1, Padding::Explicit(4))),
];

const CHECKED: Shapes = ([2, 9, 7, 8], [3, 3], 12, 1, SAME);
const CHECKED_WINOGRAD: Shapes = ([2, 9, 7, 16], [3, 3], 12, 1, SAME);

/// What `devices --check` runs, by names that say what is special.
const CHECKS: [(&str, Option<&str>, DType, Shapes); 12] = [
    ("3 to 10 channels", None, DType::F32, ([2, 9, 7, 3], [3, 3], 10, 1, SAME)),
    ("96 to 96 channels", None, DType::F32, ([1, 8, 8, 96], [3, 3], 96, 1, SAME)),
    ("5×5 windows", None, DType::F32, ([2, 10, 10, 8], [5, 5], 12, 1, SAME)),
    ("1×1 windows", None, DType::F32, ([2, 6, 6, 20], [1, 1], 10, 1, SAME)),
    ("stride 2", None, DType::F32, ([2, 9, 7, 8], [3, 3], 12, 2, SAME)),
    ("16-bit floats", None, DType::F16, CHECKED),
    ("direct-8x8", Some("direct-8x8"), DType::F32, CHECKED),
    ("broadcast-2x16", Some("broadcast-2x16"), DType::F32, CHECKED),
    ("staged-64x64", Some("staged-64x64"), DType::F32, CHECKED),
    ("cooperative-64x32", Some("cooperative-64x32"), DType::F16, CHECKED),
    ("winograd-2", Some("winograd-2 direct-8x8"), DType::F32, CHECKED_WINOGRAD),
    ("winograd-4", Some("winograd-4 direct-8x8"), DType::F32, CHECKED_WINOGRAD),
];

/// The convolutions and fully connected layers of lenet5, ygnet and all-cnn-c, each shape once.
const LAYERS: [(&str, Shapes); 20] = [
    ("lenet5.conv1", ([64, 32, 32, 3], [5, 5], 32, 1, VALID)),
    ("lenet5.conv2", ([64, 14, 14, 32], [5, 5], 64, 1, VALID)),
    ("lenet5.fc1", ([64, 1, 1, 1600], [1, 1], 200, 1, VALID)),
    ("lenet5.fc2", ([64, 1, 1, 200], [1, 1], 100, 1, VALID)),
    ("lenet5.fc3", ([64, 1, 1, 100], [1, 1], 10, 1, VALID)),
    ("ygnet.conv1", ([64, 32, 32, 3], [3, 3], 96, 1, SAME)),
    ("ygnet.conv2", ([64, 32, 32, 96], [3, 3], 96, 1, SAME)),
    ("ygnet.conv4", ([64, 15, 15, 96], [3, 3], 192, 1, SAME)),
    ("ygnet.conv5", ([64, 15, 15, 192], [3, 3], 192, 1, VALID)),
    ("ygnet.conv6", ([64, 13, 13, 192], [3, 3], 192, 1, SAME)),
    ("ygnet.conv7", ([64, 6, 6, 192], [3, 3], 192, 1, SAME)),
    ("ygnet.conv8", ([64, 6, 6, 192], [1, 1], 192, 1, SAME)),
    ("ygnet.conv9", ([64, 6, 6, 192], [1, 1], 10, 1, SAME)),
    ("all-cnn-c.conv3", ([64, 32, 32, 96], [3, 3], 96, 2, Padding::Explicit(1))),
    ("all-cnn-c.conv4", ([64, 16, 16, 96], [3, 3], 192, 1, Padding::Explicit(1))),
    ("all-cnn-c.conv5", ([64, 16, 16, 192], [3, 3], 192, 1, Padding::Explicit(1))),
    ("all-cnn-c.conv6", ([64, 16, 16, 192], [3, 3], 192, 2, Padding::Explicit(1))),
    ("all-cnn-c.conv7", ([64, 8, 8, 192], [3, 3], 192, 1, VALID)),
    ("resnet20.layer1", ([64, 32, 32, 16], [3, 3], 16, 1, Padding::Explicit(1))),
    ("resnet20.layer2", ([64, 16, 16, 32], [3, 3], 32, 1, Padding::Explicit(1))),
];

/// What the shaders of all tiles are made for: vectors of four channels as in ygnet, and none.
const TILED: [Shapes; 2] = [([2, 32, 32, 96], [3, 3], 96, 1, SAME), ODD];

/// Plans for random shapes: every algorithm and family, but no tile that software drivers take seconds to compile.
const DRAWN_PLANS: [Option<&str>; 12] = [
    None,
    None,
    None,
    Some("direct-8x8"),
    Some("direct-4x16"),
    Some("broadcast-2x16"),
    Some("broadcast-4x8"),
    Some("staged-32x64-4x4"),
    Some("staged-64x64"),
    Some("winograd-2 direct-8x8"),
    Some("winograd-4 broadcast-2x16"),
    Some("winograd-2 staged-32x32-4x4"),
];

/// All cases.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    let mut cases = Vec::new();
    for (shapes, is_narrow_too) in SMALL {
        for dtype in [DType::F32, DType::F16].into_iter().take(if is_narrow_too { 2 } else { 1 }) {
            cases.push(products(format!("conv2d/{}{}", name(shapes), suffix(dtype)), dtype, None, shapes, true));
        }
    }
    let sides = Padding::Sides { top: 0, bottom: 2, left: 2, right: 1 };
    for shapes in [([2, 7, 6, 3], [3, 3], 5, 1, sides), ([3, 9, 7, 16], [3, 3], 20, 1, SAME)] {
        cases.push(products(format!("conv2d/without_bias_{}", name(shapes)), DType::F32, None, shapes, false));
    }
    for (plan, dtype, shapes) in PLANNED {
        cases.push(products(
            format!("conv2d/{plan}{}/{}", suffix(dtype), name(shapes)),
            dtype,
            Some(plan),
            shapes,
            true,
        ));
    }
    for (plan, dtype, shapes) in draw.times(8, drawn) {
        let by = plan.unwrap_or("the usual plans");
        let name = format!("conv2d/{by}/{}{}", name(shapes), suffix(dtype));
        let case = Case::new(name, move |trial| {
            let g = geometry(shapes)?;
            let suits = |plan: &Plan| plan.suits(Target::new(trial.device(), dtype), &g);
            let plan = plan.map(parse).transpose()?.filter(suits);
            let operands = Operands::random(trial.device(), dtype, &g, true)?;
            verify(trial, dtype, plan, &operands)
        });
        let is_rough = plan.is_some_and(|plan| plan.starts_with("winograd-4"));
        cases.push(case.with_dtype(dtype).rough(is_rough).for_purpose(Purpose::Random));
    }
    for (what, plan, dtype, shapes) in CHECKS {
        cases.push(products(format!("conv2d/{what}"), dtype, plan, shapes, true).for_purpose(Purpose::Check));
    }
    cases.extend(UNTRIED.map(|plan| {
        let shapes = ([3, 9, 11, 20], [3, 3], 100, 1, SAME);
        let name = format!("conv2d/{plan}, untried");
        products(name, DType::F32, Some(plan), shapes, true).for_purpose(Purpose::CheckGpu)
    }));
    for (layer, shapes) in LAYERS {
        let layers = Case::both_widths(&format!("conv2d/{layer}"), move |trial, dtype| bench(trial, dtype, shapes));
        cases.extend(layers.map(|case| case.for_purpose(Purpose::Bench)));
    }
    for (tiling, shapes) in Tiling::all().flat_map(|tiling| TILED.map(|shapes| (tiling, shapes))) {
        for dtype in [DType::F32, DType::F16] {
            let name = format!("conv2d/{}/shaders_{}", Plan { algorithm: Algorithm::ImplicitGemm, tiling }, shapes.2);
            let case = Case::of(dtype, &name, move |trial| every_product_of(trial, dtype, tiling, shapes));
            cases.push(case.for_purpose(Purpose::Shaders));
        }
    }
    let sides = Padding::Sides { top: 2, bottom: 0, left: 0, right: 1 };
    let gradient = |name: &str, shapes: &[&[usize]], op: Conv2d| {
        // The plans cannot be handed to other threads.
        let Conv2d { stride, padding, activation, .. } = op;
        Case::gradient(name, shapes, move |_| Ok(Conv2d { stride, padding, activation, ..Conv2d::default() }))
    };
    let (input, weight): (&[usize], &[usize]) = (&[2, 6, 6, 4], &[3, 3, 4, 5]);
    cases.extend([
        gradient("conv2d", &[input, weight, &[5]], Conv2d::default().stride(2).padding(SAME)),
        gradient("conv2d_relu", &[input, weight, &[5]], Conv2d::default().relu()),
        gradient("conv2d_without_bias", &[input, weight], Conv2d::default().padding(sides)),
    ]);
    cases
}

/// Shapes that have an output, and a plan.
fn drawn(draw: &mut Draw) -> (Option<&'static str>, DType, Shapes) {
    loop {
        let (input, kernel) = (draw.images(20, 40), [draw.count(5), draw.count(5)]);
        let stride = draw.one_of(&[1, 1, 1, 2, 3]);
        let shapes = (input, kernel, draw.count(70), stride, draw.padding(kernel));
        if geometry(shapes).is_ok() {
            return (draw.one_of(&DRAWN_PLANS), draw.one_of(&[DType::F32, DType::F16]), shapes);
        }
    }
}

fn suffix(dtype: DType) -> &'static str {
    if dtype == DType::F16 { "_f16" } else { "" }
}

fn name((input, [kh, kw], out_c, stride, padding): Shapes) -> String {
    let [n, h, w, c] = input;
    format!("{n}x{h}x{w}x{c}_to_{out_c}_kernel_{kh}x{kw}_stride_{stride}_{padding:?}")
}

fn geometry((input, [kh, kw], out_c, stride, padding): Shapes) -> Result<Conv2dGeometry> {
    Conv2dGeometry::new(&input, &[kh, kw, input[3], out_c], stride, padding)
}

fn parse(plan: &str) -> Result<Plan> {
    plan.parse().map_err(|e: super::UnknownPlan| Error::shape("conv2d", e.to_string()))
}

/// All three products, by one plan or as the device chooses.
fn products(name: String, dtype: DType, plan: Option<&'static str>, shapes: Shapes, has_bias: bool) -> Case {
    let case = Case::new(name, move |trial| {
        let (g, plan) = (geometry(shapes)?, plan.map(parse).transpose()?);
        let operands = Operands::random(trial.device(), dtype, &g, has_bias)?;
        let is_cooperative = matches!(plan, Some(Plan { tiling: Tiling::Cooperative { .. }, .. }));
        match (trial.device(), plan) {
            // Few adapters have cooperative matrices; the others must say so. The CPU has no tiles: it computes alike by any.
            (Device::Gpu(gpu), Some(plan)) if is_cooperative && gpu.cooperative_matrix().is_none() => {
                let feature = "EXPERIMENTAL_COOPERATIVE_MATRIX";
                trial.lacks(feature, operands.forward(plan, Epilogue::RELU))?;
                trial.lacks(feature, operands.backward_input(plan, None))?;
                trial.lacks(feature, operands.backward_weight(plan))
            }
            _ => verify(trial, dtype, plan, &operands),
        }
    });
    let is_winograd_4 = plan.is_some_and(|plan| plan.starts_with("winograd-4"));
    case.with_dtype(dtype).rough(is_winograd_4).where_it_suits(move |device| {
        let suits = |plan| Ok::<_, Error>(parse(plan)?.suits(Target::new(device, dtype), &geometry(shapes)?));
        // What cannot even be asked is run, to be told of.
        plan.is_none_or(|plan| suits(plan).unwrap_or(true))
    })
}

fn verify(trial: &mut Trial<'_>, dtype: DType, plan: Option<Plan>, operands: &Operands) -> Result<()> {
    let g = &operands.geometry;
    let device = trial.device();
    let plan = |direction| plan.unwrap_or_else(|| Plan::usual(Target::new(device, dtype), direction, g));
    let exactness = |direction, dtype| {
        let tolerance = match plan(direction) {
            Plan { algorithm: Algorithm::Winograd { outputs }, .. } if outputs + g.kernel_h > 5 => WINOGRAD_4_TOLERANCE,
            Plan { tiling: Tiling::Cooperative { .. }, .. } => COOPERATIVE_TOLERANCE,
            _ => TOLERANCE,
        };
        Exactness { dtype, tolerance }
    };
    let (x, w, d) = (trial.read(&operands.input)?, trial.read(&operands.weight)?, trial.read(&operands.d_output)?);
    let b = operands.bias.as_ref().map(|bias| trial.read(bias)).transpose()?;

    let direction = Direction::Forward;
    let mask = DropoutMask { probability: 0.4, stream: 2, image_elements: 0 };
    let state = StepState::new(0x1234_5678_9abc, 77, 0.0).tensor(device)?;
    let output = operands.forward(plan(direction), Epilogue::default())?;
    trial.close(exactness(direction, dtype), "conv2d_forward", &output, || {
        mixed(plan(direction), forward(g, false, &x, &w, b.as_deref()))
    })?;
    let output = operands.forward(plan(direction), Epilogue { relu: true, dropout: Some((mask, &state)) })?;
    trial.close(exactness(direction, dtype), "conv2d_forward with ReLU and dropout", &output, || {
        let mut expected = mixed(plan(direction), forward(g, true, &x, &w, b.as_deref()));
        dropout::cases::drop_out(0.4, [0x5678_9abc, 0x1234 + 2], 77, &mut expected);
        expected
    })?;

    let transposed = transpose_weight(g, &operands.weight)?;
    trial.equal("conv2d_transpose_weight", &transposed, || {
        let place = |i: usize| (i % g.in_c, i / g.in_c % g.out_c, i / g.in_c / g.out_c);
        (0..w.len()).map(place).map(|(c, o, tap)| w[(tap * g.in_c + c) * g.out_c + o]).collect()
    })?;

    let direction = Direction::BackwardInput;
    for factor in [None, Some(1.25)] {
        let d_input = operands.backward_input(plan(direction), factor)?;
        trial.close(exactness(direction, dtype), "conv2d_backward_input", &d_input, || {
            let mut expected = mixed(plan(direction), backward_input(g, &d, &w));
            let scale = |x: f32| if x > 0.0 { 1.25 } else { 0.0 };
            if factor.is_some() {
                expected.iter_mut().zip(&x).for_each(|(sum, &x)| *sum = sum.scaled(scale(x)));
            }
            expected
        })?;
    }

    let direction = Direction::BackwardWeight;
    let [d_weight, d_bias] = operands.backward_weight(plan(direction))?;
    let exactness = exactness(direction, DType::F32);
    trial
        .close(exactness, "conv2d_backward_weight", &d_weight, || mixed(plan(direction), backward_weight(g, &x, &d)))?;
    trial.close(exactness, "conv2d_backward_weight, bias", &d_bias, || {
        let mut sums = vec![Conditioned::default(); g.out_c];
        d.iter().enumerate().for_each(|(i, &cotangent)| sums[i % g.out_c].add(f64::from(cotangent)));
        sums
    })
}

/// Sums as a plan's algorithm computes them. Winograd's transforms mix neighboring elements, and each gets the rounding errors of all:
/// it is measured against the mean magnitude, too.
fn mixed(plan: Plan, mut sums: Vec<Conditioned>) -> Vec<Conditioned> {
    if matches!(plan.algorithm, Algorithm::Winograd { .. }) {
        let mean = sums.iter().map(|sum| sum.magnitude).sum::<f64>() / sums.len() as f64;
        sums.iter_mut().for_each(|sum| sum.magnitude = sum.magnitude.max(mean));
    }
    sums
}

/// Each product once, as the device chooses.
fn bench(trial: &mut Trial<'_>, dtype: DType, shapes: Shapes) -> Result<()> {
    let g = geometry(shapes)?;
    let operands = Operands::random(trial.device(), dtype, &g, true)?;
    Direction::ALL.into_iter().try_for_each(|direction| {
        let plan = Plan::usual(Target::new(trial.device(), dtype), direction, &g);
        operands.product(direction, plan).map(drop)
    })
}

/// Each product once by the plans that have these tiles and suit, whatever the device would take.
fn every_product_of(trial: &mut Trial<'_>, dtype: DType, tiling: Tiling, shapes: Shapes) -> Result<()> {
    let g = geometry(shapes)?;
    let operands = Operands::random(trial.device(), dtype, &g, true)?;
    for algorithm in [Algorithm::ImplicitGemm, Algorithm::Winograd { outputs: 2 }] {
        let plan = Plan { algorithm, tiling };
        if plan.suits(Target::new(trial.device(), dtype), &g) {
            for direction in Direction::ALL {
                operands.product(direction, plan)?;
            }
        }
    }
    Ok(())
}

/// Calls `visit(output element, input element, weight element)` for every product of a convolution.
fn for_each_product(g: &Conv2dGeometry, mut visit: impl FnMut(usize, usize, usize)) {
    let taps = || (0..g.kernel_h).flat_map(|ky| (0..g.kernel_w).map(move |kx| (ky, kx)));
    for out_pixel in 0..g.out_pixels() {
        let (ox, oy, n) = (out_pixel % g.out_w, out_pixel / g.out_w % g.out_h, out_pixel / g.out_w / g.out_h);
        for (ky, kx) in taps() {
            let (y, x) = (oy * g.stride + ky, ox * g.stride + kx);
            if y < g.pad_top || x < g.pad_left || y - g.pad_top >= g.in_h || x - g.pad_left >= g.in_w {
                continue;
            }
            let in_pixel = (n * g.in_h + y - g.pad_top) * g.in_w + x - g.pad_left;
            for c in 0..g.in_c {
                for o in 0..g.out_c {
                    let weight = ((ky * g.kernel_w + kx) * g.in_c + c) * g.out_c + o;
                    visit(out_pixel * g.out_c + o, in_pixel * g.in_c + c, weight);
                }
            }
        }
    }
}

/// The output, with ReLU behind it if `relu`.
pub(in crate::ops) fn forward(
    g: &Conv2dGeometry,
    relu: bool,
    input: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
) -> Vec<Conditioned> {
    let mut output = vec![Conditioned::default(); g.output_shape().iter().product()];
    if let Some(bias) = bias {
        output.iter_mut().enumerate().for_each(|(i, sum)| sum.add(f64::from(bias[i % g.out_c])));
    }
    for_each_product(g, |o, i, w| output[o].add(f64::from(input[i]) * f64::from(weight[w])));
    if relu {
        output.iter_mut().for_each(|sum| sum.value = sum.value.max(0.0));
    }
    output
}

fn backward_input(g: &Conv2dGeometry, d_output: &[f32], weight: &[f32]) -> Vec<Conditioned> {
    let mut d_input = vec![Conditioned::default(); g.input_shape().iter().product()];
    for_each_product(g, |o, i, w| d_input[i].add(f64::from(d_output[o]) * f64::from(weight[w])));
    d_input
}

fn backward_weight(g: &Conv2dGeometry, input: &[f32], d_output: &[f32]) -> Vec<Conditioned> {
    let mut d_weight = vec![Conditioned::default(); g.weight_shape().iter().product()];
    for_each_product(g, |o, i, w| d_weight[w].add(f64::from(input[i]) * f64::from(d_output[o])));
    d_weight
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::gpu::Budget;
    use crate::ops::conv2d::DeviceKind;

    /// Training took tiles of which the check knew nothing.
    #[test]
    fn what_gpus_take_untried_is_checked() {
        let target = |registers| Target {
            kind: DeviceKind::Gpu,
            dtype: DType::F32,
            cooperative: None,
            subgroup: None,
            budget: Budget { registers, ..Budget::default() },
            is_inference: false,
        };
        let mut taken = BTreeSet::new();
        let channels = [(3, 10), (3, 20), (3, 50), (3, 96), (96, 96), (128, 128)];
        let sizes = [1, 64].into_iter().flat_map(|batch| [6, 32].map(|side| (batch, side)));
        for ((batch, side), (in_c, out_c)) in sizes.flat_map(|size| channels.map(|channels| (size, channels))) {
            let g = Conv2dGeometry::new(&[batch, side, side, in_c], &[3, 3, in_c, out_c], 1, Padding::Same).unwrap();
            for registers in [64, 128, 255] {
                taken.extend(Direction::ALL.map(|direction| Plan::usual(target(registers), direction, &g).to_string()));
            }
        }
        assert_eq!(taken, UNTRIED.map(String::from).into());
    }
}
