//! A shader's interface from its declarations alone, for browsers: they parse and validate every shader themselves, and naga is a fifth
//! of what a page would have to load.
//!
//! Sizes and alignments are those of WGSL's section "Memory Layout".

use std::collections::HashMap;

use super::{BindingKind, Interface, in_order};

/// Why a shader's declarations cannot be read.
pub(super) struct Fault(String);

impl Fault {
    /// It; the browser tells the place in the text.
    pub(super) fn in_file(&self, _source: &str, _file: &str) -> String {
        self.0.clone()
    }
}

fn fault<T>(message: impl Into<String>) -> Result<T, Fault> {
    Err(Fault(message.into()))
}

pub(super) fn interface_of(source: &str) -> Result<Interface, Fault> {
    let text = without_comments(source);
    let mut declarations = Declarations { tokens: Tokens::of(&text), numbers: HashMap::new(), types: HashMap::new() };
    declarations.interface()
}

fn without_comments(source: &str) -> String {
    let (mut text, mut rest) = (String::new(), source);
    while let Some(start) = rest.find("//").into_iter().chain(rest.find("/*")).min() {
        text += &rest[..start];
        let end = if rest[start..].starts_with("//") { "\n" } else { "*/" };
        rest = rest[start + 2..].split_once(end).map_or("", |(_, after)| after);
        text.push(' ');
    }
    text + rest
}

/// Size and alignment of a type in bytes; of an array without a length, which only storage buffers have, those of an element.
#[derive(Debug, Clone, Copy)]
struct Layout {
    size: u64,
    alignment: u64,
}

/// Types may not be larger, in bytes, so that no size overflows.
const MAX_SIZE: u64 = 1 << 30;

impl Layout {
    fn scalar(size: u64) -> Self {
        Layout { size, alignment: size }
    }

    /// Of a vector of so many of these.
    fn vector(self, elements: u64) -> Self {
        Layout { size: elements * self.size, alignment: elements.next_power_of_two() * self.size }
    }

    /// Of an array of so many of these.
    fn array(self, elements: u32) -> Self {
        Layout { size: u64::from(elements) * self.size.next_multiple_of(self.alignment), ..self }
    }

    /// The same if it is not too large.
    fn within_limit(self, name: &str) -> Result<Self, Fault> {
        if self.size <= MAX_SIZE { Ok(self) } else { fault(format!("{name} is larger than {MAX_SIZE} bytes")) }
    }
}

/// Words and signs of a text.
struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Tokens<'a> {
    fn of(text: &'a str) -> Self {
        Tokens { rest: text.trim_start() }
    }

    fn peek(&self) -> &'a str {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        match self.rest.find(|c| !is_word(c)) {
            Some(0) => &self.rest[..self.rest.chars().next().map_or(0, char::len_utf8)],
            Some(end) => &self.rest[..end],
            None => self.rest,
        }
    }

    /// The next token; nothing at the end.
    fn next(&mut self) -> &'a str {
        let token = self.peek();
        self.rest = self.rest[token.len()..].trim_start();
        token
    }

    /// Whether the next token was this one, which is then past.
    fn has(&mut self, token: &str) -> bool {
        let has = self.peek() == token;
        if has {
            self.next();
        }
        has
    }

    fn expect(&mut self, token: &str) -> Result<(), Fault> {
        let found = self.next();
        if found == token { Ok(()) } else { fault(format!("expected {token:?} in a declaration, found {found:?}")) }
    }

    /// Passes a block, all blocks in it included.
    fn skip_block(&mut self) {
        let mut depth = 0_u32;
        loop {
            match self.next() {
                "{" => depth += 1,
                "}" if depth == 1 => return,
                "}" => depth -= 1,
                "" => return,
                _ => {}
            }
        }
    }
}

fn number_of(token: &str) -> Option<u32> {
    token.trim_end_matches(['u', 'i']).parse().ok()
}

/// Declarations on their way through the text.
struct Declarations<'a> {
    tokens: Tokens<'a>,
    /// Of constants that are plain numbers.
    numbers: HashMap<&'a str, u32>,
    /// Of structs and aliases.
    types: HashMap<&'a str, Layout>,
}

