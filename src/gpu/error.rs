//! What can go wrong between us and a GPU.

/// An error of the GPU engine.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// No adapter fits the request.
    #[error("no GPU adapter found ({0})")]
    NoAdapter(String),
    /// `gpu:N` names an adapter that is not there.
    #[error("there is no adapter gpu:{index}; {count} found")]
    NoSuchAdapter {
        /// The number asked for.
        index: usize,
        /// How many adapters there are.
        count: usize,
    },
    /// The adapter lacks a feature that a kernel needs.
    #[error("adapter {adapter} lacks {feature}")]
    MissingFeature {
        /// The adapter's name.
        adapter: String,
        /// The feature's name in wgpu.
        feature: String,
    },
    /// Something is larger than the adapter allows.
    #[error("{what} needs {needed}, and the adapter's {limit} is {available}")]
    Limit {
        /// What was being made.
        what: String,
        /// The limit's name in wgpu.
        limit: &'static str,
        /// What it needs, in the limit's own unit.
        needed: u64,
        /// What the adapter allows.
        available: u64,
    },
    /// The GPU has no memory left.
    #[error("out of GPU memory{}", allocating(*bytes, *in_use))]
    OutOfMemory {
        /// Size of the failed allocation; 0 where the driver does not say what it was for.
        bytes: u64,
        /// What we held already.
        in_use: u64,
    },
    /// The driver has given up the device.
    #[error("the GPU was lost: {0}")]
    DeviceLost(String),
    /// The adapter refused to open.
    #[error("cannot open adapter {adapter}: {reason}")]
    OpenDevice {
        /// The adapter's name.
        adapter: String,
        /// The driver's words.
        reason: String,
    },
    /// The GPU did not answer in time.
    #[error("the GPU did not finish within {seconds} s")]
    Timeout {
        /// How long we waited.
        seconds: u64,
    },
    /// A shader does not parse, validate or match its launcher: a fault of ours.
    #[error("shader {name}: {message}")]
    Shader {
        /// The kernel's name.
        name: String,
        /// What is wrong, with the annotated source line where known.
        message: String,
    },
    /// A call that cannot be captured: it acts at once, and only once.
    #[error("{call} while commands are captured")]
    Capturing {
        /// What was called.
        call: &'static str,
    },
    /// Kernels compute something else on this adapter than their CPU twins.
    #[error("{failed} of {checks} checks failed: this device's results cannot be trusted")]
    FailedCheck {
        /// Checks that failed.
        failed: usize,
        /// All that were made.
        checks: usize,
    },
    /// wgpu rejected a call: a fault of ours or of the driver.
    #[error("GPU call rejected: {0}")]
    Rejected(String),
}

fn allocating(bytes: u64, in_use: u64) -> String {
    if bytes == 0 { String::new() } else { format!(" allocating {bytes} bytes with {in_use} bytes in use") }
}

impl GpuError {
    /// What can be done about it, if anything is known to help.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            GpuError::NoAdapter(_) => {
                "use the CPU, or install a Vulkan driver (mesa-vulkan-drivers has a software one)"
            }
            GpuError::NoSuchAdapter { .. } => "choose one of the adapters that are here",
            GpuError::Limit { .. } | GpuError::OutOfMemory { .. } => "use smaller batches, or the CPU",
            GpuError::DeviceLost(_) | GpuError::Timeout { .. } => {
                "a driver's time limit may be the cause: use smaller batches, or the CPU"
            }
            GpuError::MissingFeature { .. } | GpuError::OpenDevice { .. } => "choose another adapter, or the CPU",
            GpuError::FailedCheck { .. } => {
                "update the driver, choose another adapter, or use the CPU; and please report it with these lines"
            }
            GpuError::Shader { .. } | GpuError::Capturing { .. } | GpuError::Rejected(_) => {
                "this is a fault of the program: please report it with the names of adapter and driver"
            }
        };
        Some(hint.to_owned())
    }
}
