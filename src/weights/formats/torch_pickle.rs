//! The pickle of a PyTorch state dictionary: names, shapes, and references to the data of each tensor.

/// An `OrderedDict` of contiguous 32-bit tensors on the CPU; the data of tensor n are in the entry `data/n` of the archive.
///
/// The opcodes are those of pickle's protocol 2: <https://github.com/python/cpython/blob/main/Lib/pickletools.py> lists them.
pub(super) fn state_dict(tensors: &[(&str, &[usize])]) -> Vec<u8> {
    let mut pickle = Pickle(vec![PROTO, 2]);
    pickle.ordered_dict();
    pickle.0.push(MARK);
    for (number, (name, shape)) in tensors.iter().enumerate() {
        pickle.text(name);
        pickle.tensor(number, shape);
    }
    pickle.0.extend([SET_ITEMS, STOP]);
    pickle.0
}

const MARK: u8 = b'(';
const STOP: u8 = b'.';
const BIN_INT: u8 = b'J';
const BIN_UNICODE: u8 = b'X';
const EMPTY_TUPLE: u8 = b')';
const GLOBAL: u8 = b'c';
const LONG_1: u8 = 0x8a;
const NEW_FALSE: u8 = 0x89;
const PERSISTENT_ID: u8 = b'Q';
const PROTO: u8 = 0x80;
const REDUCE: u8 = b'R';
const SET_ITEMS: u8 = b'u';
const TUPLE: u8 = b't';

struct Pickle(Vec<u8>);

impl Pickle {
    fn global(&mut self, module: &str, name: &str) {
        self.0.push(GLOBAL);
        self.0.extend(format!("{module}\n{name}\n").bytes());
    }

    fn text(&mut self, text: &str) {
        self.0.push(BIN_UNICODE);
        self.0.extend((text.len() as u32).to_le_bytes());
        self.0.extend(text.bytes());
    }

    fn integer(&mut self, value: usize) {
        match i32::try_from(value) {
            Ok(value) => {
                self.0.push(BIN_INT);
                self.0.extend(value.to_le_bytes());
            }
            Err(_) => {
                // Nine bytes keep the sign bit clear.
                self.0.extend([LONG_1, 9]);
                self.0.extend((value as u64).to_le_bytes());
                self.0.push(0);
            }
        }
    }

    fn integers(&mut self, values: impl IntoIterator<Item = usize>) {
        self.0.push(MARK);
        values.into_iter().for_each(|value| self.integer(value));
        self.0.push(TUPLE);
    }

    fn ordered_dict(&mut self) {
        self.global("collections", "OrderedDict");
        self.0.extend([EMPTY_TUPLE, REDUCE]);
    }

    /// `torch._utils._rebuild_tensor_v2(storage, offset, shape, stride, requires_grad, hooks)`.
    fn tensor(&mut self, number: usize, shape: &[usize]) {
        self.global("torch._utils", "_rebuild_tensor_v2");
        self.0.extend([MARK, MARK]);
        self.text("storage");
        self.global("torch", "FloatStorage");
        self.text(&number.to_string());
        self.text("cpu");
        self.integer(shape.iter().product());
        self.0.extend([TUPLE, PERSISTENT_ID]);
        self.integer(0);
        self.integers(shape.iter().copied());
        // Each stride is the product of the later sides.
        let strides = (0..shape.len()).map(|axis| shape[axis + 1..].iter().product());
        self.integers(strides);
        self.0.push(NEW_FALSE);
        self.ordered_dict();
        self.0.extend([TUPLE, REDUCE]);
    }
}
