//! Every shader in the languages of the drivers that no machine with the suite has: Metal's, Direct3D's and OpenGL's.
//!
//! wgpu translates a shader when its pipeline is made, so that what has no counterpart in a language would be seen on the
//! user's machine only. These cases translate with the same library, without a GPU; whether the driver's own compiler takes
//! the text, they cannot say.

use std::fmt::Display;

use cifar_gpu::gpu::shaders;
use libtest_mimic::Trial;
use naga::back::{glsl, hlsl, msl};
use naga::proc::BoundsCheckPolicies;
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{Module, ShaderStage};

use crate::Outcome;
use crate::variants::variants;

/// A language: its name, whether it has 16-bit floats as wgpu uses it, and the translation.
struct Language {
    name: &'static str,
    has_half: bool,
    translate: fn(&Module, &ModuleInfo) -> Result<String, String>,
}

const LANGUAGES: [Language; 4] = [
    Language { name: "metal 2.1", has_half: true, translate: metal },
    // What Windows compiles without a library of its own.
    Language {
        name: "direct3d, model 5.1",
        has_half: false,
        translate: |m, i| direct3d(hlsl::ShaderModel::V5_1, m, i),
    },
    Language { name: "direct3d, model 6.2", has_half: true, translate: |m, i| direct3d(hlsl::ShaderModel::V6_2, m, i) },
    Language { name: "opengl es 3.1", has_half: false, translate: opengl },
];

pub fn all() -> Vec<Trial> {
    let names = shaders::kernel_names();
    let trial = |name| {
        let languages = LANGUAGES.iter();
        languages.map(move |language| {
            Trial::test(format!("language/{}/{name}", language.name), move || translates(name, language))
        })
    };
    names.into_iter().flat_map(trial).collect()
}

/// Whether all variants that GPUs without cooperative matrices run can be said in a language.
fn translates(name: &'static str, language: &Language) -> Outcome {
    let variants = variants(name)?;
    for variant in &variants.gpu {
        let constants = &variant.constants;
        let source = shaders::build(variant)?.source;
        if !language.has_half && source.contains("enable f16") {
            continue;
        }
        let module = naga::front::wgsl::parse_str(&source)?;
        let info = Validator::new(
            ValidationFlags::all(),
            Capabilities::SHADER_FLOAT16 | Capabilities::SHADER_FLOAT16_IN_FLOAT32,
        )
        .validate(&module)?;
        let text = (language.translate)(&module, &info).map_err(|message| format!("{constants:?}: {message}"))?;
        if text.is_empty() {
            return Err(format!("{constants:?}: nothing was written").into());
        }
    }
    Ok(())
}

fn words(error: impl Display) -> String {
    error.to_string()
}

fn metal(module: &Module, info: &ModuleInfo) -> Result<String, String> {
    let options = msl::Options { lang_version: (2, 1), ..Default::default() };
    let (text, translation) = msl::write_string(module, info, &options, &Default::default()).map_err(words)?;
    translation.entry_point_names.into_iter().collect::<Result<Vec<_>, _>>().map_err(words)?;
    Ok(text)
}

fn direct3d(shader_model: hlsl::ShaderModel, module: &Module, info: &ModuleInfo) -> Result<String, String> {
    // Where the number of workgroups comes from.
    let special_constants_binding = Some(hlsl::BindTarget { register: 1, ..Default::default() });
    let options = hlsl::Options { shader_model, special_constants_binding, ..Default::default() };
    let mut text = String::new();
    let pipeline = hlsl::PipelineOptions::default();
    let reflection = hlsl::Writer::new(&mut text, &options, &pipeline).write(module, info, None).map_err(words)?;
    reflection.entry_point_names.into_iter().collect::<Result<Vec<_>, _>>().map_err(words)?;
    Ok(text)
}

fn opengl(module: &Module, info: &ModuleInfo) -> Result<String, String> {
    let entry_point = module.entry_points.first().ok_or("no entry point")?.name.clone();
    let pipeline = glsl::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point, multiview: None };
    let mut text = String::new();
    glsl::Writer::new(&mut text, module, info, &Default::default(), &pipeline, BoundsCheckPolicies::default())
        .and_then(|mut writer| writer.write())
        .map_err(words)?;
    Ok(text)
}