impl<'a> Declarations<'a> {
    fn interface(&mut self) -> Result<Interface, Fault> {
        let (mut bindings, mut workgroup_bytes) = (Vec::new(), 0_u64);
        let (mut binding, mut workgroup_size) = (None, None);
        loop {
            match self.tokens.next() {
                "" => break,
                "struct" => self.structure()?,
                "const" => self.constant(),
                "alias" => {
                    let name = self.tokens.next();
                    self.tokens.expect("=")?;
                    let layout = self.layout()?;
                    self.types.insert(name, layout);
                }
                "@" => match self.tokens.next() {
                    "binding" => {
                        self.tokens.expect("(")?;
                        binding = Some(self.number()?);
                    }
                    "workgroup_size" => {
                        let size = self.workgroup_size()?;
                        if workgroup_size.replace(size).is_some() {
                            return fault("expected exactly one entry point");
                        }
                    }
                    _ => {}
                },
                "var" if self.tokens.has("<") => {
                    let space = self.tokens.next();
                    let is_written = self.tokens.has(",") && self.tokens.next() == "read_write";
                    self.tokens.expect(">")?;
                    let _name = self.tokens.next();
                    self.tokens.expect(":")?;
                    let kind = match space {
                        "uniform" => BindingKind::Uniform { size: self.layout()?.size as u32 },
                        "storage" if is_written => BindingKind::ReadWrite,
                        "storage" => BindingKind::Read,
                        "workgroup" => {
                            workgroup_bytes += self.layout()?.size;
                            continue;
                        }
                        _ => continue,
                    };
                    let Some(number) = binding.take() else { return fault("a buffer has no binding") };
                    bindings.push((number, kind));
                }
                "fn" => self.tokens.skip_block(),
                _ => {}
            }
        }
        let Some(workgroup_size) = workgroup_size else { return fault("expected exactly one entry point") };
        let bindings = in_order(bindings).map_err(|message| Fault(message.to_owned()))?;
        Ok(Interface { bindings, workgroup_size, workgroup_bytes: u32::try_from(workgroup_bytes).unwrap_or(u32::MAX) })
    }

    /// Keeps a constant if it is a plain number.
    fn constant(&mut self) {
        let name = self.tokens.next();
        while !matches!(self.tokens.peek(), "=" | ";" | "") {
            self.tokens.next();
        }
        if self.tokens.has("=")
            && let Some(number) = number_of(self.tokens.next())
            && self.tokens.has(";")
        {
            self.numbers.insert(name, number);
        }
    }

    /// A number, or a constant's.
    fn number(&mut self) -> Result<u32, Fault> {
        let token = self.tokens.next();
        match number_of(token).or_else(|| self.numbers.get(token).copied()) {
            Some(number) => Ok(number),
            None => fault(format!("expected a number in a declaration, found {token:?}")),
        }
    }

    fn workgroup_size(&mut self) -> Result<[u32; 3], Fault> {
        let mut size = [1; 3];
        self.tokens.expect("(")?;
        for side in &mut size {
            *side = self.number()?;
            if !self.tokens.has(",") {
                break;
            }
        }
        self.tokens.expect(")")?;
        Ok(size)
    }

    fn structure(&mut self) -> Result<(), Fault> {
        let name = self.tokens.next();
        let (mut end, mut alignment) = (0_u64, 1);
        self.tokens.expect("{")?;
        while !self.tokens.has("}") {
            let mut member = self.tokens.next();
            while member == "@" {
                let attribute = self.tokens.next();
                if matches!(attribute, "align" | "size") {
                    return fault(format!(
                        "struct {name} has a member with @{attribute}, which is not supported in browsers"
                    ));
                }
                if self.tokens.peek() == "(" {
                    while !matches!(self.tokens.next(), ")" | "") {}
                }
                member = self.tokens.next();
            }
            self.tokens.expect(":")?;
            let layout = self.layout()?;
            end = end.next_multiple_of(layout.alignment) + layout.size;
            alignment = alignment.max(layout.alignment);
            self.tokens.has(",");
        }
        let layout = Layout { size: end.next_multiple_of(alignment), alignment }.within_limit(name)?;
        self.types.insert(name, layout);
        Ok(())
    }

