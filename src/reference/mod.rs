//! The mathematics: one oracle for each op, on dense row-major slices of f64, without a GPU.
//!
//! An oracle has the loops of its shader and adds up in f64. Its head has the formula, the shapes and the source.
//! Inputs are `&\[f64\]`, so kernels (with f32 inputs, widened) are compared with the same code that is tested by central differences.
//! Letters as in [`crate::dims`]; the gradient of x is `dx`. Slices of a wrong length panic: the caller is responsible for shapes.
//!
//! | file | op |
//! | --- | --- |
//! | [`matmul`] | products in three forms, bias and its gradient |
//! | [`gelu`] | GELU, tanh form |
//! | [`layer_norm`] | layer norm of x + residual |
//! | [`dropout`] | masks that are a function of key and place |
//! | [`embedding`] | rows by token and position, and their gradients |
//! | [`attention`] | packed causal attention: full, in local blocks, over compressed slots |
//! | [`cache`] | attention of one token over cached keys and values |
//! | [`kv_compress`] | keys or values compressed by a strided convolution |
//! | [`cross_entropy`] | loss and its gradient by the logits |
//! | [`task_loss`] | loss of a task's examples and its gradient |
//! | [`global_norm`] | norm of all gradients, clipping |
//! | [`adamw`] | one optimizer step |
//! | [`model`] | the whole decoder, forward and backward |

pub mod adamw;
pub mod attention;
pub mod cache;
pub mod cross_entropy;
pub mod dropout;
pub mod embedding;
pub mod gelu;
pub mod global_norm;
pub mod kv_compress;
pub mod layer_norm;
pub mod matmul;
pub mod model;
pub mod task_loss;

/// f32 numbers as f64: the operands of a device as those of an oracle.
pub fn widen(x: &[f32]) -> Vec<f64> {
    x.iter().copied().map(f64::from).collect()
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod testing;
