//! Event files that TensorBoard opens: protocol buffers in TFRecord frames.
//!
//! The file is a function of the run's start time and of `metrics.jsonl`, which a resumed run truncates to its checkpoint, so no
//! event appears twice after an interruption. Without one the file only grows, and a TensorBoard that has it open sees the new
//! events.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use byteorder::{ByteOrder, LittleEndian};
use crc32c::crc32c;

use crate::error::{Error, Result};
use crate::files::read_at_most;
use crate::run::Metrics;

/// TensorBoard takes files whose names contain `tfevents`.
const FILE: &str = "tensorboard/events.out.tfevents.1.cifar-gpu";

/// Writes the event file of the metrics of a run that began at a time in seconds.
pub(super) fn write(run: &Path, began: f64, metrics: &Metrics) -> Result<()> {
    let bytes = file(metrics, began);
    let path = run.join(FILE);
    let folder = run.join("tensorboard");
    fs::create_dir_all(&folder).map_err(Error::io("making", folder))?;
    match read_at_most(&path, bytes.len() as u64) {
        // TensorBoard would treat a renamed file as a new one.
        Ok(Some(old)) if bytes.starts_with(&old) => OpenOptions::new()
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(&bytes[old.len()..]))
            .map_err(Error::io("writing", path)),
        _ => crate::files::replace(&path, &bytes),
    }
}

/// All events of a run that began at a time in seconds.
fn file(metrics: &Metrics, began: f64) -> Vec<u8> {
    let mut bytes = record(&event(began, 0, Content::FileVersion));
    let mut steps = metrics.steps.iter().peekable();
    for epoch in &metrics.epochs {
        let time = began + epoch.seconds;
        // Lines of steps have no time; they precede the line of their epoch.
        while let Some(step) = steps.next_if(|step| step.epoch <= epoch.epoch) {
            bytes.extend(step_record(step, time));
        }
        let mut values = vec![
            ("loss/train", epoch.train_loss),
            ("loss/test", epoch.test_loss),
            ("accuracy/train", epoch.train_accuracy),
            ("accuracy/test", epoch.test_accuracy),
            ("images_per_second", epoch.images_per_second),
        ];
        values.extend(epoch.lr.map(|lr| ("learning_rate", lr)));
        // Once against the step and once against the epoch.
        for (prefix, position) in [("", epoch.steps), ("by_epoch/", epoch.epoch.into())] {
            let values: Vec<_> = values.iter().map(|&(tag, value)| (format!("{prefix}{tag}"), value)).collect();
            bytes.extend(record(&event(time, position, Content::Scalars(&values))));
        }
    }
    bytes
}

fn step_record(step: &crate::run::StepLine, time: f64) -> Vec<u8> {
    let values = [("step/loss".to_owned(), step.loss.into()), ("step/learning_rate".to_owned(), step.lr)];
    record(&event(time, step.step, Content::Scalars(&values)))
}

/// Contents of an event.
enum Content<'a> {
    /// The file's version: its first event.
    FileVersion,
    /// Numbers under their tags.
    Scalars(&'a [(String, f64)]),
}

/// `tensorflow.Event`.
fn event(time: f64, step: u64, content: Content<'_>) -> Vec<u8> {
    let mut event = vec![tag(1, FIXED_64)];
    event.extend([0; 8]);
    LittleEndian::write_f64(&mut event[1..], time);
    event.push(tag(2, VARINT));
    event.extend(varint(step));
    match content {
        Content::FileVersion => event.extend(nested(3, b"brain.Event:2")),
        Content::Scalars(values) => {
            // `tensorflow.Summary` with a `Value` for each.
            let summary: Vec<u8> = values
                .iter()
                .flat_map(|(name, value)| {
                    let mut scalar = nested(1, name.as_bytes());
                    scalar.push(tag(2, FIXED_32));
                    let mut bytes = [0; 4];
                    LittleEndian::write_f32(&mut bytes, *value as f32);
                    scalar.extend(bytes);
                    nested(1, &scalar)
                })
                .collect();
            event.extend(nested(5, &summary));
        }
    }
    event
}

/// Kinds of fields in a protocol buffer.
const VARINT: u8 = 0;
const FIXED_64: u8 = 1;
const BYTES: u8 = 2;
const FIXED_32: u8 = 5;

/// What a field begins with; numbers here stay below 16 and take one byte.
fn tag(field: u8, kind: u8) -> u8 {
    field << 3 | kind
}

/// Seven bits a byte, the lowest first.
fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A field of bytes: text, or a message.
fn nested(field: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag(field, BYTES)];
    bytes.extend(varint(content.len() as u64));
    bytes.extend(content);
    bytes
}

