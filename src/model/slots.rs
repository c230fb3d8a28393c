//! How a token's pass makes slots: where the token fills the window of a memory-compressed layer, the keys and values that wait
//! there become a slot of each sequence. At other tokens nothing of it is encoded: no slot is live.

use super::cache::Cache;
use super::parameters::{ParameterData, Parameters};
use super::token::Specs;
use crate::config::{AttentionKind, LayerTensor, ModelConfig};
use crate::gpu::{Device, Matrix, Recorder, Tensor, View};
use crate::ops::kernels::Kernels;
use crate::ops::kv_compress::{self, Compress};
use crate::ops::matmul::Form;
use crate::ops::matvec::{self, Matvec, Out, matvec};
use crate::ops::{RowAccess, RowCount, StepValues};
use crate::{Error, Result};

/// The convolutions of all layers, and what they work in.
pub struct Slots {
    factor: usize,
    /// The first row of each sequence's window.
    windows: View,
    room: Matrix,
    /// Of keys and of values: the slots of a layer [S, C].
    made: [Tensor; 2],
    /// Keys' and values', of memory-compressed layers.
    layers: Vec<Option<[Convolution; 2]>>,
    kernels: Kernels,
}

struct Convolution {
    /// [f·C/groups, C]
    weight: Matrix,
    bias: View,
    /// The weight of one group where products read it.
    product: Option<Tensor>,
}

impl Slots {
    /// Allocates what `sequences` sequences take; none where P tokens make no slot.
    ///
    /// # Errors
    /// [`crate::Error::Device`] past the device's limits.
    pub fn new(
        device: &Device,
        config: &ModelConfig,
        parameters: &Parameters,
        specs: Specs,
        sequences: usize,
    ) -> Result<Option<Self>> {
        let (c, factor, width) = (config.n_embd, config.kv_factor, config.kv_group_width());
        if !config.has(AttentionKind::Compressed) || factor > config.n_positions {
            return Ok(None);
        }
        let whole = width == c;
        let convolution = |layer, weight, bias| -> Result<Option<Convolution>> {
            let tensor = |of| config.index(layer, of).map(|index| parameters.tensor(ParameterData::Weights, index));
            let (Some(weight), Some(bias)) = (tensor(weight), tensor(bias)) else { return Ok(None) };
            let product = whole.then(|| matvec::weight(device, specs.matvec, Form::AB, weight.clone())).transpose()?;
            Ok(Some(Convolution { weight, bias: bias.view, product }))
        };
        let layer = |l| -> Result<Option<[Convolution; 2]>> {
            use LayerTensor::{CompressK, CompressKBias, CompressV, CompressVBias};
            let keys = convolution(l, CompressK, CompressKBias)?;
            let (weight, bias) = if config.kv_shared { (CompressK, CompressKBias) } else { (CompressV, CompressVBias) };
            Ok(keys.zip(convolution(l, weight, bias)?).map(Into::into))
        };
        let windows = View::new(device, "windows", sequences)?;
        let first_rows: Vec<u32> = (0..sequences).map(|s| (s * factor) as u32).collect();
        windows.write(device, &first_rows)?;
        let [rows, columns] = kv_compress::room(sequences, c, factor, width);
        let made = |name| Tensor::new(device, whole && specs.image(), name, sequences, c);
        Ok(Some(Slots {
            factor,
            windows,
            room: Matrix::new(device, "room of windows", rows, columns)?,
            made: [made("keys of slots")?, made("values of slots")?],
            layers: (0..config.n_layer).map(layer).collect::<Result<_>>()?,
            kernels: Kernels::new(),
        }))
    }

    /// Records that the tokens in the windows of a layer become slots in the cache.
    ///
    /// # Errors
    /// [`crate::Error::Kernel`].
    pub fn record(&self, rec: &mut Recorder<StepValues>, specs: Specs, cache: &Cache, layer: usize) -> Result<()> {
        let (Some(parts), Some(Tensor::Buffer(x))) = (&self.layers[layer], cache.window(layer)) else { return Ok(()) };
        let (c, rows, slots) = (x.columns / 2, RowCount::Fixed(x.rows as u32), RowCount::Slots);
        // Few rows that no kernel before left in an image: copies of them and of the weight would cost more than they save.
        let io = RowAccess::buffer(c);
        for (part, Convolution { weight, bias, product }) in parts.iter().enumerate() {
            let call = Compress {
                x,
                rows,
                at: part * c,
                weight,
                factor: self.factor,
                slot_rows: &self.windows,
                slots,
                room: &self.room,
                kernels: &self.kernels,
            };
            match (product, &self.made[part]) {
                (Some(weight), c) => {
                    kv_compress::gather(rec, io, &call)?;
                    let a = &Tensor::Buffer(self.room.clone());
                    let (form, out) = (Form::AB, Out::Bias(bias));
                    matvec(rec, specs.matvec, &Matvec { form, a, norm: None, b: weight, out, c, rows: slots })?;
                }
                (None, Tensor::Buffer(y)) => kv_compress::forward(rec, io, &call, bias, y)?,
                (None, Tensor::Image(y)) => {
                    let message = format!("`{}` is an image: expected a buffer for slots of more groups", y.name);
                    return Err(Error::Kernel { kernel: "kv_compress".into(), message });
                }
            }
        }
        let [keys, values] = &self.made;
        cache.keep_slot(rec, layer, [keys, values])
    }
}
