//! The formats of weights files: what a file is, by its first bytes, and its tensors.

#[cfg(feature = "formats")]
mod keras;
#[cfg(feature = "formats")]
mod npz;
#[cfg(feature = "formats")]
pub(super) mod onnx;
mod safetensors;
#[cfg(feature = "formats")]
mod torch;
#[cfg(feature = "formats")]
mod torch_pickle;
#[cfg(feature = "formats")]
mod zip_archive;

#[cfg(feature = "formats")]
pub(super) use npz::write as write_npz;
#[cfg(feature = "formats")]
pub use onnx::OnnxInput;
#[cfg(feature = "formats")]
pub(super) use torch::write as write_torch;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use crate::error::Result;
use crate::weights::tensors::{NamedTensor, error};

/// Maximum file size, far above that of any supported network. Larger files are not read.
pub(super) const MOST_BYTES: u64 = 1 << 30;

/// A format of weights files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Format {
    /// safetensors.
    Safetensors,
    /// A state dictionary of PyTorch, `.pth` or `.pt`.
    Torch,
    /// An archive of NumPy arrays.
    Npz,
    /// Weights or a model of Keras, `.h5`, `.weights.h5` or `.keras`.
    Keras,
    /// An ONNX model; such files are written and not read.
    Onnx,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Safetensors => "safetensors",
            Format::Torch => "PyTorch state dictionary",
            Format::Npz => "NumPy archive",
            Format::Keras => "Keras weights",
            Format::Onnx => "ONNX model",
        })
    }
}

/// The kinds of layers that a file may tell of: those that a model's configuration names as layers or activations, and that
/// tell apart networks with the same tensors.
pub(super) const COMPARED_KINDS: [&str; 4] = ["conv2d", "linear", "max_pool2d", "relu"];

/// The contents of a weights file of any format.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) format: Format,
    /// In the order of the file, or by name.
    pub(super) tensors: Vec<NamedTensor>,
    /// Texts by name.
    pub(super) metadata: HashMap<String, String>,
    /// The kinds of the network's layers among [`COMPARED_KINDS`], in order, if the file tells them.
    pub(super) layers: Option<Vec<&'static str>>,
}

impl Contents {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, is damaged or of no known format, or holds numbers that are not finite.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let bytes = crate::files::read_at_most(path, MOST_BYTES)?.ok_or_else(|| {
            error(path, format!("a weights file has at most {MOST_BYTES} bytes"), "is it the right file?")
        })?;
        Contents::parse(path, bytes, MOST_BYTES)
    }

    /// Reads the bytes of a file, whose tensors may take `most` bytes.
    ///
    /// # Errors
    /// As [`Contents::read`].
    #[cfg_attr(not(feature = "formats"), expect(unused_variables, reason = "safetensors take what the file does"))]
    pub(super) fn parse(path: &Path, bytes: Vec<u8>, most: u64) -> Result<Self> {
        let mut contents = match Kind::of(&bytes) {
            Kind::Weights(Format::Safetensors) => safetensors::read(path, &bytes)?,
            #[cfg(feature = "formats")]
            Kind::Weights(Format::Torch) => torch::read(path, &bytes, most)?,
            #[cfg(feature = "formats")]
            Kind::Weights(Format::Npz) => npz::read(path, &bytes, most)?,
            #[cfg(feature = "formats")]
            Kind::Weights(Format::Keras) => keras::read(path, bytes, most)?,
            kind => {
                let (what, hint) = kind.refusal();
                return Err(error(path, format!("it is {what}"), hint));
            }
        };
        contents.tensors = contents.tensors.into_iter().map(|tensor| tensor.check(path)).collect::<Result<_>>()?;
        Ok(contents)
    }
}

/// What a file is, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Weights(Format),
    Empty,
    Zip,
    Gzip,
    Xz,
    Tar,
    NumpyArray,
    LfsPointer,
    Html,
    Gguf,
    TfLite,
    Png,
    Jpeg,
    Toml,
    Unknown,
}