/// A TFRecord: length, its checksum, the data, their checksum.
fn record(data: &[u8]) -> Vec<u8> {
    let (mut head, mut tail) = ([0; 12], [0; 4]);
    LittleEndian::write_u64(&mut head, data.len() as u64);
    let length_check = masked_crc32c(&head[..8]);
    LittleEndian::write_u32(&mut head[8..], length_check);
    LittleEndian::write_u32(&mut tail, masked_crc32c(data));
    [head.as_slice(), data, &tail].concat()
}

/// CRC-32C, rotated and masked as in TFRecords, so that checksums of data that contain checksums are sound, too.
fn masked_crc32c(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{EpochMetrics, StepLine};

    fn metrics(epochs: u32) -> Metrics {
        let epoch = |epoch| EpochMetrics {
            epoch,
            steps: 100 * u64::from(epoch),
            lr: Some(0.25),
            train_loss: f64::from(epoch),
            train_accuracy: 0.5,
            test_loss: 1.5,
            test_accuracy: 0.75,
            images_per_second: 1000.0,
            seconds: 10.0 * f64::from(epoch),
            skipped_steps: 0,
            loss_scaling: None,
        };
        let step = |epoch| StepLine { step: 100 * u64::from(epoch) - 1, epoch, loss: 2.5, lr: 0.125 };
        Metrics { epochs: (1..=epochs).map(epoch).collect(), steps: (1..=epochs).map(step).collect() }
    }

    /// The data of each record, whose checksums must be right.
    fn records(mut file: &[u8]) -> Vec<&[u8]> {
        let mut records = Vec::new();
        while !file.is_empty() {
            let length = LittleEndian::read_u64(file) as usize;
            assert_eq!(LittleEndian::read_u32(&file[8..]), masked_crc32c(&file[..8]));
            let data = &file[12..12 + length];
            assert_eq!(LittleEndian::read_u32(&file[12 + length..]), masked_crc32c(data));
            records.push(data);
            file = &file[16 + length..];
        }
        records
    }

    /// The fields of a message: number and content; fixed ones as bytes, varints as little-endian ones.
    fn fields(mut message: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut fields = Vec::new();
        let read_varint = |message: &mut &[u8]| {
            let end = message.iter().position(|byte| byte & 0x80 == 0).unwrap();
            let value = message[..=end].iter().rev().fold(0_u64, |value, byte| value << 7 | u64::from(byte & 0x7f));
            *message = &message[end + 1..];
            value
        };
        while let Some((&tag, rest)) = message.split_first() {
            message = rest;
            let content = match tag & 7 {
                VARINT => read_varint(&mut message).to_le_bytes().to_vec(),
                kind => {
                    let length = match kind {
                        FIXED_64 => 8,
                        FIXED_32 => 4,
                        _ => read_varint(&mut message) as usize,
                    };
                    let content = message[..length].to_vec();
                    message = &message[length..];
                    content
                }
            };
            fields.push((tag >> 3, content));
        }
        fields
    }

    #[test]
    fn the_checksum_is_castagnolis() {
        // The usual check value, and RFC 3720's of 32 zeros.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn records_hold_the_metrics() {
        let bytes = file(&metrics(2), 1000.0);
        let records = records(&bytes);
        assert_eq!(records.len(), 1 + 2 * 3);
        assert_eq!(fields(records[0])[2], (3, b"brain.Event:2".to_vec()));
        // The second epoch's, against the step: its number takes two bytes.
        let event = fields(records[5]);
        assert_eq!(event[0], (1, 1020.0_f64.to_le_bytes().to_vec()));
        assert_eq!(event[1], (2, 200_u64.to_le_bytes().to_vec()));
        let values = fields(&event[2].1);
        let first = fields(&values[0].1);
        assert_eq!(first, [(1, b"loss/train".to_vec()), (2, 2.0_f32.to_le_bytes().to_vec())]);
        assert_eq!(values.len(), 6);
        let by_epoch = fields(records[6]);
        assert_eq!(by_epoch[1], (2, 2_u64.to_le_bytes().to_vec()));
    }

    #[test]
    fn the_file_grows_and_a_run_cut_back_shows_nothing_double() {
        let run = tempfile::tempdir().unwrap();
        let path = run.path().join(FILE);
        let written = |epochs| {
            write(run.path(), 1000.0, &metrics(epochs)).unwrap();
            fs::read(&path).unwrap()
        };
        let (one, three) = (written(1), written(3));
        assert!(three.starts_with(&one) && three.len() > one.len());
        let two = written(2);
        assert!(two.len() < three.len() && three.starts_with(&two));
        assert_eq!(written(3), three);
    }
}
