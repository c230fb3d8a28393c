//! Cases of kv_compress: every grouping, odd widths, factors that do not divide the lengths, empty and short sequences,
//! slots below capacity; a layer of a long sequence for the bench.

use super::inputs::{filled, row_access, row_specs};
use crate::Error;
use crate::data::batch::{Batch, IGNORED, Sequence};
use crate::gpu::{Device, Matrix, Recorder};
use crate::ops::kernels::Kernels;
use crate::ops::kv_compress::{self, Compress, Gradients, ParameterGradients, workspace_shape};
use crate::ops::layout::{LayoutBuffer, LayoutCapacity, SMALLEST_TILE};
use crate::ops::{RowCount, StepValues};
use crate::reference::kv_compress as oracle;
use crate::verify::{Case, Output, Purpose, Run, numbers, wide};

/// The sizes of one case.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Lengths of the sequences.
    pub lengths: Vec<usize>,
    /// C
    pub c: usize,
    /// Channels of a group.
    pub group_width: usize,
    /// f
    pub factor: usize,
    /// 1 for keys, 2 for values: the third of the columns of x that is compressed.
    pub part: usize,
    /// Rows of the capacity beyond those of the batch.
    pub spare: usize,
}

/// What dx holds beside the C columns.
const UNTOUCHED: f32 = 7.0;

impl Shape {
    fn rows(&self) -> usize {
        self.lengths.iter().sum()
    }

    fn batch(&self) -> Result<Batch, Error> {
        let sequence = |n: &usize| Sequence { ids: vec![0; *n], targets: vec![IGNORED; *n] };
        Batch::from_sequences(&self.lengths.iter().map(sequence).collect::<Vec<_>>())
    }

    fn slots(&self) -> usize {
        self.lengths.iter().map(|n| n / self.factor).sum()
    }

    fn weight_rows(&self) -> usize {
        self.factor * self.group_width
    }

    fn seed(&self) -> u32 {
        (self.rows() * 7 + self.c * 3 + self.factor) as u32
    }

    /// x [N, C], weight, bias, dy [S, C].
    fn numbers(&self) -> [Vec<f32>; 4] {
        let counts = [self.rows(), self.weight_rows(), 1, self.slots()];
        [0, 1, 2, 3].map(|i| numbers(self.seed() + i as u32, counts[i] * self.c))
    }

    fn layout(&self, device: &Device) -> Result<(LayoutBuffer, StepValues), Error> {
        let capacity = LayoutCapacity {
            rows: self.rows() + self.spare,
            sequences: self.lengths.len(),
            vocab: 1,
            positions: self.lengths.iter().copied().max().unwrap_or(1).max(1),
            local_block: None,
            kv_factor: Some(self.factor),
            task: false,
            tile_rows: SMALLEST_TILE,
        };
        let layout = LayoutBuffer::new(device, capacity)?;
        let values = layout.upload(device, &self.batch()?)?;
        Ok((layout, values))
    }

    /// A case of one direction, which has `products` times the operations of the forward pass.
    pub fn case(&self, op: &'static str, purpose: Purpose, products: f64) -> Case {
        let (n, c, shape) = (self.rows(), self.c, self.clone());
        let groups = match self.group_width {
            w if w == c => "full".to_string(),
            1 => "channel".into(),
            w => format!("groups of {w}"),
        };
        let flops = products * 2.0 * (self.slots() * self.weight_rows() * c) as f64;
        Case {
            op,
            variant: format!("{groups} {}", ["q", "k", "v"][self.part.min(2)]),
            shape: vec![("N", n), ("B", self.lengths.len()), ("C", c), ("f", self.factor)],
            purpose,
            tolerance: 3e-6,
            reason: "sums over f·C/groups products forward, over all slots for dW, in f32",
            flops: flops.max(1.0),
            bytes: 4.0 * (n * c) as f64 * (1.0 + products),
            specs: row_specs(c),
            build: Box::new(move |device, spec| shape.build(device, row_access(spec, op)?, products > 1.0)),
            oracle: Box::new({
                let shape = self.clone();
                move || shape.expected(products > 1.0).unwrap_or_default()
            }),
        }
    }

