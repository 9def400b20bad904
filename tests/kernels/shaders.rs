//! Every shader is rendered, parsed, validated and reflected without a GPU.

use cifar_gpu::gpu::ShaderVariant;
use cifar_gpu::gpu::shaders::{self, BindingKind};
use libtest_mimic::{Failed, Trial};

use crate::Outcome;
use crate::variants::{Variants, variants};

pub fn all() -> Vec<Trial> {
    let mut trials: Vec<_> = shaders::kernel_names()
        .into_iter()
        .map(|name| Trial::test(format!("shader/{name}"), move || validate(name)))
        .collect();
    trials.push(Trial::test("shader/errors name the shader and show the line", errors_are_annotated));
    trials
}

fn validate(name: &'static str) -> Outcome {
    let Variants { gpu, cooperative, software } = variants(name)?;
    for variant in gpu.iter().chain(cooperative).chain(software) {
        let shader = shaders::build(variant).map_err(|e| format!("{:?}: {e}", variant.constants))?;
        if !shader.bindings.contains(&BindingKind::ReadWrite) {
            return Err(Failed::from("the kernel writes nothing"));
        }
        // Deep slabs are for GPUs that allow them.
        let is_deep = variant.constants.contains(&("DEEP", 1));
        let most = if shader.source.contains("coop_mat") || is_deep { 32 << 10 } else { 16 << 10 };
        if shader.workgroup_size.iter().product::<u32>() > 256 || shader.workgroup_bytes > most {
            return Err(Failed::from("more than every adapter can be relied on to allow"));
        }
    }
    Ok(())
}

fn errors_are_annotated() -> Outcome {
    // Zero channels make an empty shader loop's constant negative, which naga rejects.
    let variant = ShaderVariant::new(
        "softmax_cross_entropy",
        &[("CLASSES", 0), ("CLASS_WEIGHTS", 0), ("IGNORE", 0), ("LANES", 256)],
    );
    match shaders::build(&variant).map_err(|e| e.to_string()) {
        Err(message) if message.contains("softmax_cross_entropy.wgsl:") => Ok(()),
        Err(message) => Err(format!("no place in: {message}").into()),
        Ok(_) => Err("an invalid shader was accepted".into()),
    }
}
