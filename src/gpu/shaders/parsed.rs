//! A shader's interface from the module that naga parsed and validated.

use naga::valid::{Capabilities, ValidationFlags, Validator};

use super::{BindingKind, Interface, in_order};

/// Optional features that shaders may use: 16-bit floats, cooperative matrices, and subgroups.
const CAPABILITIES: Capabilities = Capabilities::SHADER_FLOAT16
    .union(Capabilities::COOPERATIVE_MATRIX)
    .union(Capabilities::SHADER_FLOAT16_IN_FLOAT32)
    .union(Capabilities::SUBGROUP);

/// Why a shader is refused.
pub(super) enum Fault {
    Syntax(naga::front::wgsl::ParseError),
    Invalid(Box<naga::WithSpan<naga::valid::ValidationError>>),
    Interface(&'static str),
}

impl Fault {
    /// It with the place in the text.
    pub(super) fn in_file(&self, source: &str, file: &str) -> String {
        match self {
            Fault::Syntax(error) => error.emit_to_string_with_path(source, file),
            Fault::Invalid(error) => error.emit_to_string_with_path(source, file),
            Fault::Interface(message) => (*message).to_owned(),
        }
    }
}

pub(super) fn interface_of(source: &str) -> Result<Interface, Fault> {
    let module = naga::front::wgsl::parse_str(source).map_err(Fault::Syntax)?;
    let mut validator = Validator::new(ValidationFlags::all(), CAPABILITIES);
    validator.validate(&module).map_err(|error| Fault::Invalid(Box::new(error)))?;
    let mut bindings = Vec::new();
    let mut workgroup_bytes = 0;
    for (_, variable) in module.global_variables.iter() {
        let size = module.types[variable.ty].inner.size(module.to_ctx());
        let kind = match variable.space {
            naga::AddressSpace::Uniform => BindingKind::Uniform { size },
            naga::AddressSpace::Storage { access } if access.contains(naga::StorageAccess::STORE) => {
                BindingKind::ReadWrite
            }
            naga::AddressSpace::Storage { .. } => BindingKind::Read,
            naga::AddressSpace::WorkGroup => {
                workgroup_bytes += size;
                continue;
            }
            _ => continue,
        };
        let binding = variable.binding.as_ref().ok_or(Fault::Interface("a buffer has no binding"))?;
        bindings.push((binding.binding, kind));
    }
    let [entry] = module.entry_points.as_slice() else {
        return Err(Fault::Interface("expected exactly one entry point"));
    };
    let bindings = in_order(bindings).map_err(Fault::Interface)?;
    Ok(Interface { bindings, workgroup_size: entry.workgroup_size, workgroup_bytes })
}
