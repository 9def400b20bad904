//! CPU twin of the batch assembly kernel.

use super::{CHANNELS, Normalisation};

#[expect(clippy::too_many_arguments, reason = "the kernel's parameters and bindings")]
pub(super) fn batch_assembly(
    normalisation: &Normalisation,
    pixels: usize,
    chunk_start: usize,
    images: &[u8],
    labels: &[u32],
    indices: &[u32],
    output: &mut [f32],
    labels_out: &mut [u32],
) {
    let image_bytes = CHANNELS * pixels;
    let batch = output.chunks_exact_mut(image_bytes).zip(labels_out).zip(indices);
    for ((output, label_out), &index) in batch {
        let Some(image) = (index as usize).checked_sub(chunk_start) else { continue };
        let Some(planes) = images.get(image * image_bytes..(image + 1) * image_bytes) else { continue };
        for (p, pixel) in output.chunks_exact_mut(CHANNELS).enumerate() {
            for (c, value) in pixel.iter_mut().enumerate() {
                *value = (f32::from(planes[c * pixels + p]) - normalisation.mean[c]) / normalisation.std[c];
            }
        }
        *label_out = labels[index as usize];
    }
}
