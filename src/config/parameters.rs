//! Names, shapes and kinds of parameters (docs/spec.md section 1).

/// A part of a model: its parameters share a learning rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The token table and the position table.
    Embedding,
    /// A layer, counted from 0 at the input.
    Layer(usize),
    /// The head of a task.
    Head,
}

/// The kind of a parameter, which decides its initial values and whether weight decay applies to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterKind {
    /// Two dimensions: N(0, initializer_range), decays.
    Weight,
    /// A convolution with this number of taps. Rows are (tap, input channel of the group), columns are output channels; in
    /// files the shape is [output channels, input channels of the group, taps]. Starts as the mean of its taps plus
    /// N(0, initializer_range / taps), decays.
    Convolution(usize),
    /// One dimension: starts at 0, does not decay.
    Bias,
    /// The gain of a layer norm: starts at 1, does not decay.
    Gain,
}

/// A tensor of a layer. C is the model's width, f the factor of compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LayerTensor {
    /// [C, 3C]
    CAttn,
    /// `[3C]`
    CAttnBias,
    /// [f·C/groups, C]; M layers have it.
    CompressK,
    /// `[C]`; M layers have it.
    CompressKBias,
    /// As `CompressK`; M layers with two convolutions have it.
    CompressV,
    /// `[C]`; the layers with `CompressV` have it.
    CompressVBias,
    /// `[C]`; M layers with a learned null key and value have it.
    NullK,
    /// `[C]`; the layers with `NullK` have it.
    NullV,
    /// [C, C]
    CProj,
    /// `[C]`
    CProjBias,
    /// `[C]`
    Ln1Gain,
    /// `[C]`
    Ln1Bias,
    /// [C, 4C]
    CFc,
    /// `[4C]`
    CFcBias,
    /// [4C, C]
    MlpProj,
    /// `[C]`
    MlpProjBias,
    /// `[C]`
    Ln2Gain,
    /// `[C]`
    Ln2Bias,
}

impl LayerTensor {
    /// Every tensor that a layer may have, in the order of buffers and files.
    pub const ALL: [LayerTensor; 18] = {
        use LayerTensor::*;
        [
            CAttn,
            CAttnBias,
            CompressK,
            CompressKBias,
            CompressV,
            CompressVBias,
            NullK,
            NullV,
            CProj,
            CProjBias,
            Ln1Gain,
            Ln1Bias,
            CFc,
            CFcBias,
            MlpProj,
            MlpProjBias,
            Ln2Gain,
            Ln2Bias,
        ]
    };

    /// The tensor's name after `transformer.h.LAYER.`.
    pub fn name(self) -> &'static str {
        match self {
            LayerTensor::CAttn => "attn.c_attn.weight",
            LayerTensor::CAttnBias => "attn.c_attn.bias",
            LayerTensor::CompressK => "attn.compress_k.weight",
            LayerTensor::CompressKBias => "attn.compress_k.bias",
            LayerTensor::CompressV => "attn.compress_v.weight",
            LayerTensor::CompressVBias => "attn.compress_v.bias",
            LayerTensor::NullK => "attn.null_k",
            LayerTensor::NullV => "attn.null_v",
            LayerTensor::CProj => "attn.c_proj.weight",
            LayerTensor::CProjBias => "attn.c_proj.bias",
            LayerTensor::Ln1Gain => "ln_1.weight",
            LayerTensor::Ln1Bias => "ln_1.bias",
            LayerTensor::CFc => "mlp.c_fc.weight",
            LayerTensor::CFcBias => "mlp.c_fc.bias",
            LayerTensor::MlpProj => "mlp.c_proj.weight",
            LayerTensor::MlpProjBias => "mlp.c_proj.bias",
            LayerTensor::Ln2Gain => "ln_2.weight",
            LayerTensor::Ln2Bias => "ln_2.bias",
        }
    }
}

/// Name, shape and kind of a parameter. The name is Hugging Face's; a vector has one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterShape {
    /// For example `transformer.h.0.attn.c_attn.weight`.
    pub name: String,
    /// Rows; 1 for a vector.
    pub rows: usize,
    /// Columns, or the length of a vector.
    pub columns: usize,
    /// The kind.
    pub kind: ParameterKind,
}

impl ParameterKind {
    /// Whether weight decay applies to it.
    pub fn decays(self) -> bool {
        matches!(self, ParameterKind::Weight | ParameterKind::Convolution(_))
    }
}

impl ParameterShape {
    /// The shape in files: one dimension for a vector.
    pub fn dimensions(&self) -> Vec<usize> {
        match self.kind {
            ParameterKind::Weight => vec![self.rows, self.columns],
            ParameterKind::Convolution(taps) => vec![self.columns, self.rows / taps.max(1), taps],
            ParameterKind::Bias | ParameterKind::Gain => vec![self.columns],
        }
    }

    /// Number of elements.
    pub fn count(&self) -> usize {
        self.rows * self.columns
    }
}