    fn build(&self, device: &Device, access: crate::ops::RowAccess, backward: bool) -> Result<Run, Error> {
        let c = self.c;
        let (layout, values) = self.layout(device)?;
        let most = layout.capacity().slots();
        let [x, weight, bias, dy] = self.numbers();
        let mut wide = vec![f32::NAN; self.rows() * 3 * c];
        for (to, from) in wide.chunks_exact_mut(3 * c).zip(x.chunks_exact(c)) {
            to[self.part * c..][..c].copy_from_slice(from);
        }
        let x = filled(device, "x", self.rows() + self.spare, 3 * c, &wide)?;
        let weight = filled(device, "weight", self.weight_rows(), c, &weight)?;
        let bias = filled(device, "bias", 1, c, &bias)?;
        let [rows, columns] = workspace_shape(most, c, self.factor, self.group_width);
        let workspace = Output::workspace(device, "workspace", rows, columns)?;
        let call = Compress {
            x: &x,
            rows: RowCount::Rows,
            first_column: self.part * c,
            weight: &weight,
            factor: self.factor,
            slot_rows: &layout.slot_rows,
            slots: RowCount::Slots,
            workspace: &workspace.matrix,
            kernels: &Kernels::new(),
        };
        let mut rec = Recorder::new(device, layout.values_at_capacity());
        if !backward {
            let y = Output::poisoned(device, "y", most, c)?;
            kv_compress::forward(&mut rec, access, &call, &bias.view, &y.matrix)?;
            let y = Output { rows: self.slots(), ..y };
            return Ok(Run { program: rec.finish(), values, outputs: vec![y, workspace] });
        }
        let untouched = |rows: usize, columns: usize| vec![UNTOUCHED; rows * columns];
        let x_rows = x.rows;
        let dx = Output::starting(device, "dx", x_rows, 3 * c, untouched(x_rows, 3 * c))?;
        let (w_rows, before) = (self.weight_rows(), numbers(self.seed() + 9, self.weight_rows() * c));
        let dweight = Output::starting(device, "dweight", w_rows, c, before)?;
        let dbias = Output::starting(device, "dbias", 1, c, numbers(self.seed() + 10, c))?;
        let dy = filled(device, "dy", most, c, &dy)?;
        let partial = Matrix::new(device, "partial", most.div_ceil(crate::ops::column_sum::BLOCK), c)?;
        let to = Gradients {
            dy: &dy,
            dx: &dx.matrix,
            parameters: Some(ParameterGradients { weight: &dweight.matrix, bias: &dbias.matrix }),
            tail_rows: &layout.tail_rows,
            partial: &partial,
        };
        kv_compress::backward(&mut rec, access, &call, &to)?;
        Ok(Run { program: rec.finish(), values, outputs: vec![dx, dweight, dbias, workspace] })
    }

    fn expected(&self, backward: bool) -> Result<Vec<Vec<f64>>, Error> {
        let (c, batch) = (self.c, self.batch()?);
        let (group_width, factor) = (self.group_width, self.factor);
        let rules = oracle::Rules { c, factor, group_width, cu_seqlens: &batch.cu_seqlens };
        let [x, weight, bias, dy] = self.numbers().map(|x| wide(&x));
        if !backward {
            return Ok(vec![oracle::forward(&x, &weight, &bias, &rules), Vec::new()]);
        }
        let back = oracle::backward(&x, &weight, &dy, &rules);
        let mut dx = vec![f64::from(UNTOUCHED); (self.rows() + self.spare) * 3 * c];
        for (to, from) in dx.chunks_exact_mut(3 * c).zip(back.dx.chunks_exact(c)) {
            to[self.part * c..][..c].copy_from_slice(from);
        }
        let added = |sum: &[f64], seed: u32| {
            let before = wide(&numbers(self.seed() + seed, sum.len()));
            before.iter().zip(sum).map(|(b, s)| b + s).collect()
        };
        Ok(vec![dx, added(&back.dweight, 9), added(&back.dbias, 10), Vec::new()])
    }
}

/// All cases of the op.
pub fn cases() -> Vec<Case> {
    let shape = |c, group_width, factor, part, lengths: &[usize], spare| {
        let lengths = lengths.to_vec();
        Shape { lengths, c, group_width, factor, part, spare }
    };
    let ragged = [7, 0, 1, 2, 30];
    let small = [
        shape(5, 5, 3, 1, &ragged, 3),
        shape(9, 3, 2, 2, &ragged, 0),
        shape(7, 1, 4, 1, &ragged, 9),
        shape(24, 24, 3, 2, &ragged, 3),
        shape(24, 8, 3, 1, &ragged, 40),
        shape(24, 1, 2, 2, &ragged, 3),
        shape(12, 4, 3, 2, &[20], 0),
        shape(36, 36, 2, 1, &[33, 2], 1),
        shape(64, 32, 4, 1, &[131], 0),
        shape(72, 72, 1, 2, &[3, 50], 0),
        shape(8, 8, 3, 1, &[2, 1, 0], 0),
        shape(8, 1, 3, 1, &[2], 2),
        shape(16, 8, 5, 2, &[4, 4], 0),
        // More slots than a block of a partial sum.
        shape(8, 8, 1, 1, &[300], 0),
        shape(16, 8, 2, 1, &[700], 0),
        shape(16, 1, 1, 2, &[520], 5),
        shape(3, 1, 1, 2, &[300], 0),
    ];
    let mut all = Vec::new();
    for shape in &small {
        all.push(shape.case("kv_compress", Purpose::Small, 1.0));
        all.push(shape.case("kv_compress_backward", Purpose::Small, 2.0));
    }
    for group_width in [128, 32, 1] {
        let shape = shape(128, group_width, 3, 1, &[1024], 0);
        all.push(shape.case("kv_compress", Purpose::Bench, 1.0));
        all.push(shape.case("kv_compress_backward", Purpose::Bench, 2.0));
    }
    all
}
