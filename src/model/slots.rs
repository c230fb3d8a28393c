//! Compression in a token's pass: when the token fills the window of a memory-compressed layer, the window's keys and values
//! become a slot of each sequence. At other tokens the number of slots is 0, and no group of these kernels runs.

use super::cache::Cache;
use super::parameters::{ParameterData, Parameters};
use super::tensors::{Compression, LayerTensors, Linear};
use super::token_specs::TokenSpecs;
use crate::config::{AttentionKind, ModelConfig};
use crate::gpu::{Device, Matrix, Recorder, Tensor, View};
use crate::ops::kernels::Kernels;
use crate::ops::kv_compress::{self, Compress};
use crate::ops::matmul::Form;
use crate::ops::matvec::{self, Epilogue, Matvec, matvec};
use crate::ops::{RowAccess, RowCount, StepValues};
use crate::{Error, Result};

/// The convolutions of all layers, and their workspace.
pub struct Slots {
    factor: usize,
    /// The first row of each sequence's window.
    windows: View,
    workspace: Matrix,
    /// The new slots of a layer: keys, then values [S, C].
    slots: [Tensor; 2],
    /// Of memory-compressed layers: the keys' convolution, then the values'.
    layers: Vec<Option<[Convolution; 2]>>,
    kernels: Kernels,
}

struct Convolution {
    /// [f·C/groups, C]
    weight: Matrix,
    bias: View,
    /// The weight where a product reads it, if the convolution has one group.
    product: Option<Tensor>,
}

impl Slots {
    /// Allocates the slots of `sequences` sequences; `None` if the model has no such layers, or if P tokens fill no slot.
    ///
    /// # Errors
    /// [`crate::Error::Device`] past the device's limits.
    pub fn new(
        device: &Device,
        config: &ModelConfig,
        parameters: &Parameters,
        specs: TokenSpecs,
        sequences: usize,
    ) -> Result<Option<Self>> {
        let (c, factor, width) = (config.n_embd, config.kv_factor, config.kv_group_width());
        if !config.has(AttentionKind::Compressed) || factor > config.n_positions {
            return Ok(None);
        }
        let whole = width == c;
        let convolution = |Compression { convolution, .. }| -> Result<Convolution> {
            let Linear { weight, bias } = convolution;
            let product = whole.then(|| matvec::weight(device, specs.matvec, Form::AB, weight.clone())).transpose()?;
            Ok(Convolution { weight, bias: bias.view, product })
        };
        let layer = |l| -> Result<Option<[Convolution; 2]>> {
            let tensors = LayerTensors::new(config, parameters, ParameterData::Weights, l)?;
            let Some([keys, values]) = tensors.compression else { return Ok(None) };
            Ok(Some([convolution(keys)?, convolution(values)?]))
        };
        let windows = View::new(device, "windows", sequences)?;
        let first_rows: Vec<u32> = (0..sequences).map(|s| (s * factor) as u32).collect();
        windows.write(device, &first_rows)?;
        let [rows, columns] = kv_compress::workspace_shape(sequences, c, factor, width);
        let slots = |name| Tensor::new(device, whole && specs.use_images(), name, sequences, c);
        Ok(Some(Slots {
            factor,
            windows,
            workspace: Matrix::new(device, "workspace of windows", rows, columns)?,
            slots: [slots("keys of slots")?, slots("values of slots")?],
            layers: (0..config.n_layer).map(layer).collect::<Result<_>>()?,
            kernels: Kernels::new(),
        }))
    }

    /// Records that the tokens in the windows of a layer become slots in the cache. Does nothing in other layers.
    ///
    /// # Errors
    /// [`crate::Error::Kernel`].
    pub fn record(&self, rec: &mut Recorder<StepValues>, specs: TokenSpecs, cache: &Cache, layer: usize) -> Result<()> {
        let (Some(parts), Some(Tensor::Buffer(x))) = (&self.layers[layer], cache.window(layer)) else { return Ok(()) };
        let (c, rows, slots) = (x.columns / 2, RowCount::Fixed(x.rows as u32), RowCount::Slots);
        // The window has few rows and no image copy yet: copying it and the weight would cost more than it saves.
        let access = RowAccess::buffer(c);
        for (part, Convolution { weight, bias, product }) in parts.iter().enumerate() {
            let call = Compress {
                x,
                rows,
                first_column: part * c,
                weight,
                factor: self.factor,
                slot_rows: &self.windows,
                slots,
                workspace: &self.workspace,
                kernels: &self.kernels,
            };
            match (product, &self.slots[part]) {
                (Some(weight), output) => {
                    kv_compress::gather(rec, access, &call)?;
                    let input = &Tensor::Buffer(self.workspace.clone());
                    let (form, epilogue) = (Form::AB, Epilogue::Bias(bias));
                    let call = Matvec { form, input, norm: None, weight, epilogue, output, rows: slots };
                    matvec(rec, specs.matvec, &call)?;
                }
                (None, Tensor::Buffer(y)) => kv_compress::forward(rec, access, &call, bias, y)?,
                (None, Tensor::Image(y)) => {
                    let error = Error::kernel("kv_compress", "an image").at(&*y.name);
                    return Err(error.expected("expected a buffer for slots of more groups"));
                }
            }
        }
        let [keys, values] = &self.slots;
        cache.record_slot(rec, layer, [keys, values])
    }
}
