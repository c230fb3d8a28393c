//! How a row-wise kernel reads its tensors, and how many invocations a group has.

use super::rows::{BlockCount, RowCount};
use crate::gpu::{Bind, Caps, Matrix, Variant};

/// How a row-wise kernel reads its tensors: from storage buffers, two vec4 at a time; or through image copies, with 64-bit
/// stores, which is the only fast load of software drivers. The choice also sets the number of invocations a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowAccess {
    /// From storage buffers.
    Buffer {
        /// Invocations a group, a power of two.
        group: u32,
    },
    /// Through image copies; a group is one subgroup of eight invocations.
    Image,
}

/// Invocations a group on GPUs, where a group holds several rows.
const INVOCATIONS: u32 = 256;

/// The rows of a group on GPUs, with so many lanes a row.
pub(super) fn rows_a_group(lanes: u32) -> u32 {
    (INVOCATIONS / lanes).max(1)
}

impl RowAccess {
    /// The access for rows of `columns` columns: images where the adapter reads them faster and `tensors` fit into textures,
    /// else [`RowAccess::buffer`].
    pub fn choose(caps: &Caps, columns: usize, tensors: &[&Matrix]) -> RowAccess {
        let fits = |m: &&Matrix| m.rows <= caps.max_texture as usize && m.pitch() / 4 <= caps.max_texture as usize;
        if caps.reads_images() && tensors.iter().all(fits) {
            return RowAccess::Image;
        }
        RowAccess::buffer(columns)
    }

    /// Access to buffers: 32 invocations a row up to 256 columns, 64 up to 1024, else 256.
    pub fn buffer(columns: usize) -> RowAccess {
        RowAccess::Buffer {
            group: match columns {
                0..=256 => 32,
                257..=1024 => 64,
                _ => 256,
            },
        }
    }

    /// The access for loops over scalars, which no image holds: it decides only how a group adds up.
    pub fn scalars(caps: &Caps) -> RowAccess {
        if caps.reads_images() { RowAccess::Image } else { RowAccess::Buffer { group: 256 } }
    }

    /// Every access that an adapter can run.
    pub fn all(caps: &Caps) -> Vec<RowAccess> {
        let mut all = [32, 64, 256].map(|group| RowAccess::Buffer { group }).to_vec();
        all.extend(caps.reads_images().then_some(RowAccess::Image));
        all
    }

    /// Invocations a group.
    pub fn group(self) -> u32 {
        match self {
            RowAccess::Buffer { group } => group,
            RowAccess::Image => 8,
        }
    }

    /// The variant with this access's group size and library files.
    pub fn apply(self, variant: Variant) -> Variant {
        let variant = variant.constant("GROUP", self.group());
        match self {
            RowAccess::Buffer { .. } => variant
                .import("pack", "pack")
                .import("input", "input_buffer")
                .import("update", "update_buffer")
                .import("reduce", "reduce_shared"),
            RowAccess::Image => variant
                .relies_on_robust_access()
                .import("pack", "pack_u64")
                .import("input", "input_image")
                .import("update", "update_image")
                .import("reduce", "reduce_subgroup"),
        }
    }

    /// On GPUs, several rows a group: the variant with `lanes` lanes a row, as reduce_rows.wgsl divides a group.
    pub(super) fn rows_of_lanes(variant: Variant, lanes: u32) -> Variant {
        let fan = match lanes {
            0..=64 => 8,
            65..=256 => 16,
            _ => 32,
        };
        variant.constant("GROUP", lanes).constant("ROWS", rows_a_group(lanes)).constant("FAN", fan)
    }

    /// Binds a matrix that the shader declares as `#input`.
    pub(super) fn input(self, matrix: &Matrix, rows: impl Into<BlockCount>) -> Bind<'_, BlockCount> {
        match self {
            RowAccess::Buffer { .. } => Bind::Read(&matrix.view),
            RowAccess::Image => Bind::Image(matrix, rows.into()),
        }
    }

    /// Binds the image copy of a matrix that the shader declares as `#update`; it comes after all other bindings.
    pub(super) fn updated(self, matrix: &Matrix, rows: RowCount) -> Option<Bind<'_, BlockCount>> {
        (self == RowAccess::Image).then(|| Bind::Image(matrix, rows.into()))
    }
}
