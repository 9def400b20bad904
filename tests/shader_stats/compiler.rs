//! One WGSL shader through the driver's compiler, and what the driver reports about the result.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char};

use ash::{khr, vk};
use cifar_gpu::gpu::shaders::BindingKind;

/// An error in words.
pub type Result<T> = std::result::Result<T, String>;

/// A driver's statistics of a shader by their names.
pub type Statistics = BTreeMap<String, u64>;

/// What the driver reports about a compiled shader.
pub struct Report {
    /// Its statistics.
    pub statistics: Statistics,
    /// The code that the GPU would run, as text.
    pub assembly: String,
}

/// An open device whose driver compiles; it need not be able to run anything.
pub struct Compiler {
    device: ash::Device,
    properties: khr::pipeline_executable_properties::Device,
    keeps_code: bool,
    /// Whether the GPU has them, of 16 × 16 elements.
    pub has_cooperative_matrices: bool,
    /// The GPU and the driver.
    pub name: String,
    // Unloads the driver when dropped, which must come last.
    _instance: ash::Instance,
    _entry: ash::Entry,
}

/// How wgpu asks naga for SPIR-V when checks are off.
fn spirv(source: &str) -> Result<(Vec<u32>, String)> {
    use naga::back::spv;
    use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
    let module = naga::front::wgsl::parse_str(source).map_err(|e| e.emit_to_string(source))?;
    let info = naga::valid::Validator::new(naga::valid::ValidationFlags::all(), naga::valid::Capabilities::all())
        .validate(&module)
        .map_err(|e| e.emit_to_string(source))?;
    let unchecked = BoundsCheckPolicy::Unchecked;
    let options = spv::Options {
        lang_version: (1, 6),
        flags: spv::WriterFlags::empty(),
        bounds_check_policies: BoundsCheckPolicies {
            index: unchecked,
            buffer: unchecked,
            image_load: unchecked,
            binding_array: unchecked,
        },
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        ..Default::default()
    };
    let entry_point = module.entry_points.first().ok_or("no entry point")?.name.clone();
    let pipeline = spv::PipelineOptions { shader_stage: naga::ShaderStage::Compute, entry_point: entry_point.clone() };
    let words = spv::write_vec(&module, &info, &options, Some(&pipeline)).map_err(|e| e.to_string())?;
    Ok((words, entry_point))
}

