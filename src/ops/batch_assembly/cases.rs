//! Cases of batch assembly.

use super::{Augmentation, Border, Flip, ImageChunk, Normalization, batch_assembly};
use crate::error::Result;
use crate::ops::Draw;
use crate::ops::StepState;
use crate::ops::case::{Case, Conditioned, Exactness, Purpose, Trial};
use crate::ops::random::threefry;
use crate::tensor::DType;

/// All cases.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    let mut cases = Vec::new();
    // Color and gray; an image's bytes are no whole number of words.
    for (shape, kind) in [([3, 5, 3], ""), ([5, 3, 1], "_5x3_gray"), ([4, 7, 1], "_4x7_gray"), ([7, 4, 3], "_7x4")] {
        for (what, augmentation) in [
            ("two_chunks", None),
            ("flip-crop", Some(Augmentation { crop_padding: 2, ..Augmentation::FLIP_CROP })),
            ("mirror", Some(Augmentation::MIRROR)),
            ("mirror_translated", Some(Augmentation { translation: [2, -1], ..Augmentation::MIRROR })),
            (
                "flip-crop_reflected",
                Some(Augmentation { crop_padding: 2, crop_border: Border::Reflect, ..Augmentation::FLIP_CROP }),
            ),
            (
                "strong_reflected",
                Some(Augmentation { crop_padding: 1, crop_border: Border::Reflect, cutout: 2, ..Augmentation::STRONG }),
            ),
            ("keras", Some(Augmentation::KERAS)),
            ("strong", Some(Augmentation { crop_padding: 1, cutout: 2, ..Augmentation::STRONG })),
            ("upside-down", Some(Augmentation { rotation_degrees: 180.0, shift: 1.0, ..Augmentation::NONE })),
            ("cutout", Some(Augmentation { cutout: 3, ..Augmentation::NONE })),
        ] {
            let is_checked =
                [[5, 3, 1], [7, 4, 3]].contains(&shape) && ["two_chunks", "flip-crop", "keras"].contains(&what);
            let purpose = if is_checked { Purpose::Check } else { Purpose::Test };
            let name = format!("batch_assembly/{what}{kind}");
            let both = Case::both_widths(&name, move |trial, dtype| verify(trial, dtype, shape, augmentation));
            cases.extend(both.map(|case| case.for_purpose(purpose)));
        }
    }
    let drawn = draw.each(|draw| {
        // Crops move by less than a side.
        let shape = [2 + draw.count(9), 2 + draw.count(9), draw.one_of(&[1, 3])];
        let (what, augmentation) = draw.one_of(&[
            ("unchanged", None),
            ("mirror", Some(Augmentation::MIRROR)),
            ("flip-crop", Some(Augmentation { crop_padding: 2, ..Augmentation::FLIP_CROP })),
            ("strong", Some(Augmentation { crop_padding: 1, cutout: 2, ..Augmentation::STRONG })),
            ("keras", Some(Augmentation::KERAS)),
        ]);
        let [height, width, channels] = shape;
        let name = format!("batch_assembly/{height}x{width}x{channels}_{what}");
        let both = Case::both_widths(&name, move |trial, dtype| verify(trial, dtype, shape, augmentation));
        both.map(|case| case.for_purpose(Purpose::Random))
    });
    cases.extend(drawn.into_iter().flatten());
    for (what, augmentation) in
        [("", None), ("_flip-crop", Some(Augmentation::FLIP_CROP)), ("_keras", Some(Augmentation::KERAS))]
    {
        let name = format!("batch_assembly/64_images{what}");
        let both = Case::both_widths(&name, move |trial, dtype| bench(trial, dtype, augmentation));
        cases.extend(both.map(|case| case.for_purpose(Purpose::Bench)));
    }
    cases
}

