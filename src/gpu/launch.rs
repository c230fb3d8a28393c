//! What a run of a program is given, and what each dispatch computes from it.

/// The values that a program is run with. They may differ from run to run, but no size may exceed the capacity that the
/// program was recorded with.
pub trait LiveValues: 'static {
    /// Names a number of rows that depends on these values, such as the rows of the batch at hand.
    type RowCount: Copy + PartialEq + Send + Sync + 'static;

    /// The number of rows that `count` names.
    fn row_count(&self, count: Self::RowCount) -> u32;
}

/// Programs that always run at one size: a row count is the number itself.
impl LiveValues for () {
    type RowCount = u32;

    fn row_count(&self, count: u32) -> u32 {
        count
    }
}

/// The parameters and the grid of one dispatch in one run.
#[derive(Clone, Debug, Default)]
pub struct Launch {
    /// The bytes of the uniform.
    pub params: Vec<u8>,
    /// Workgroups in x, y and z. A zero skips the dispatch.
    pub groups: [u32; 3],
    /// Floating-point operations, by which long programs are split into submissions.
    pub flops: f64,
}

impl Launch {
    /// A launch with the bytes of a `Params` struct, counted as 0 operations.
    pub fn new<P: bytemuck::Pod>(params: P, groups: [u32; 3]) -> Self {
        Launch { params: bytemuck::bytes_of(&params).to_vec(), groups, flops: 0.0 }
    }

    /// The same launch counted as `flops` operations.
    pub fn flops(mut self, flops: f64) -> Self {
        self.flops = flops;
        self
    }

    /// Workgroups in total.
    pub(super) fn group_count(&self) -> u64 {
        self.groups.iter().map(|g| u64::from(*g)).product()
    }
}

/// Computes a dispatch's launch from the live values, on the host, in every run.
pub(super) type Plan<V> = Box<dyn Fn(&V) -> Launch + Send + Sync>;
