//! An operation of one's own, without touching the crate: the activation SiLU (x · sigmoid(x); Elfwing et al., 2017) with kernels
//! in WGSL, CPU twins, a gradient check, and as a layer that description files may name.
//!
//! ```sh
//! cargo run --release --example custom_op
//! ```

use cifar_gpu::gpu::{Launch, ShaderVariant};
use cifar_gpu::nn::{DescriptionReader, ForwardPass, Layer, LayerKind, Network, keys_of};
use cifar_gpu::ops::case::{Case, Conditioned, Exactness};
use cifar_gpu::ops::{Context, Cotangents, Op, Output, Upstream, operands};
use cifar_gpu::tape::{Tape, Var};
use cifar_gpu::tensor::DType;
use cifar_gpu::{Device, DeviceChoice, Error, Result, Tensor};

/// `output[i] = input[i] · sigmoid(input[i])`. `linear_workgroup` comes from the crate's shared file: dispatches of more than 65,535
/// workgroups have two dimensions.
const FORWARD: &str = "
{% include \"shared/workgroup.wgsl\" %}
@group(0) @binding(0) var<uniform> count: u32;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_workgroup(group, grid) * 256u + lane;
    if i < count {
        output[i] = input[i] / (1.0 + exp(-input[i]));
    }
}
";

/// `d_input[i] = d_output[i] · s · (1 + input[i] · (1 − s))` with `s = sigmoid(input[i])`.
const BACKWARD: &str = "
{% include \"shared/workgroup.wgsl\" %}
@group(0) @binding(0) var<uniform> count: u32;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> d_output: array<f32>;
@group(0) @binding(3) var<storage, read_write> d_input: array<f32>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_workgroup(group, grid) * 256u + lane;
    if i < count {
        let s = 1.0 / (1.0 + exp(-input[i]));
        d_input[i] = d_output[i] * s * (1.0 + input[i] * (1.0 - s));
    }
}
";

/// The operation.
#[derive(Debug, Clone, Copy)]
struct Silu;

impl Op for Silu {
    /// The input.
    type Saved = Tensor;

    fn name(&self) -> &'static str {
        "silu"
    }

    fn forward(&self, inputs: &[&Tensor], _context: &Context<'_>) -> Result<Output<Tensor>> {
        let [input] = operands(self.name(), inputs)?;
        let output = input.device().empty(input.shape())?;
        match input.device() {
            Device::Cpu(_) => {
                let (input, mut output) = (input.floats(self.name())?, output.floats_mut(self.name())?);
                for (output, x) in output.iter_mut().zip(input.iter()) {
                    *output = x / (1.0 + (-x).exp());
                }
            }
            Device::Gpu(_) => launch("silu_forward", FORWARD, &[input, &output])?,
        }
        Ok(Output::new(output, input.clone()))
    }

    fn backward(&self, input: Tensor, upstream: Upstream<'_>) -> Result<Cotangents> {
        let d_output = upstream.cotangent;
        let d_input = input.device().empty(input.shape())?;
        match input.device() {
            Device::Cpu(_) => {
                let (x, d_output) = (input.floats(self.name())?, d_output.floats(self.name())?);
                let mut d_input = d_input.floats_mut(self.name())?;
                for ((d_input, d_output), x) in d_input.iter_mut().zip(d_output.iter()).zip(x.iter()) {
                    let s = 1.0 / (1.0 + (-x).exp());
                    *d_input = d_output * s * (1.0 + x * (1.0 - s));
                }
            }
            Device::Gpu(_) => launch("silu_backward", BACKWARD, &[&input, d_output, &d_input])?,
        }
        Ok(d_input.into())
    }
}

/// Records a kernel over all elements, an invocation an element.
fn launch(name: &'static str, template: &'static str, tensors: &[&Tensor]) -> Result<()> {
    let Some(first) = tensors.first() else { return Err(Error::shape(name, "no operands")) };
    let Device::Gpu(gpu) = first.device() else { return Err(Error::DeviceMismatch { op: name }) };
    let count = u32::try_from(first.len()).map_err(|_| Error::shape(name, "too many elements"))?;
    let buffers = tensors.iter().map(|tensor| tensor.gpu(name)).collect::<Result<Vec<_>>>()?;
    gpu.launch(&Launch {
        variant: ShaderVariant::from_source(name, template, &[]),
        uniform: &count.to_le_bytes(),
        buffers: &buffers,
        workgroups: u64::from(count).div_ceil(256),
        flops: 0,
    })?;
    Ok(())
}

/// The same as a layer of networks: `{ type = "silu" }`.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct SiluLayer {}

impl Layer for SiluLayer {
    fn kind(&self) -> &'static str {
        "silu"
    }

    fn keys(&self) -> Result<toml::Table> {
        keys_of(self)
    }

    fn boxed(&self) -> Box<dyn Layer> {
        Box::new(self.clone())
    }

    fn description(&self) -> String {
        "SiLU".into()
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        Ok(input.to_vec())
    }

    fn flops(&self, _input: &[usize], output: &[usize]) -> u64 {
        4 * output.iter().product::<usize>() as u64
    }

    fn forward(&self, input: &Var, _pass: &mut ForwardPass<'_>) -> Result<Var> {
        input.apply(Silu)
    }
}

const NETWORK: &str = r#"
input = [8, 8, 1]
layers = [
    { type = "conv2d", name = "conv", channels = 4, kernel = 3, padding = 1 },
    { type = "silu" },
    { type = "global_avg_pool" },
    { type = "linear", name = "out", features = "classes" },
]
"#;

/// Values against double precision, and the gradient against finite differences.
fn cases() -> [Case; 2] {
    let values = Case::new("silu/values", |trial| {
        let (x, input) = trial.random(DType::F32, &[1009], 1)?;
        let (_, d_output) = trial.random(DType::F32, &[1009], 2)?;
        let tape = Tape::recording(None);
        let leaf = tape.variable(&input);
        let output = leaf.apply(Silu)?;
        let expected = || {
            let silu = |x: &f32| f64::from(*x) / (1.0 + (-f64::from(*x)).exp());
            x.iter().map(|x| Conditioned { value: silu(x), magnitude: f64::from(x.abs()) }).collect()
        };
        trial.close(Exactness::of(DType::F32), "silu_forward", output.tensor(), expected)?;
        output.backward_from(&d_output).map(|_| ())
    });
    [values, Case::gradient("silu", &[&[3, 7]], |_| Ok(Silu))]
}

fn check(device: &Device) -> Result<()> {
    println!("{}", device.description());
    for case in cases() {
        case.verify(device)?;
        println!("  {} PASS", case.name);
    }
    let reader = DescriptionReader::default().with(LayerKind::of::<SiluLayer>("silu"));
    let network = Network::new(reader.read("silu-net", NETWORK, Some(3))?, device, 1)?;
    let tape = Tape::inference();
    let images = device.tensor(&[2, 8, 8, 1], &[0.5; 128])?;
    let logits = network.forward(&tape, &tape.constant(&images))?;
    println!("  logits of a network with it: {:?}", logits.tensor().to_vec()?);
    Ok(())
}

fn main() -> Result<()> {
    check(&Device::cpu())?;
    let (gpu, _) = Device::open(DeviceChoice::Gpu, Default::default())?;
    check(&gpu)
}
