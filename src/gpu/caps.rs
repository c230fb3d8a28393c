//! What an adapter can do, as plain numbers. `choose` functions decide from these alone, so that tests need no adapter.

/// The kind of an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AdapterKind {
    /// A GPU with memory of its own.
    Discrete,
    /// A GPU that shares the memory of the CPU.
    Integrated,
    /// A software driver on the CPU, such as lavapipe.
    Cpu,
    /// A virtual or unknown device.
    Other,
}

impl AdapterKind {
    /// [`Caps::max_dispatch_flops`] of adapters of this kind. Nothing resets a driver on the CPU.
    pub fn max_dispatch_flops(self) -> f64 {
        match self {
            AdapterKind::Discrete => 5e11,
            AdapterKind::Integrated | AdapterKind::Other => 5e10,
            AdapterKind::Cpu => f64::INFINITY,
        }
    }
}

/// The shape of cooperative matrices that kernels use.
pub const HALF_FRAGMENTS: &str = "16x16x16 f16→f32";

/// What an adapter can do. Limits are those that its device is opened with.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Caps {
    /// The adapter's name.
    pub name: String,
    /// `vulkan`, `metal` or `dx12`.
    pub backend: String,
    /// The driver and its version.
    pub driver: String,
    /// Discrete, integrated, CPU.
    pub kind: AdapterKind,
    /// Smallest and largest subgroup; (0, 0) without subgroup operations.
    pub subgroup: (u32, u32),
    /// 64-bit integers in shaders.
    pub int64: bool,
    /// Images that one kernel both reads and writes.
    pub image_update: bool,
    /// 16-bit floats in shaders.
    pub f16: bool,
    /// Timestamps around passes.
    pub timestamps: bool,
    /// Shapes of cooperative matrices, such as `8x8x8 f16→f32`.
    pub cooperative: Vec<String>,
    /// Bytes of the largest storage binding.
    pub max_binding: u64,
    /// Bytes of the largest buffer.
    pub max_buffer: u64,
    /// Bytes of workgroup memory.
    pub max_workgroup_bytes: u32,
    /// Invocations in a workgroup.
    pub max_workgroup_size: u32,
    /// Workgroups in a dimension.
    pub max_groups: u32,
    /// Texels on a side of a texture.
    pub max_texture: u32,
    /// Storage buffers that one kernel may bind.
    pub max_storage_buffers: u32,
    /// Floating-point operations of one dispatch, beyond which its rows are divided over several: half a second on the
    /// slowest adapters of its kind, because desktop drivers reset a device after about two seconds. Not a limit of the
    /// adapter.
    #[serde(skip)]
    pub max_dispatch_flops: f64,
}

impl Caps {
    /// WebGPU's default limits, which every adapter has.
    pub fn webgpu_defaults() -> Self {
        Caps {
            name: "WebGPU defaults".into(),
            backend: "vulkan".into(),
            driver: String::new(),
            kind: AdapterKind::Other,
            subgroup: (0, 0),
            int64: false,
            image_update: false,
            f16: false,
            timestamps: false,
            cooperative: Vec::new(),
            max_binding: 128 << 20,
            max_buffer: 256 << 20,
            max_workgroup_bytes: 16 << 10,
            max_workgroup_size: 256,
            max_groups: 65535,
            max_texture: 8192,
            max_storage_buffers: 8,
            max_dispatch_flops: AdapterKind::Other.max_dispatch_flops(),
        }
    }

    /// One adapter of each class that `choose` functions distinguish, for tests without an adapter.
    pub fn table() -> Vec<Caps> {
        let base = Caps::webgpu_defaults();
        let gpu = |name: &str, backend: &str, kind, subgroup, workgroup_bytes, workgroup_size| Caps {
            name: name.into(),
            backend: backend.into(),
            kind,
            subgroup,
            f16: true,
            timestamps: true,
            max_binding: 2 << 30,
            max_buffer: 4 << 30,
            max_workgroup_bytes: workgroup_bytes,
            max_workgroup_size: workgroup_size,
            max_texture: 16384,
            max_dispatch_flops: kind.max_dispatch_flops(),
            ..base.clone()
        };
        vec![
            base.clone(),
            gpu("NVIDIA", "vulkan", AdapterKind::Discrete, (32, 32), 48 << 10, 1024),
            gpu("RDNA", "vulkan", AdapterKind::Discrete, (32, 64), 64 << 10, 1024),
            gpu("Apple", "metal", AdapterKind::Integrated, (4, 64), 32 << 10, 1024),
            gpu("Intel", "dx12", AdapterKind::Integrated, (8, 32), 32 << 10, 1024),
            Caps {
                int64: true,
                image_update: true,
                max_binding: 128 << 20,
                ..gpu("lavapipe", "vulkan", AdapterKind::Cpu, (8, 8), 32 << 10, 1024)
            },
        ]
    }

    /// Whether it is lavapipe, Mesa's software driver llvmpipe for Vulkan.
    pub fn is_lavapipe(&self) -> bool {
        self.backend == "vulkan" && (self.name.contains("llvmpipe") || self.name.contains("lavapipe"))
    }

    /// Whether kernels for CPU adapters run on it, which read operands as images and use eight lanes as one register. Only
    /// lavapipe: its loads from images are fast, and it drops stores past the end of a buffer, which these kernels rely on.
    pub fn reads_images(&self) -> bool {
        self.is_lavapipe() && self.kind == AdapterKind::Cpu && self.subgroup == (8, 8) && self.int64
    }

    /// Turns of all loops of an invocation after which the driver ends the loops silently; `None` where it does not. llvmpipe
    /// does (`LP_MAX_TGSI_LOOP_ITERATIONS` in its source).
    pub fn loop_turns(&self) -> Option<usize> {
        let known = self.is_lavapipe();
        known.then_some(65_535)
    }

    /// Whether Microsoft's FXC compiles its shaders, which has no subgroups. Its time grows faster than the length of a kernel,
    /// and a second for each kernel delays the first step, so that shorter kernels are chosen.
    pub fn compiles_with_fxc(&self) -> bool {
        self.backend == "dx12" && self.subgroup == (0, 0)
    }

    /// Whether kernels run on it that multiply 16-bit floats on matrix units: fragments of 16 × 16 with sums in 32 bits, in
    /// subgroups of 32 or of parts of 32 invocations.
    pub fn multiplies_halves(&self) -> bool {
        let fragments = self.cooperative.iter().any(|shape| shape == HALF_FRAGMENTS);
        fragments && self.f16 && 32u32.is_multiple_of(self.subgroup.1.max(1)) && self.subgroup.1 > 1
    }

    /// Floating-point operations of a submission, until the device's speed is measured: see
    /// [`Device::submission_flops`](super::Device::submission_flops).
    pub fn submission_flops(&self) -> f64 {
        match self.kind {
            AdapterKind::Discrete => 2e11,
            AdapterKind::Integrated => 5e10,
            _ => 1e10,
        }
    }
}
