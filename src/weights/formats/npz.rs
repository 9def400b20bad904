//! Archives of NumPy arrays; <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html> describes an array's format.

use std::path::Path;

use super::zip_archive::{self, Zip};
use super::{Contents, Format};
use crate::error::Result;
use crate::weights::metadata;
use crate::weights::tensors::{FloatType, NamedTensor, Order, error};

const MAGIC: &[u8] = b"\x93NUMPY";
const ENDING: &str = ".npy";
/// Arrays begin at multiples of this.
const ALIGNMENT: usize = 64;

/// Reads an archive that unpacks to at most `most` bytes.
pub(super) fn read(path: &Path, bytes: &[u8], most: u64) -> Result<Contents> {
    let damaged = |message: String| error(path, message, "it is damaged: use another copy of it");
    let mut tensors = Vec::new();
    let mut unpacked = 0;
    let mut archive = Zip::open(bytes).map_err(damaged)?;
    for entry in archive.names().map_err(damaged)? {
        let Some(name) = entry.strip_suffix(ENDING) else { continue };
        if name.ends_with("num_batches_tracked") {
            continue;
        }
        let array = archive.entry(&entry, most - unpacked).map_err(damaged)?;
        unpacked += array.len() as u64;
        let header = Header::parse(&array).map_err(|message| damaged(format!("array `{name}`: {message}")))?;
        let float = match header.descr.as_str() {
            "<f2" => FloatType::F16,
            "<f4" => FloatType::F32,
            "<f8" => FloatType::F64,
            other => {
                let message = format!("array `{name}` has elements of type '{other}'");
                return Err(error(path, message, "save the weights as little-endian floats of 16, 32 or 64 bits"));
            }
        };
        if header.fortran_order {
            let message = format!("array `{name}` is in Fortran order");
            return Err(error(path, message, "save it with numpy.ascontiguousarray"));
        }
        let values = float.decode(&array[header.data_start..]);
        tensors.push(NamedTensor { name: name.to_owned(), shape: header.shape, order: Order::OutputsFirst, values });
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    let metadata = archive.comment().map(|text| metadata::parse_object(&text)).unwrap_or_default();
    Ok(Contents { format: Format::Npz, tensors, metadata, layers: None })
}

/// An archive of these arrays.
pub(in crate::weights) fn write(path: &Path, tensors: &[NamedTensor], metadata: &str) -> Result<Vec<u8>> {
    let entry = |NamedTensor { name, shape, values, .. }: &NamedTensor| {
        let mut array = header(shape);
        array.extend_from_slice(bytemuck::cast_slice(values));
        (format!("{name}{ENDING}"), array)
    };
    let entries: Vec<_> = tensors.iter().map(entry).collect();
    zip_archive::write(&entries, metadata).map_err(|e| error(path, e.to_string(), "the file is unchanged"))
}

/// The header of a C-ordered array of 32-bit floats.
fn header(shape: &[usize]) -> Vec<u8> {
    let sides: String = shape.iter().map(|side| format!("{side}, ")).collect();
    let sides = if shape.len() == 1 { sides.trim_end() } else { sides.trim_end_matches(", ") };
    let mut text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({sides}), }}");
    let before = MAGIC.len() + 4;
    let length = (before + text.len() + 1).next_multiple_of(ALIGNMENT) - before;
    text.extend(std::iter::repeat_n(' ', length - 1 - text.len()));
    text.push('\n');
    [MAGIC, &[1, 0], &(length as u16).to_le_bytes(), text.as_bytes()].concat()
}

/// An array's header, a literal of Python: `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`.
struct Header {
    descr: String,
    fortran_order: bool,
    shape: Vec<usize>,
    data_start: usize,
}

impl Header {
    fn parse(array: &[u8]) -> std::result::Result<Self, String> {
        let rest = array.strip_prefix(MAGIC).ok_or("it does not begin as a NumPy array")?;
        let (length, start) = match *rest {
            [1, _, a, b, ..] => (usize::from(u16::from_le_bytes([a, b])), 10),
            [2 | 3, _, a, b, c, d, ..] => (u32::from_le_bytes([a, b, c, d]) as usize, 12),
            _ => return Err("its version is unknown".into()),
        };
        let text = array.get(start..start + length).ok_or("it is cut off in its header")?;
        let text = std::str::from_utf8(text).map_err(|e| e.to_string())?;
        let after = |key: &str| {
            let (_, value) =
                text.split_once(&format!("'{key}':")).ok_or_else(|| format!("its header lacks '{key}'"))?;
            Ok::<_, String>(value.trim_start())
        };
        let quoted = after("descr")?.strip_prefix('\'').and_then(|text| text.split_once('\''));
        let descr = quoted.ok_or("it is an array of records")?.0.to_owned();
        let fortran_order = after("fortran_order")?.starts_with("True");
        let sides = after("shape")?.strip_prefix('(').and_then(|text| text.split_once(')')).ok_or("it has no shape")?.0;
        let sides = sides.split(',').map(str::trim).filter(|side| !side.is_empty());
        let shape = sides
            .map(|side| side.parse().map_err(|_| format!("its shape ({side})")))
            .collect::<std::result::Result<_, String>>()?;
        Ok(Header { descr, fortran_order, shape, data_start: start + length })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_written() {
        for shape in [vec![], vec![7], vec![2, 3], vec![96, 3, 3, 3]] {
            let bytes = header(&shape);
            assert_eq!(bytes.len() % ALIGNMENT, 0);
            let read = Header::parse(&bytes).unwrap();
            assert_eq!((read.shape, read.descr.as_str(), read.fortran_order), (shape, "<f4", false));
            assert_eq!(read.data_start, bytes.len());
        }
        for wrong in [&b""[..], b"\x93NUMPY", b"\x93NUMPY\x01\0\xff\xff{", b"\x93NUMPY\x09\0\0\0"] {
            assert!(Header::parse(wrong).is_err());
        }
    }
}