impl Kind {
    fn of(bytes: &[u8]) -> Self {
        let starts = |start: &[u8]| bytes.starts_with(start);
        let text = || String::from_utf8_lossy(&bytes[..bytes.len().min(512)]).trim_start().to_lowercase();
        if bytes.is_empty() {
            return Kind::Empty;
        }
        if starts(b"PK\x03\x04") || starts(b"PK\x05\x06") {
            return Kind::of_zip(bytes);
        }
        // HDF5 may have a user block of 512 bytes or more before it.
        let is_hdf5 = [0, 512, 1024, 2048].iter().any(|&at| bytes.get(at..at + 8) == Some(b"\x89HDF\r\n\x1a\n"));
        // The magic number of PyTorch's legacy form, a pickled integer; other pickles begin likewise.
        let is_pickle = bytes.len() > 2 && bytes[0] == 0x80 && (2..=5).contains(&bytes[1]);
        let is_tar = bytes.get(257..262) == Some(b"ustar");
        match bytes {
            _ if is_hdf5 => Kind::Weights(Format::Keras),
            // Before pickles: the length of the header, which comes first, may be any number.
            _ if bytes.get(8) == Some(&b'{') => Kind::Weights(Format::Safetensors),
            _ if is_pickle => Kind::Weights(Format::Torch),
            _ if is_tar => Kind::Tar,
            _ if starts(b"\x1f\x8b") => Kind::Gzip,
            _ if starts(b"\xfd7zXZ\0") => Kind::Xz,
            _ if starts(b"\x93NUMPY") => Kind::NumpyArray,
            _ if starts(b"version https://git-lfs") => Kind::LfsPointer,
            _ if starts(b"GGUF") => Kind::Gguf,
            _ if bytes.get(4..8) == Some(b"TFL3") => Kind::TfLite,
            _ if starts(b"\x89PNG") => Kind::Png,
            _ if starts(b"\xff\xd8\xff") => Kind::Jpeg,
            _ if text().starts_with("<!doctype html") || text().starts_with("<html") => Kind::Html,
            _ if is_onnx(bytes) => Kind::Weights(Format::Onnx),
            _ if text().starts_with("name =") || text().starts_with("input =") || text().starts_with('#') => Kind::Toml,
            _ if bytes.len() < 9 => Kind::Weights(Format::Safetensors),
            _ => Kind::Unknown,
        }
    }

    #[cfg(feature = "formats")]
    fn of_zip(bytes: &[u8]) -> Self {
        let Ok(names) = zip_archive::Zip::open(bytes).and_then(|archive| archive.names()) else { return Kind::Zip };
        let has = |end: &str| names.iter().any(|name| name.ends_with(end));
        match () {
            () if has("data.pkl") => Kind::Weights(Format::Torch),
            () if has("model.weights.h5") => Kind::Weights(Format::Keras),
            () if has(".npy") => Kind::Weights(Format::Npz),
            () => Kind::Zip,
        }
    }

    #[cfg(not(feature = "formats"))]
    fn of_zip(_bytes: &[u8]) -> Self {
        Kind::Zip
    }

    /// What it is, in words, and what to do instead.
    fn refusal(self) -> (&'static str, &'static str) {
        match self {
            Kind::Weights(Format::Onnx) => {
                ("an ONNX model, which can be written and not read", "use the weights that it was made from")
            }
            Kind::Weights(_) => {
                ("weights of another program", "this build reads safetensors only: build it with the feature `formats`")
            }
            Kind::Empty => ("empty", "copy or download it again"),
            Kind::Zip => ("a zip archive without weights", "unpack it and name the weights file in it"),
            Kind::Gzip | Kind::Xz => ("a compressed file", "unpack it first"),
            Kind::Tar => ("a tar archive", "unpack it and name the weights file in it"),
            Kind::NumpyArray => ("a single NumPy array", "save all weights by name with numpy.savez"),
            Kind::LfsPointer => ("a Git LFS pointer, not the file that it stands for", "fetch the file: git lfs pull"),
            Kind::Html => ("a web page", "the download failed or needs a login: download the file itself"),
            Kind::Gguf => ("a GGUF file, the format of llama.cpp", "use the weights that it was made from"),
            Kind::TfLite => ("a TensorFlow Lite model", "use the Keras model that it was made from"),
            Kind::Png | Kind::Jpeg => ("a picture", "name the weights first, and pictures after them"),
            Kind::Toml => ("a text file, such as a network's description", "name a description with --arch"),
            Kind::Unknown => (
                "of no known format",
                "safetensors, .pth, .npz, Keras's .h5 and .keras are read; is it damaged or another file?",
            ),
        }
    }
}

/// Whether it looks like an ONNX model: protobuf whose first field is a small version, followed by the producer's name.
fn is_onnx(bytes: &[u8]) -> bool {
    matches!(bytes, [0x08, version, 0x12, ..] if *version < 0x20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_by_their_first_bytes() {
        for (bytes, kind) in [
            (&b""[..], Kind::Empty),
            (b"\x10\0\0\0\0\0\0\0{\"a\":1}", Kind::Weights(Format::Safetensors)),
            (b"\x80\x03\0\0\0\0\0\0{\"a\":1}", Kind::Weights(Format::Safetensors)),
            (b"\x89HDF\r\n\x1a\n....", Kind::Weights(Format::Keras)),
            (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", Kind::Weights(Format::Torch)),
            (b"PK\x03\x04broken", Kind::Zip),
            (b"\x1f\x8b\x08", Kind::Gzip),
            (b"\x93NUMPY\x01\0", Kind::NumpyArray),
            (b"version https://git-lfs.github.com/spec/v1\n", Kind::LfsPointer),
            (b"\n <!DOCTYPE html><html>", Kind::Html),
            (b"\x08\x08\x12\x07pytorch", Kind::Weights(Format::Onnx)),
            (b"# my network\nname = \"a\"", Kind::Toml),
            (b"something else", Kind::Unknown),
        ] {
            assert_eq!(Kind::of(bytes), kind, "{bytes:?}");
        }
        // A user block before the file.
        let moved = [&[0; 512][..], b"\x89HDF\r\n\x1a\n"].concat();
        assert_eq!(Kind::of(&moved), Kind::Weights(Format::Keras));
    }
}
