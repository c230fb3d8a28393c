//! A model's tensors by name: weights or their gradients, found in one place for all passes of the decoder.

use super::parameters::{ParameterData, Parameters};
use crate::config::{LayerTensor, ModelConfig};
use crate::gpu::Matrix;
use crate::{Error, Result};

/// The place of the token table in [`ModelConfig::parameters`].
pub const TOKENS_EMBED: usize = 0;
/// The place of the position table in [`ModelConfig::parameters`].
pub const POSITIONS_EMBED: usize = 1;

/// A linear layer, or a convolution as one.
pub struct Linear {
    /// [inputs, outputs]
    pub weight: Matrix,
    /// [1, outputs]
    pub bias: Matrix,
}

/// A layer norm.
pub struct Norm {
    /// [1, C]
    pub gain: Matrix,
    /// [1, C]
    pub bias: Matrix,
}

/// The keys' or the values' tensors in an M layer.
pub struct Compression {
    /// The convolution that makes slots: weight [f·C/groups, C], bias [1, C].
    pub convolution: Linear,
    /// The learned null row [1, C], if the model has one.
    pub null: Option<Matrix>,
}

/// The tensors of one layer.
pub struct LayerTensors {
    /// C to 3C: queries, keys and values.
    pub c_attn: Linear,
    /// Of an M layer: the keys' tensors, then the values'. Their convolution may be the same.
    pub compression: Option<[Compression; 2]>,
    /// C to C, behind attention.
    pub c_proj: Linear,
    /// Behind the attention branch.
    pub ln_1: Norm,
    /// C to 4C.
    pub c_fc: Linear,
    /// 4C to C.
    pub mlp_proj: Linear,
    /// Behind the MLP branch.
    pub ln_2: Norm,
}

impl LayerTensors {
    /// The tensors of layer `layer`, counted from 0.
    ///
    /// # Errors
    /// [`Error::Value`] when the model has no such layer.
    pub fn new(config: &ModelConfig, parameters: &Parameters, data: ParameterData, layer: usize) -> Result<Self> {
        use LayerTensor as T;
        let find = |tensor| config.index(layer, tensor).map(|index| parameters.tensor(data, index));
        let matrix = |tensor: T| {
            let expected = || format!("has no tensor {}: the model has {} layers", tensor.name(), config.n_layer);
            find(tensor).ok_or_else(|| Error::value("layer", layer, expected()))
        };
        let linear = |weight, bias| Ok::<_, Error>(Linear { weight: matrix(weight)?, bias: matrix(bias)? });
        let norm = |gain, bias| Ok::<_, Error>(Norm { gain: matrix(gain)?, bias: matrix(bias)? });
        let compression = match find(T::CompressK) {
            None => None,
            Some(_) => {
                let [weight, bias] =
                    if config.kv_shared { [T::CompressK, T::CompressKBias] } else { [T::CompressV, T::CompressVBias] };
                let keys = Compression { convolution: linear(T::CompressK, T::CompressKBias)?, null: find(T::NullK) };
                let values = Compression { convolution: linear(weight, bias)?, null: find(T::NullV) };
                Some([keys, values])
            }
        };
        Ok(LayerTensors {
            c_attn: linear(T::CAttn, T::CAttnBias)?,
            compression,
            c_proj: linear(T::CProj, T::CProjBias)?,
            ln_1: norm(T::Ln1Gain, T::Ln1Bias)?,
            c_fc: linear(T::CFc, T::CFcBias)?,
            mlp_proj: linear(T::MlpProj, T::MlpProjBias)?,
            ln_2: norm(T::Ln2Gain, T::Ln2Bias)?,
        })
    }
}

/// A task's head.
pub struct TaskHead {
    /// [outputs, C]
    pub weight: Matrix,
    /// [1, outputs], if the head has one.
    pub bias: Option<Matrix>,
}

impl TaskHead {
    /// The tensors of the model's task, if it has one.
    pub fn new(config: &ModelConfig, parameters: &Parameters, data: ParameterData) -> Option<Self> {
        let mut tensors = config.head()?.map(|index| parameters.tensor(data, index));
        Some(TaskHead { weight: tensors.next()?, bias: tensors.next() })
    }
}