/// A batch of 64 images of CIFAR-10's shape, out of as many, so that what is bound is what is read.
fn bench(trial: &mut Trial<'_>, dtype: DType, augmentation: Option<Augmentation>) -> Result<()> {
    const IMAGES: usize = 64;
    let device = trial.device();
    let images = device.tensor_u8(&[IMAGES, 3, 1024], &vec![127; IMAGES * 3 * 1024])?;
    let state = StepState::new(1, 0, 0.0).tensor(device)?;
    let indices: Vec<u32> = (0..64).map(|i| i * 37 % IMAGES as u32).collect();
    batch_assembly(
        &Normalization::new([0.5; 3], [0.25; 3]),
        augmentation.as_ref().map(|augmentation| (augmentation, &state)),
        &[ImageChunk { start: 0, images }],
        &device.tensor_u32(&[IMAGES], &vec![3; IMAGES])?,
        &device.tensor_u32(&[64], &indices)?,
        &device.allocate(&[64, 32, 32, 3], dtype)?,
        &device.allocate(&[64], DType::U32)?,
    )
}

fn verify(
    trial: &mut Trial<'_>,
    dtype: DType,
    [height, width, channels]: [usize; 3],
    augmentation: Option<Augmentation>,
) -> Result<()> {
    let (images, pixels) = (5, height * width);
    let device = trial.device();
    let bytes: Vec<u8> =
        trial.numbers(images * channels * pixels, 1).iter().map(|v| (v * 127.0 + 128.0) as u8).collect();
    let labels: Vec<u32> = vec![9, 8, 7, 6, 5];
    let chunk = |start: usize, end: usize| {
        let bytes = &bytes[start * channels * pixels..end * channels * pixels];
        device.tensor_u8(&[end - start, channels, pixels], bytes).map(|images| ImageChunk { start, images })
    };
    let indices = [4, 1, 2, 0, 4, 3, 1];
    let output = device.allocate(&[indices.len(), height, width, channels], dtype)?;
    let labels_out = device.allocate(&[indices.len()], DType::U32)?;
    let normalization = Normalization::new(&[0.5, 0.1, 0.0][..channels], &[0.5, 0.25, 1.0][..channels]);
    let state = StepState { epoch: 3, first_image: 10, ..StepState::new(0x1234_5678_9abc, 77, 0.0) };
    let state_tensor = state.tensor(device)?;
    batch_assembly(
        &normalization,
        augmentation.as_ref().map(|augmentation| (augmentation, &state_tensor)),
        &[chunk(0, 2)?, chunk(2, 5)?],
        &device.tensor_u32(&[images], &labels)?,
        &device.tensor_u32(&[indices.len()], &indices)?,
        &output,
        &labels_out,
    )?;
    trial.close(Exactness::of(dtype), "batch_assembly", &output, || {
        assembled(&normalization, augmentation, &state, [height, width], &bytes, &indices)
    })?;
    trial.equal("batch_assembly, labels", &labels_out, || indices.iter().map(|&i| labels[i as usize]).collect())
}

/// The images at `indices`, changed as is drawn for each, by the words of the operation's documentation.
fn assembled(
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
        let draw = |number: u32| threefry(key, [4 * (10 + place) + number, state.step]);
        let ([coin, crop], shifts, [angle, cut]) = (draw(0), draw(1), draw(2));
        let flipped = match a.flip {
            Flip::Never => false,
            Flip::Random => coin % 2 == 1,
            Flip::Alternating => (threefry([key[0], key[1] + 1], [index, 0])[0] + state.epoch) % 2 == 1,
            Flip::Always => true,
        };
        let padding = i64::from(a.crop_padding);
        let crop = halves(crop).map(|half| below(half, 2 * a.crop_padding + 1) - padding);
        let crop = [crop[0] + i64::from(a.translation[0]), crop[1] + i64::from(a.translation[1])];
        // Without end the reflected image repeats every 2 (side − 1) pixels, a triangle wave.
        let reflected = |v: i64, side: usize| {
            let (last, period) = (side as i64 - 1, 2 * (side as i64 - 1));
            last - (v.rem_euclid(period) - last).abs()
        };
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
            let (x, y) = match a.crop_border {
                Border::Black => (x, y),
                Border::Reflect => (reflected(x, width), reflected(y, height)),
            };
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
