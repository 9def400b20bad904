//! Errors of GPUs.

/// An error of the GPU engine.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// No adapter fits the request.
    #[error("no GPU adapter found ({0})")]
    NoAdapter(String),
    /// `gpu:N` names an adapter that does not exist.
    #[error("there is no adapter gpu:{index}; {count} found")]
    NoSuchAdapter {
        /// The requested number.
        index: usize,
        /// Number of adapters.
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
    /// A limit of the adapter is exceeded.
    #[error("{what} needs {needed}, and the adapter's {limit} is {available}")]
    Limit {
        /// The object being created.
        what: String,
        /// The limit's name in wgpu.
        limit: &'static str,
        /// What it needs, in the limit's own unit.
        needed: u64,
        /// The adapter's limit.
        available: u64,
    },
    /// The GPU has no memory left.
    #[error("out of GPU memory{}", allocating(*bytes, *in_use))]
    OutOfMemory {
        /// Size of the failed allocation; 0 where the driver does not say what it was for.
        bytes: u64,
        /// Bytes already in use.
        in_use: u64,
    },
    /// The device was lost.
    #[error("the GPU was lost: {0}")]
    DeviceLost(String),
    /// The adapter could not be opened.
    #[error("cannot open adapter {adapter}: {reason}")]
    OpenDevice {
        /// The adapter's name.
        adapter: String,
        /// The driver's message.
        reason: String,
    },
    /// The GPU did not finish in time.
    #[error("the GPU did not finish within {seconds} s")]
    Timeout {
        /// The time waited.
        seconds: u64,
    },
    /// A shader does not parse, validate or match its launcher: a bug in this program.
    #[error("shader {name}: {message}")]
    Shader {
        /// The kernel's name.
        name: String,
        /// What is wrong, with the annotated source line where known.
        message: String,
    },
    /// A call that cannot be captured, because it takes effect immediately and only once.
    #[error("{call} while commands are captured")]
    Capturing {
        /// The call.
        call: &'static str,
    },
    /// Kernels on this adapter disagree with their CPU twins.
    #[error("{failed} of {checks} checks failed: this device's results cannot be trusted")]
    FailedCheck {
        /// Failed checks.
        failed: usize,
        /// All checks.
        checks: usize,
    },
    /// wgpu rejected a call: a bug in this program or in the driver.
    #[error("GPU call rejected: {0}")]
    Rejected(String),
}

fn allocating(bytes: u64, in_use: u64) -> String {
    if bytes == 0 { String::new() } else { format!(" allocating {bytes} bytes with {in_use} bytes in use") }
}

impl GpuError {
    /// Whether the device is gone or hangs, and another one may be opened on the same adapter.
    pub fn is_loss(&self) -> bool {
        matches!(self, GpuError::DeviceLost(_) | GpuError::Timeout { .. })
    }

    /// How to fix the error, if known.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            GpuError::NoAdapter(_) => {
                "use the CPU, or install a Vulkan driver (mesa-vulkan-drivers has a software one)"
            }
            GpuError::NoSuchAdapter { .. } => "choose one of the available adapters",
            GpuError::Limit { .. } | GpuError::OutOfMemory { .. } => "use smaller batches, or the CPU",
            GpuError::DeviceLost(_) | GpuError::Timeout { .. } => {
                "a driver's time limit may be the cause: use smaller batches, or the CPU"
            }
            GpuError::MissingFeature { .. } | GpuError::OpenDevice { .. } => "choose another adapter, or the CPU",
            GpuError::FailedCheck { .. } => {
                "update the driver, choose another adapter, or use the CPU; and please report it with these lines"
            }
            GpuError::Shader { .. } | GpuError::Capturing { .. } | GpuError::Rejected(_) => {
                "this is a bug in the program: please report it with the names of adapter and driver"
            }
        };
        Some(hint.to_owned())
    }
}