/// A fixed-size text of Vulkan's.
fn text(chars: &[c_char]) -> String {
    let bytes: Vec<u8> = chars.iter().map(|&c| c as u8).take_while(|&byte| byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The features that are asked for.
#[derive(Default)]
struct Features {
    v11: vk::PhysicalDeviceVulkan11Features<'static>,
    v12: vk::PhysicalDeviceVulkan12Features<'static>,
    v13: vk::PhysicalDeviceVulkan13Features<'static>,
    executable: vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR<'static>,
    robustness: vk::PhysicalDeviceRobustness2FeaturesEXT<'static>,
    matrices: vk::PhysicalDeviceCooperativeMatrixFeaturesKHR<'static>,
}

impl Features {
    /// All of them in one chain; those of extensions if the device has them.
    fn chain(&mut self, robustness2: bool, matrix: bool) -> vk::PhysicalDeviceFeatures2<'_> {
        let Features { v11, v12, v13, executable, robustness, matrices } = self;
        let mut features =
            vk::PhysicalDeviceFeatures2::default().push_next(v11).push_next(v12).push_next(v13).push_next(executable);
        if robustness2 {
            features = features.push_next(robustness);
        }
        if matrix {
            features = features.push_next(matrices);
        }
        features
    }

    /// The device's answers, out of their chain.
    fn answered(&self) -> Self {
        let none = std::ptr::null_mut();
        let Features { v11, v12, v13, executable, robustness, matrices } = self;
        Features {
            v11: vk::PhysicalDeviceVulkan11Features { p_next: none, ..*v11 },
            v12: vk::PhysicalDeviceVulkan12Features { p_next: none, ..*v12 },
            v13: vk::PhysicalDeviceVulkan13Features { p_next: none, ..*v13 },
            executable: vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR { p_next: none, ..*executable },
            robustness: vk::PhysicalDeviceRobustness2FeaturesEXT { p_next: none, ..*robustness },
            matrices: vk::PhysicalDeviceCooperativeMatrixFeaturesKHR { p_next: none, ..*matrices },
        }
    }
}

impl Compiler {
    /// Opens the first device; `None` if the driver offers none. `keeps_code` says whether its code is to be kept as text, and
    /// `is_robust` whether accesses outside buffers are to have no effect, as they have through wgpu on Vulkan but not on Metal.
    pub fn open(keeps_code: bool, is_robust: bool) -> Result<Option<Self>> {
        let failed = |what: &'static str| move |e: vk::Result| format!("{what}: {e}");
        // SAFETY: the library is a Vulkan loader, whose handles are used only while `_entry` and `_instance` live; all
        // structures are made by ash's builders and outlive the calls they are given to.
        unsafe {
            let entry = ash::Entry::load().map_err(|e| format!("no Vulkan loader: {e}"))?;
            let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
            let create = vk::InstanceCreateInfo::default().application_info(&application);
            // A driver that knows no such GPU may refuse here or list none.
            let instance = match entry.create_instance(&create, None) {
                Err(vk::Result::ERROR_INCOMPATIBLE_DRIVER) => return Ok(None),
                other => other.map_err(failed("vkCreateInstance"))?,
            };
            let gpus = match instance.enumerate_physical_devices() {
                Err(vk::Result::ERROR_INITIALIZATION_FAILED) => return Ok(None),
                other => other.map_err(failed("vkEnumeratePhysicalDevices"))?,
            };
            let Some(&gpu) = gpus.first() else { return Ok(None) };

            let mut driver = vk::PhysicalDeviceDriverProperties::default();
            let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut driver);
            instance.get_physical_device_properties2(gpu, &mut properties);
            let gpu_name = text(&properties.properties.device_name);
            let name = format!("{gpu_name}, {}", text(&driver.driver_info));

            let offered = instance.enumerate_device_extension_properties(gpu).map_err(failed("extensions"))?;
            let has = |name: &CStr| offered.iter().any(|e| e.extension_name_as_c_str() == Ok(name));
            let executable_properties = khr::pipeline_executable_properties::NAME;
            if !has(executable_properties) {
                return Err(format!("{name} does not tell what it compiles to"));
            }
            let mut extensions = vec![executable_properties.as_ptr()];
            // wgpu switches on all that it knows and the device has: robust access changes the code.
            let (robustness2, matrix) = (has(ash::ext::robustness2::NAME), has(khr::cooperative_matrix::NAME));
            extensions.extend(robustness2.then_some(ash::ext::robustness2::NAME.as_ptr()));
            extensions.extend(matrix.then_some(khr::cooperative_matrix::NAME.as_ptr()));
            let mut asked = Features::default();
            let core = {
                let mut features = asked.chain(robustness2, matrix);
                instance.get_physical_device_features2(gpu, &mut features);
                features.features
            };
            let mut wanted = asked.answered();
            if !is_robust {
                wanted.robustness.robust_buffer_access2 = vk::FALSE;
            }
            let robust = core.robust_buffer_access;
            let core =
                vk::PhysicalDeviceFeatures { robust_buffer_access: if is_robust { robust } else { vk::FALSE }, ..core };
            let mut features = wanted.chain(robustness2, matrix).features(core);
            let queues = [vk::DeviceQueueCreateInfo::default().queue_priorities(&[1.0])];
            let create = vk::DeviceCreateInfo::default()
                .queue_create_infos(&queues)
                .enabled_extension_names(&extensions)
                .push_next(&mut features);
            let device = instance.create_device(gpu, &create, None).map_err(failed("vkCreateDevice"))?;
            let properties = khr::pipeline_executable_properties::Device::new(&instance, &device);
            let has_cooperative_matrices = matrix;
            Ok(Some(Compiler {
                device,
                properties,
                keeps_code,
                has_cooperative_matrices,
                name,
                _instance: instance,
                _entry: entry,
            }))
        }
    }

    /// Compiles a shader whose bindings are these.
    pub fn compile(&self, source: &str, bindings: &[BindingKind]) -> Result<Report> {
        let (code, entry_point) = spirv(source)?;
        let entry_point = std::ffi::CString::new(entry_point).map_err(|e| e.to_string())?;
        let failed = |what: &'static str| move |e: vk::Result| format!("{what}: {e}");
        let bindings: Vec<_> = (0..)
            .zip(bindings)
            .map(|(number, kind)| {
                vk::DescriptorSetLayoutBinding::default()
                    .binding(number)
                    .descriptor_count(1)
                    .stage_flags(vk::ShaderStageFlags::COMPUTE)
                    .descriptor_type(match kind {
                        BindingKind::Uniform { .. } => vk::DescriptorType::UNIFORM_BUFFER,
                        BindingKind::Read | BindingKind::ReadWrite => vk::DescriptorType::STORAGE_BUFFER,
                    })
            })
            .collect();
        // SAFETY: the device is open, the SPIR-V is naga's, the layout is that of the shader's bindings, and all
        // structures outlive the calls they are given to. What is made here goes when the process ends.
        unsafe {
            let set = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
            let sets = [self.device.create_descriptor_set_layout(&set, None).map_err(failed("set layout"))?];
            let layout = vk::PipelineLayoutCreateInfo::default().set_layouts(&sets);
            let layout = self.device.create_pipeline_layout(&layout, None).map_err(failed("pipeline layout"))?;
            let module = vk::ShaderModuleCreateInfo::default().code(&code);
            let module = self.device.create_shader_module(&module, None).map_err(failed("shader module"))?;
            let stage = vk::PipelineShaderStageCreateInfo::default()
                .stage(vk::ShaderStageFlags::COMPUTE)
                .module(module)
                .name(&entry_point);
            let mut flags = vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR;
            if self.keeps_code {
                flags |= vk::PipelineCreateFlags::CAPTURE_INTERNAL_REPRESENTATIONS_KHR;
            }
            let create = vk::ComputePipelineCreateInfo::default().flags(flags).stage(stage).layout(layout);
            let pipelines = self
                .device
                .create_compute_pipelines(vk::PipelineCache::null(), &[create], None)
                .map_err(|(_, e)| format!("pipeline: {e}"))?;
            let executable = vk::PipelineExecutableInfoKHR::default().pipeline(pipelines[0]);
            let statistics = self
                .properties
                .get_pipeline_executable_statistics(&executable)
                .map_err(failed("statistics"))?
                .iter()
                .filter(|s| s.format == vk::PipelineExecutableStatisticFormatKHR::UINT64)
                .map(|s| (text(&s.name), s.value.u64))
                .collect();
            let assembly = if self.keeps_code { self.assembly(&executable)? } else { String::new() };
            Ok(Report { statistics, assembly })
        }
    }

    /// The last of the texts that the compiler keeps: the assembly.
    fn assembly(&self, executable: &vk::PipelineExecutableInfoKHR<'_>) -> Result<String> {
        let get = self.properties.fp().get_pipeline_executable_internal_representations_khr;
        let handle = self.properties.device();
        let failed = |e: vk::Result| format!("internal representations: {e}");
        let mut count = 0;
        // SAFETY: the function is called as Vulkan wants it: for the number, for the sizes, for the contents, into
        // buffers of the sizes told before.
        unsafe {
            get(handle, executable, &mut count, std::ptr::null_mut()).result().map_err(failed)?;
            let mut texts = vec![vk::PipelineExecutableInternalRepresentationKHR::default(); count as usize];
            get(handle, executable, &mut count, texts.as_mut_ptr()).result().map_err(failed)?;
            let mut contents: Vec<Vec<u8>> = texts.iter().map(|t| vec![0; t.data_size]).collect();
            for (text, content) in texts.iter_mut().zip(&mut contents) {
                text.p_data = content.as_mut_ptr().cast();
            }
            get(handle, executable, &mut count, texts.as_mut_ptr()).result().map_err(failed)?;
            Ok(texts
                .iter()
                .zip(&contents)
                .max_by_key(|(t, _)| text(&t.name).contains("Assembly"))
                .map(|(_, content)| String::from_utf8_lossy(content).trim_end_matches('\0').to_owned())
                .unwrap_or_default())
        }
    }
}
