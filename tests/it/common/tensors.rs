//! Tensors on the device for tests of single kernels.

use wgpt::data::batch::Batch;
use wgpt::gpu::{Device, Matrix, View};
use wgpt::ops::StepValues;
use wgpt::ops::layout::{LayoutBuffer, LayoutCapacity, SMALLEST_TILE};

/// A matrix of zeros.
pub fn zeros(device: &Device, name: &str, rows: usize, columns: usize) -> Matrix {
    Matrix::new(device, name, rows, columns).expect(name)
}

/// A matrix that holds these numbers.
pub fn matrix(device: &Device, name: &str, rows: usize, columns: usize, data: &[f32]) -> Matrix {
    let matrix = zeros(device, name, rows, columns);
    matrix.write(device, data).expect(name);
    matrix
}

/// A buffer that holds these whole numbers.
pub fn list(device: &Device, name: &str, data: &[u32]) -> View {
    let view = View::new(device, name, data.len()).expect(name);
    view.write(device, data).expect(name);
    view
}

/// The layout of a batch and its values, recorded for just this batch.
pub fn layout(
    device: &Device,
    batch: &Batch,
    local_block: Option<usize>,
    kv_factor: Option<usize>,
) -> (LayoutBuffer, StepValues) {
    let (rows, sequences) = (batch.rows(), batch.sequences());
    let capacity = LayoutCapacity {
        rows,
        sequences,
        vocab: 1,
        positions: rows,
        local_block,
        kv_factor,
        task: false,
        tile_rows: SMALLEST_TILE,
    };
    let layout = LayoutBuffer::new(device, capacity).expect("a layout");
    let values = layout.upload(device, batch).expect("an upload");
    (layout, values)
}
