//! The library files of shaders, which the template language inserts.

/// The texts of all library files.
pub fn library_texts() -> impl Iterator<Item = &'static str> {
    LIBRARIES.iter().map(|(_, text)| *text)
}

/// Every library file, by name.
pub(super) const LIBRARIES: &[(&str, &str)] = &[
    ("adamw", include_str!("../../shaders/lib/adamw.wgsl")),
    ("append_params", include_str!("../../shaders/lib/append_params.wgsl")),
    ("attention_dropout", include_str!("../../shaders/lib/attention_dropout.wgsl")),
    ("attention_image", include_str!("../../shaders/lib/attention_image.wgsl")),
    ("attention_params", include_str!("../../shaders/lib/attention_params.wgsl")),
    ("attention_scores", include_str!("../../shaders/lib/attention_scores.wgsl")),
    ("attention_tiles", include_str!("../../shaders/lib/attention_tiles.wgsl")),
    ("compress_params", include_str!("../../shaders/lib/compress_params.wgsl")),
    ("dropout_words", include_str!("../../shaders/lib/dropout_words.wgsl")),
    ("epilogue_bias", include_str!("../../shaders/lib/epilogue_bias.wgsl")),
    ("epilogue_bias_act", include_str!("../../shaders/lib/epilogue_bias_act.wgsl")),
    ("epilogue_bias_gelu", include_str!("../../shaders/lib/epilogue_bias_gelu.wgsl")),
    ("epilogue_bias_residual", include_str!("../../shaders/lib/epilogue_bias_residual.wgsl")),
    ("epilogue_gelu_backward", include_str!("../../shaders/lib/epilogue_gelu_backward.wgsl")),
    ("epilogue_none", include_str!("../../shaders/lib/epilogue_none.wgsl")),
    ("epilogue_residual", include_str!("../../shaders/lib/epilogue_residual.wgsl")),
    ("finite", include_str!("../../shaders/lib/finite.wgsl")),
    ("gelu", include_str!("../../shaders/lib/gelu.wgsl")),
    ("head_read", include_str!("../../shaders/lib/head_read.wgsl")),
    ("head_read_vec4", include_str!("../../shaders/lib/head_read_vec4.wgsl")),
    ("head_write", include_str!("../../shaders/lib/head_write.wgsl")),
    ("head_write_vec4", include_str!("../../shaders/lib/head_write_vec4.wgsl")),
    ("input_buffer", include_str!("../../shaders/lib/input_buffer.wgsl")),
    ("input_image", include_str!("../../shaders/lib/input_image.wgsl")),
    ("matvec_norm", include_str!("../../shaders/lib/matvec_norm.wgsl")),
    ("narrow", include_str!("../../shaders/lib/narrow.wgsl")),
    ("norm_params", include_str!("../../shaders/lib/norm_params.wgsl")),
    ("pack", include_str!("../../shaders/lib/pack.wgsl")),
    ("pack_u64", include_str!("../../shaders/lib/pack_u64.wgsl")),
    ("philox", include_str!("../../shaders/lib/philox.wgsl")),
    ("philox_u64", include_str!("../../shaders/lib/philox_u64.wgsl")),
    ("quad_u64", include_str!("../../shaders/lib/quad_u64.wgsl")),
    ("reduce_rows", include_str!("../../shaders/lib/reduce_rows.wgsl")),
    ("reduce_shared", include_str!("../../shaders/lib/reduce_shared.wgsl")),
    ("reduce_subgroup", include_str!("../../shaders/lib/reduce_subgroup.wgsl")),
    ("state", include_str!("../../shaders/lib/state.wgsl")),
    ("update_buffer", include_str!("../../shaders/lib/update_buffer.wgsl")),
    ("update_image", include_str!("../../shaders/lib/update_image.wgsl")),
];
