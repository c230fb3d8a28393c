//! The operations of a model on a device. Each op has one file with its shaders, Specs, operands and the function that
//! records it. `choose(caps, …) -> Spec` decides which variant runs, from the capabilities of the adapter and the shapes alone.

pub mod attention;
pub mod cache;
pub mod column_sum;
pub mod cross_entropy;
pub mod dropout;
pub mod embedding;
pub mod gather_rows;
pub mod kernels;
pub mod kv_compress;
pub mod layer_norm;
pub mod layout;
pub mod matmul;
pub mod matvec;
pub mod optimizer;
pub mod task_loss;
pub mod tiles;

mod form;
mod grid;
mod registry;
mod row_access;
mod rows;
mod shapes;
mod spec;
mod values;

pub use registry::{ALL, Kernel};
pub use row_access::RowAccess;
pub use rows::{BlockCount, RowCount, RowRange};
pub use spec::Spec;
pub use values::StepValues;
