//! The list of all kernels.

use super::{
    attention, cache, column_sum, cross_entropy, dropout, embedding, gather_rows, kv_compress, layer_norm, matmul,
    matvec, optimizer, task_loss,
};
use crate::gpu::{Caps, Variant};

/// A registered kernel: its name, and every variant that an adapter can run.
pub struct Kernel {
    /// Its name.
    pub op: &'static str,
    /// Its variants.
    pub variants: fn(&Caps) -> Vec<Variant>,
}

/// Every kernel. Tests, benches, `wgpt check` and `wgpt shader` walk this list, so a kernel that is not in it does not exist.
pub const ALL: &[Kernel] = &[
    Kernel { op: "embedding", variants: embedding::variants },
    Kernel { op: "embedding_backward", variants: embedding::backward_variants },
    Kernel { op: "matmul", variants: matmul::variants },
    Kernel { op: "matvec", variants: matvec::variants },
    Kernel { op: "attention", variants: attention::variants },
    Kernel { op: "attention_backward", variants: attention::backward_variants },
    Kernel { op: "kv_compress", variants: kv_compress::variants },
    Kernel { op: "kv_compress_backward", variants: kv_compress::backward_variants },
    Kernel { op: "gather_rows", variants: gather_rows::variants },
    Kernel { op: "scatter_rows_add", variants: gather_rows::scatter_variants },
    Kernel { op: "attention_decode", variants: cache::decode_variants },
    Kernel { op: "cache_append", variants: cache::append_variants },
    Kernel { op: "layer_norm", variants: layer_norm::variants },
    Kernel { op: "layer_norm_backward", variants: layer_norm::backward_variants },
    Kernel { op: "column_sum", variants: column_sum::variants },
    Kernel { op: "dropout", variants: dropout::variants },
    Kernel { op: "cross_entropy", variants: cross_entropy::variants },
    Kernel { op: "task_loss", variants: task_loss::variants },
    Kernel { op: "global_norm", variants: optimizer::norm_variants },
    Kernel { op: "step_state", variants: optimizer::state_variants },
    Kernel { op: "adamw", variants: optimizer::adamw_variants },
];
