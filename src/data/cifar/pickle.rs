//! The part of Python's pickles that the Python version of CIFAR uses: dictionaries of lists, numbers, texts and arrays of bytes.
//!
//! A pickle is a program for a small machine that may call any function of Python. This reader calls nothing: it knows the few
//! names that NumPy's arrays are made of, and refuses every other. The opcodes are listed in CPython's `pickletools.py`.

use std::collections::HashMap;

/// A value of a pickle.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    None,
    Bool,
    Integer(i64),
    /// A text, or a byte string of Python 2.
    Bytes(Vec<u8>),
    List(Vec<Value>),
    Tuple(Vec<Value>),
    Dictionary(Vec<(Value, Value)>),
    /// An array of unsigned bytes with its shape.
    Array {
        shape: Vec<usize>,
        bytes: Vec<u8>,
    },
    /// A name that may be called.
    Name(Name),
}

/// The names that an array is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    /// `numpy.core.multiarray._reconstruct`
    Reconstruct,
    /// `numpy.ndarray`
    Array,
    /// `numpy.dtype`
    Dtype,
    /// `_codecs.encode`, by which Python 2 and early versions of 3 write bytes.
    Encode,
}

/// Values that refer to each other more deeply are refused.
const MOST_DEPTH: usize = 64;
/// Longest text that a pickle may refer to again.
const MOST_REMEMBERED: usize = 64;
/// Maximum number of values.
const MOST_VALUES: usize = 1 << 22;

impl Value {
    /// Reads a pickle.
    pub(super) fn parse(pickle: &[u8]) -> Result<Self, String> {
        Machine { rest: pickle, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new(), values: 0 }.run()
    }

    /// The value of a text key in a dictionary.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        let Value::Dictionary(entries) = self else { return None };
        entries
            .iter()
            .find(|(own, _)| matches!(own, Value::Bytes(bytes) if bytes == key.as_bytes()))
            .map(|(_, value)| value)
    }

    fn depth(&self) -> usize {
        let deepest = |values: &[Value]| values.iter().map(Value::depth).max().unwrap_or(0);
        match self {
            Value::List(values) | Value::Tuple(values) => 1 + deepest(values),
            Value::Dictionary(entries) => 1 + entries.iter().map(|(_, value)| value.depth()).max().unwrap_or(0),
            _ => 0,
        }
    }
}

struct Machine<'a> {
    rest: &'a [u8],
    stack: Vec<Value>,
    /// Lengths of the stack at marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    values: usize,
}

