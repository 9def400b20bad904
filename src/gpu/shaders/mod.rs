//! The shaders: templates in `shaders/`, rendered for a shape, parsed, validated and reflected by naga; in a browser, which parses and
//! validates by itself, their declarations are read instead.
//!
//! A shader is a WGSL file with `{{ CONSTANT }}` placeholders and `{% for %}` loops, which unroll loops over values that must be in
//! registers: naga does not unroll, and drivers put dynamically indexed local arrays into memory. Host and shader cannot disagree
//! silently: bindings, access and workgroup size are read from the parsed module.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use include_dir::{Dir, include_dir};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior, filters, functions, tests};

use super::GpuError;

#[cfg(any(test, target_family = "wasm"))]
mod declared;
#[cfg(not(target_family = "wasm"))]
mod parsed;

#[cfg(target_family = "wasm")]
use declared::interface_of;
#[cfg(not(target_family = "wasm"))]
use parsed::interface_of;

static SHADERS: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/shaders");

/// A kernel and the constants baked into it: the complete key of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShaderVariant {
    /// The kernel's name: of this crate's kernels that of the file in `shaders/`, without the extension.
    pub name: &'static str,
    /// Values of the template's placeholders.
    pub constants: Vec<(&'static str, u32)>,
    source: Source,
}

/// Source of a kernel's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Source {
    /// The file with its name in `shaders/`.
    Embedded,
    /// A program that uses this crate.
    Own {
        template: &'static str,
        /// Whether it runs without checks of its indices and loops.
        is_unchecked: bool,
    },
}

impl ShaderVariant {
    /// A variant of this crate's kernel `name`.
    pub fn new(name: &'static str, constants: &[(&'static str, u32)]) -> Self {
        ShaderVariant { name, constants: constants.to_vec(), source: Source::Embedded }
    }

    /// A variant of a custom kernel: WGSL with one entry point, whose bindings in group 0 run from 0 without gaps, a uniform among
    /// them at most. It is a template as the files in `shaders/` are, and may include `shared/*.wgsl`.
    ///
    /// It runs with wgpu's checks: an index outside a buffer reads or writes something inside it, and loops end.
    pub fn from_source(name: &'static str, template: &'static str, constants: &[(&'static str, u32)]) -> Self {
        let source = Source::Own { template, is_unchecked: false };
        ShaderVariant { name, constants: constants.to_vec(), source }
    }

    /// The same without these checks, which cost up to a third of a kernel's time.
    ///
    /// # Safety
    /// For every launch, the kernel must stay inside its buffers, end its loops, and never divide by zero, for any contents of the
    /// buffers.
    #[must_use]
    pub unsafe fn unchecked(self) -> Self {
        match self.source {
            Source::Embedded => self,
            Source::Own { template, .. } => {
                ShaderVariant { source: Source::Own { template, is_unchecked: true }, ..self }
            }
        }
    }

    /// Whether its author guarantees that it needs no checks.
    pub(super) fn is_promised_safe(&self) -> bool {
        matches!(self.source, Source::Own { is_unchecked: true, .. })
    }
}

/// How a kernel uses one of its bindings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindingKind {
    /// Uniform buffer of this many bytes.
    Uniform {
        /// Size of the struct in bytes, padding included.
        size: u32,
    },
    /// Storage buffer that is only read.
    Read,
    /// Storage buffer that is written.
    ReadWrite,
}

/// A rendered, validated shader and its interface.
#[derive(Debug)]
pub struct Shader {
    /// The WGSL text.
    pub source: String,
    /// Bindings of group 0, in order of their numbers, which run from 0 without gaps.
    pub bindings: Vec<BindingKind>,
    /// Invocations of a workgroup along x, y and z.
    pub workgroup_size: [u32; 3],
    /// Workgroup memory used, in bytes.
    pub workgroup_bytes: u32,
    /// Whether it has 16-bit floats.
    pub needs_f16: bool,
}

/// Of Jinja's functions, filters and tests there are these four, which keeps the others out of a browser's download.
static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::empty();
    environment.add_function("namespace", functions::namespace);
    environment.add_function("range", functions::range);
    environment.add_filter("length", filters::length);
    environment.add_test("defined", tests::is_defined);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    if let Ok(syntax) = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build() {
        environment.set_syntax(syntax);
    }
    environment.set_loader(|name| Ok(SHADERS.get_file(name).and_then(|f| f.contents_utf8()).map(str::to_owned)));
    environment
});

/// Names of all kernels.
pub fn kernel_names() -> Vec<&'static str> {
    SHADERS.files().filter_map(|f| f.path().file_stem()?.to_str()).collect()
}

/// The text of all templates.
pub fn sources() -> impl Iterator<Item = &'static str> {
    let shared = SHADERS.dirs().flat_map(Dir::files);
    SHADERS.files().chain(shared).filter_map(|file| file.contents_utf8())
}

/// Renders, parses, validates and reflects a variant. Needs no GPU.
///
/// # Errors
/// [`GpuError::Shader`] with the place in the rendered text.
pub fn build(variant: &ShaderVariant) -> Result<Shader, GpuError> {
    let error = |message: String| GpuError::Shader { name: variant.name.into(), message };
    let file = format!("{}.wgsl", variant.name);
    let constants: BTreeMap<_, _> = variant.constants.iter().copied().collect();
    let source = match variant.source {
        Source::Embedded => TEMPLATES.get_template(&file).and_then(|template| template.render(constants)),
        Source::Own { template, .. } => TEMPLATES.render_named_str(&file, template, constants),
    };
    let source = source.map_err(|e| error(format!("{e:#}")))?;
    let Interface { bindings, workgroup_size, workgroup_bytes } =
        interface_of(&source).map_err(|fault| error(fault.in_file(&source, &file)))?;
    Ok(Shader { bindings, workgroup_size, workgroup_bytes, needs_f16: source.contains("enable f16;"), source })
}

/// What a launcher must know of a shader.
#[derive(Debug, PartialEq, Eq)]
struct Interface {
    bindings: Vec<BindingKind>,
    workgroup_size: [u32; 3],
    workgroup_bytes: u32,
}

/// The kinds of bindings by their numbers, in the order of these, which must run from 0 without gaps.
fn in_order(mut bindings: Vec<(u32, BindingKind)>) -> Result<Vec<BindingKind>, &'static str> {
    bindings.sort_by_key(|(number, _)| *number);
    if bindings.iter().enumerate().any(|(i, (number, _))| i as u32 != *number) {
        return Err("bindings must run from 0 without gaps");
    }
    Ok(bindings.into_iter().map(|(_, kind)| kind).collect())
}
