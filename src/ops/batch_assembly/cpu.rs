//! CPU twin of the batch assembly kernel.

use crate::parallel::*;

use super::augmentation::Draw;
use super::{Augmentation, ByteScale};
use crate::ops::StepState;
use crate::profile;

#[expect(clippy::too_many_arguments, reason = "the kernel's parameters and bindings")]
pub(super) fn batch_assembly(
    scale: &ByteScale,
    augmentation: Option<(&Augmentation, &StepState)>,
    size: [usize; 2],
    chunk_start: usize,
    images: &[u8],
    labels: &[u32],
    indices: &[u32],
    output: &mut [f32],
    labels_out: &mut [u32],
) {
    let _timed = profile::twin(
        "batch_assembly",
        0,
        size_of_val(images)
            + size_of_val(labels)
            + size_of_val(indices)
            + size_of_val(output)
            + size_of_val(labels_out),
    );
    let pixels = size[0] * size[1];
    let channels = scale.channels();
    let image_bytes = channels * pixels;
    let batch = output.par_chunks_exact_mut(image_bytes).zip(labels_out).zip(indices).enumerate();
    batch.for_each(|(place, ((output, label_out), &index))| {
        let Some(image) = (index as usize).checked_sub(chunk_start) else { return };
        let Some(planes) = images.get(image * image_bytes..(image + 1) * image_bytes) else { return };
        match augmentation {
            Some((augmentation, state)) => {
                let draw = augmentation.draw(state, place as u32, index, size);
                augmented(scale, augmentation, &draw, size, planes, output);
            }
            None => {
                for (p, pixel) in output.chunks_exact_mut(channels).enumerate() {
                    for (c, value) in pixel.iter_mut().enumerate() {
                        *value = scale.apply(c, f32::from(planes[c * pixels + p]));
                    }
                }
            }
        }
        *label_out = labels[index as usize];
    });
}

/// One image with its random changes.
fn augmented(
    scale: &ByteScale,
    augmentation: &Augmentation,
    draw: &Draw,
    [height, width]: [usize; 2],
    planes: &[u8],
    output: &mut [f32],
) {
    let pixels = height * width;
    let interpolates = augmentation.interpolates();
    for (p, pixel) in output.chunks_exact_mut(scale.channels()).enumerate() {
        let (x, y) = ((p % width) as i32, (p / width) as i32);
        let [cut_x, cut_y] = draw.cutout;
        let cut = 0..augmentation.cutout as i32;
        if cut.contains(&(x - cut_x)) && cut.contains(&(y - cut_y)) {
            pixel.fill(0.0);
            continue;
        }
        let x = if draw.flipped { width as i32 - 1 - x } else { x } + draw.crop[0];
        let y = y + draw.crop[1];
        let border = augmentation.crop_border;
        let (Some(x), Some(y)) = (border.pixel(x, width as i32), border.pixel(y, height as i32)) else {
            pixel.iter_mut().enumerate().for_each(|(c, value)| *value = scale.apply(c, 0.0));
            continue;
        };
        if !interpolates {
            let source = y as usize * width + x as usize;
            for (c, value) in pixel.iter_mut().enumerate() {
                *value = scale.apply(c, f32::from(planes[c * pixels + source]));
            }
            continue;
        }
        let center = [0.5 * (width - 1) as f32, 0.5 * (height - 1) as f32];
        let (dx, dy) = (x as f32 - center[0], y as f32 - center[1]);
        let source_x = draw.cosine * dx - draw.sine * dy + center[0] + draw.shift[0];
        let source_y = draw.sine * dx + draw.cosine * dy + center[1] + draw.shift[1];
        let (left, right, across) = neighbors(source_x, width);
        let (above, below, down) = neighbors(source_y, height);
        for (c, value) in pixel.iter_mut().enumerate() {
            let at = |y: usize, x: usize| f32::from(planes[c * pixels + y * width + x]);
            let upper = at(above, left) + across * (at(above, right) - at(above, left));
            let lower = at(below, left) + across * (at(below, right) - at(below, left));
            *value = scale.apply(c, upper + down * (lower - upper));
        }
    }
}

/// The pixels before and after a position along an axis of given length, and the interpolation weight of the second.
fn neighbors(place: f32, side: usize) -> (usize, usize, f32) {
    let place = place.clamp(0.0, (side - 1) as f32);
    let before = place as usize;
    (before, (before + 1).min(side - 1), place - before as f32)
}