    /// The layout of the type that is named next.
    fn layout(&mut self) -> Result<Layout, Fault> {
        let name = self.tokens.next();
        if let Some(&layout) = self.types.get(name) {
            return Ok(layout);
        }
        match name {
            "f32" | "u32" | "i32" | "bool" => Ok(Layout::scalar(4)),
            "f16" => Ok(Layout::scalar(2)),
            "atomic" | "vec2" | "vec3" | "vec4" | "array" => {
                self.tokens.expect("<")?;
                let element = self.layout()?;
                let layout = match name {
                    "vec2" => element.vector(2),
                    "vec3" => element.vector(3),
                    "vec4" => element.vector(4),
                    "array" if self.tokens.has(",") => element.array(self.number()?),
                    _ => element,
                };
                self.tokens.has(",");
                self.tokens.expect(">")?;
                layout.within_limit(name)
            }
            _ => fault(format!("type {name:?} is none that a buffer's declaration may have here")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::error::Error;
    use crate::gpu::shaders::{build, parsed};
    use crate::gpu::{GpuDevice, GpuError, ShaderVariant};
    use crate::ops;
    use crate::tensor::Device;

    fn read(source: &str) -> Result<Interface, String> {
        interface_of(source).map_err(|fault| fault.in_file(source, "a test"))
    }

    #[test]
    fn naga_reads_the_same_of_all_kernels() {
        // Variants whose templates take the same branches declare the same.
        let class =
            |variant: &ShaderVariant| (variant.name, variant.constants.iter().map(|c| c.1.min(2)).collect::<Vec<_>>());
        let mut seen = HashSet::new();
        for software in [false, true] {
            let gpu = GpuDevice::rehearsal(software).unwrap();
            let device = Device::Gpu(gpu.clone());
            for case in ops::cases() {
                let outcome = case.run(&device);
                let is_missing = matches!(&outcome, Err(Error::Gpu(GpuError::MissingFeature { .. })));
                assert!(outcome.is_ok() || is_missing, "{}: {outcome:?}", case.name);
            }
            for variant in gpu.launched_variants() {
                if !seen.insert(class(&variant)) {
                    continue;
                }
                let source = build(&variant).unwrap().source;
                let expected = parsed::interface_of(&source).map_err(|fault| fault.in_file(&source, "a test"));
                assert_eq!(read(&source), expected, "{variant:?}");
            }
        }
        assert!(seen.len() > 300, "{}", seen.len());
    }

    #[test]
    fn layouts_are_those_of_the_standard() {
        // Of WGSL's table of sizes and alignments.
        let source = "
            enable f16;
            struct Input { @builtin(local_invocation_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32 }
            alias pair = vec2<f16>; /* none of it: struct A { a: f32 } */ const COUNT: u32 = 3u; const TWICE = 2 * COUNT;
            struct Inner { a: f32, b: vec3<u32>, c: f32, }
            struct Params { a: u32, inner: array<Inner, COUNT>, b: pair }
            @group(0) @binding(1) var<storage, read_write> kept: array<atomic<u32>>;
            @group(0) @binding(0) var<uniform> params: Params;
            @group(0) @binding(2) var<storage> read: array<vec4<f32>>;
            var<workgroup> tile: array<vec3<f32>, 5>;
            var<private> own: f32;
            fn helper() { for (;;) { var a = 1; } }
            @compute @workgroup_size(8, COUNT) fn main(input: Input) { if true { atomicStore(&kept[input.lane], 1u); } }
        ";
        let expected = parsed::interface_of(source).map_err(|fault| fault.in_file(source, "a test")).unwrap();
        assert_eq!(expected.workgroup_bytes, 80);
        assert_eq!(expected.bindings[0], BindingKind::Uniform { size: 128 });
        assert_eq!(read(source), Ok(expected));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let entry = "@compute @workgroup_size(1) fn main() {}";
        for (declarations, named) in [
            (String::new(), "entry point"),
            (format!("{entry} {entry}"), "entry point"),
            (format!("@group(0) @binding(1) var<storage> a: array<f32>; {entry}"), "without gaps"),
            (format!("var<storage> a: array<f32>; {entry}"), "no binding"),
            (format!("@binding(0) var<uniform> a: texture_2d<f32>; {entry}"), "texture_2d"),
            (format!("struct A {{ @size(16) a: f32 }} {entry}"), "@size"),
            (format!("var<workgroup> a: array<f32, 2 * N>; {entry}"), "'>'"),
            ("struct A { a: array<f32".into(), "expected"),
            (format!("var<workgroup> a: array<array<vec4<f32>, 4000000000>, 4000000000>; {entry}"), "larger"),
        ] {
            let found = read(&declarations).unwrap_err();
            assert!(found.contains(named) || named == "'>'" && found.contains('>'), "{declarations}: {found}");
        }
    }
}