impl<'a> Machine<'a> {
    fn run(mut self) -> Result<Value, String> {
        loop {
            let opcode = self.byte()?;
            match opcode {
                b'.' => return self.pop(),
                // PROTO and FRAME, which say nothing about values.
                0x80 => drop(self.take(1)?),
                0x95 => drop(self.take(8)?),
                b'(' => self.marks.push(self.stack.len()),
                b'N' => self.push(Value::None)?,
                0x88 | 0x89 => self.push(Value::Bool)?,
                b'K' => {
                    let value = i64::from(self.byte()?);
                    self.push(Value::Integer(value))?;
                }
                b'M' => {
                    let value = i64::from(u16::from_le_bytes(self.array()?));
                    self.push(Value::Integer(value))?;
                }
                b'J' => {
                    let value = i64::from(i32::from_le_bytes(self.array()?));
                    self.push(Value::Integer(value))?;
                }
                // Decimal integers and texts of protocol 0.
                b'I' | b'L' => {
                    let line = self.line()?;
                    let number = line.trim_end_matches('L').parse().map_err(|_| format!("integer {line:?}"))?;
                    self.push(Value::Integer(number))?;
                }
                b'U' | b'C' | 0x8c => {
                    let length = self.byte()?.into();
                    self.bytes(length)?;
                }
                b'T' | b'X' | b'B' => {
                    let length = u32::from_le_bytes(self.array()?) as usize;
                    self.bytes(length)?;
                }
                0x8d | 0x8e => {
                    let length = usize::try_from(u64::from_le_bytes(self.array()?)).map_err(|e| e.to_string())?;
                    self.bytes(length)?;
                }
                b'V' => {
                    let line = self.line()?.into_bytes();
                    self.push(Value::Bytes(line))?;
                }
                b']' => self.push(Value::List(Vec::new()))?,
                b'}' => self.push(Value::Dictionary(Vec::new()))?,
                b')' => self.push(Value::Tuple(Vec::new()))?,
                b'l' => {
                    let values = self.pop_to_mark()?;
                    self.push(Value::List(values))?;
                }
                b't' => {
                    let values = self.pop_to_mark()?;
                    self.push(Value::Tuple(values))?;
                }
                0x85..=0x87 => {
                    let at = self.stack.len().checked_sub(usize::from(opcode - 0x84)).ok_or("the stack is empty")?;
                    let values = self.stack.split_off(at);
                    self.push(Value::Tuple(values))?;
                }
                b'd' => {
                    let values = self.pop_to_mark()?;
                    self.push(Value::Dictionary(pairs(values)?))?;
                }
                b'a' => {
                    let value = self.pop()?;
                    self.append(vec![value])?;
                }
                b'e' => {
                    let values = self.pop_to_mark()?;
                    self.append(values)?;
                }
                b's' => {
                    let (value, key) = (self.pop()?, self.pop()?);
                    self.insert(vec![key, value])?;
                }
                b'u' => {
                    let values = self.pop_to_mark()?;
                    self.insert(values)?;
                }
                b'p' => {
                    let at = self.line()?.parse().map_err(|_| "a memo's number".to_owned())?;
                    self.remember(at)?;
                }
                b'q' => {
                    let at = self.byte()?.into();
                    self.remember(at)?;
                }
                b'r' => {
                    let at = u32::from_le_bytes(self.array()?);
                    self.remember(at)?;
                }
                0x94 => {
                    let at = self.memo.len() as u32;
                    self.remember(at)?;
                }
                b'g' => {
                    let at = self.line()?.parse().map_err(|_| "a memo's number".to_owned())?;
                    self.recall(at)?;
                }
                b'h' => {
                    let at = self.byte()?.into();
                    self.recall(at)?;
                }
                b'j' => {
                    let at = u32::from_le_bytes(self.array()?);
                    self.recall(at)?;
                }
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.name(&module, &name)?;
                }
                0x93 => {
                    let (name, module) = (self.pop()?, self.pop()?);
                    match (&module, &name) {
                        (Value::Bytes(module), Value::Bytes(name)) => {
                            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                            self.name(&text(module), &text(name))?;
                        }
                        _ => return Err("a name that is no text".into()),
                    }
                }
                b'R' => {
                    let (arguments, name) = (self.pop()?, self.pop()?);
                    let value = called(name, arguments)?;
                    self.push(value)?;
                }
                b'b' => {
                    let (state, value) = (self.pop()?, self.pop()?);
                    let value = with_state(value, state)?;
                    self.push(value)?;
                }
                other => return Err(format!("opcode {other:#04x} is not one of data")),
            }
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or("it is cut off")?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn line(&mut self) -> Result<String, String> {
        let length = self.rest.iter().take(1000).position(|&byte| byte == b'\n').ok_or("a line is cut off")?;
        let line = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.take(1)?;
        Ok(line)
    }

    fn bytes(&mut self, length: usize) -> Result<(), String> {
        let bytes = self.take(length)?.to_vec();
        self.push(Value::Bytes(bytes))
    }

    fn push(&mut self, value: Value) -> Result<(), String> {
        self.values += 1;
        if self.values > MOST_VALUES || value.depth() > MOST_DEPTH {
            return Err("it holds too many values".into());
        }
        self.stack.push(value);
        Ok(())
    }

    fn pop(&mut self) -> Result<Value, String> {
        self.stack.pop().ok_or_else(|| "the stack is empty".to_owned())
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value>, String> {
        let at = self.marks.pop().filter(|&at| at <= self.stack.len()).ok_or("a mark is missing")?;
        Ok(self.stack.split_off(at))
    }

    fn append(&mut self, values: Vec<Value>) -> Result<(), String> {
        check_depth(values.iter())?;
        match self.stack.last_mut() {
            Some(Value::List(list)) => {
                list.extend(values);
                Ok(())
            }
            _ => Err("values appended to something else than a list".into()),
        }
    }

    fn insert(&mut self, values: Vec<Value>) -> Result<(), String> {
        check_depth(values.iter())?;
        let new = pairs(values)?;
        match self.stack.last_mut() {
            Some(Value::Dictionary(entries)) => {
                entries.extend(new);
                Ok(())
            }
            _ => Err("items set in something else than a dictionary".into()),
        }
    }

    /// Remembers the top of the stack if it is small, so that a few bytes cannot multiply it. No file of the set refers to anything
    /// else again.
    fn remember(&mut self, at: u32) -> Result<(), String> {
        let top = self.stack.last().ok_or("the stack is empty")?;
        let kept = if is_small(top) { top.clone() } else { Value::None };
        self.memo.insert(at, kept);
        Ok(())
    }

    fn recall(&mut self, at: u32) -> Result<(), String> {
        let value = self.memo.get(&at).cloned().ok_or("it refers to a value that is not there")?;
        self.push(value)
    }

    fn name(&mut self, module: &str, name: &str) -> Result<(), String> {
        let known = match (module, name) {
            ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => Name::Reconstruct,
            ("numpy", "ndarray") => Name::Array,
            ("numpy", "dtype") => Name::Dtype,
            ("_codecs", "encode") => Name::Encode,
            _ => return Err(format!("it would call {module}.{name}, which is no data")),
        };
        self.push(Value::Name(known))
    }
}

/// Whether this is a short text, a number or the like, or a few of them.
fn is_small(value: &Value) -> bool {
    match value {
        Value::Bytes(bytes) => bytes.len() <= MOST_REMEMBERED,
        Value::Tuple(values) => {
            values.len() <= 8 && values.iter().all(|value| !matches!(value, Value::Tuple(_)) && is_small(value))
        }
        Value::List(_) | Value::Dictionary(_) | Value::Array { .. } => false,
        Value::None | Value::Bool | Value::Integer(_) | Value::Name(_) => true,
    }
}

/// Fails for values that may not be put into others.
fn check_depth<'a>(mut values: impl Iterator<Item = &'a Value>) -> Result<(), String> {
    match values.any(|value| value.depth() >= MOST_DEPTH) {
        true => Err("its values are nested too deep".into()),
        false => Ok(()),
    }
}

fn pairs(values: Vec<Value>) -> Result<Vec<(Value, Value)>, String> {
    if !values.len().is_multiple_of(2) {
        return Err("a key without a value".into());
    }
    let mut values = values.into_iter();
    let mut pairs = Vec::new();
    while let (Some(key), Some(value)) = (values.next(), values.next()) {
        pairs.push((key, value));
    }
    Ok(pairs)
}

/// What a call of one of the known names gives.
fn called(name: Value, arguments: Value) -> Result<Value, String> {
    let Value::Tuple(arguments) = arguments else { return Err("arguments that are no tuple".into()) };
    match (name, &arguments[..]) {
        (Value::Name(Name::Reconstruct), [Value::Name(Name::Array), ..]) => {
            Ok(Value::Array { shape: Vec::new(), bytes: Vec::new() })
        }
        (Value::Name(Name::Dtype), [Value::Bytes(kind), ..]) => match kind.as_slice() {
            b"u1" | b"uint8" => Ok(Value::Name(Name::Dtype)),
            other => Err(format!("an array of {}, not of bytes", String::from_utf8_lossy(other))),
        },
        // Latin-1 text stands for bytes.
        (Value::Name(Name::Encode), [Value::Bytes(text), Value::Bytes(encoding)]) if encoding == b"latin1" => {
            let text = std::str::from_utf8(text).map_err(|e| e.to_string())?;
            let bytes = text.chars().map(|c| u8::try_from(u32::from(c))).collect::<Result<_, _>>();
            bytes.map(Value::Bytes).map_err(|_| "a text that is not Latin-1".to_owned())
        }
        _ => Err("a call that makes no array".into()),
    }
}

/// A value with the state that a pickle gives it: an array's is (version, shape, dtype, is in Fortran order, bytes).
fn with_state(value: Value, state: Value) -> Result<Value, String> {
    match (value, state) {
        (Value::Name(Name::Dtype), _) => Ok(Value::Name(Name::Dtype)),
        (Value::Array { .. }, Value::Tuple(state)) => {
            let [_, Value::Tuple(shape), Value::Name(Name::Dtype), _, Value::Bytes(bytes)] = &state[..] else {
                return Err("an array in an unknown form".into());
            };
            let side = |value: &Value| match value {
                Value::Integer(side) => usize::try_from(*side).map_err(|e| e.to_string()),
                _ => Err("an array's shape".to_owned()),
            };
            let shape = shape.iter().map(side).collect::<Result<Vec<_>, _>>()?;
            if shape.iter().try_fold(1_usize, |count, &side| count.checked_mul(side)) != Some(bytes.len()) {
                return Err(format!("an array of shape {shape:?} with {} bytes", bytes.len()));
            }
            Ok(Value::Array { shape, bytes: bytes.clone() })
        }
        _ => Err("a state of something else than an array".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_values_are_read() {
        let pickle = b"\x80\x02}q\x00(U\x06labelsq\x01]q\x02(K\x06K\x09M\x01\x02eU\x01aX\x01\x00\x00\x00bu.";
        let value = Value::parse(pickle).unwrap();
        let numbers = [6, 9, 513].map(Value::Integer).to_vec();
        assert_eq!(value.get("labels"), Some(&Value::List(numbers)));
        assert_eq!(value.get("a"), Some(&Value::Bytes(b"b".to_vec())));
        assert_eq!(value.get("absent"), None);
    }

    #[test]
    fn calls_and_damage_are_refused() {
        for (pickle, reason) in [
            (&b"\x80\x02cposix\nsystem\n(X\x02\x00\x00\x00lstR."[..], "would call posix.system"),
            (b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.", "would call builtins.eval"),
            (b"\x80\x02cnumpy\ndtype\n(U\x02f4K\x00K\x01tR.", "an array of f4"),
            (b"\x80\x02(i__main__\nX\n.", "opcode 0x69"),
            (b"\x80\x02}", "cut off"),
            (b"U\xffab", "cut off"),
            (b"e.", "mark"),
            (b".", "stack is empty"),
            (b"h\x00.", "not there"),
        ] {
            let error = Value::parse(pickle).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
        // Lists in lists in lists.
        let deep = [vec![b']'; 100], vec![b'a'; 99], vec![b'.']].concat();
        assert!(Value::parse(&deep).is_err());
    }
}
