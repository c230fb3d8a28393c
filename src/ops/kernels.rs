//! The Specs of a program, by the shapes of its operands. Each op's own rule chooses a Spec, unless an earlier run has chosen
//! one for the same shape. All choices are recorded, so that a resumed run has the same kernels, and computes the same bits,
//! as the run that began.

use super::row_access::RowAccess;
use super::{attention, matmul};
use crate::gpu::{Caps, Matrix};
use matmul::Form;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Specs by the shapes that they were chosen for: the contents of kernels.json.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChosenSpecs {
    /// Products, by form and both operands at capacity: `AB [1024, 128] [128, 384]`.
    pub matmul: BTreeMap<String, matmul::Spec>,
    /// Attention, by rows at capacity and the width of a head: `N 1024, D 32`.
    pub attention: BTreeMap<String, attention::Spec>,
    /// Row-wise kernels, by the tensors that they read at capacity: `[1024, 128]`; sums of scalars by `scalars`.
    pub row_wise: BTreeMap<String, RowAccess>,
}

/// Chooses the Spec of each kernel while a program is recorded, and remembers the choices.
#[derive(Debug, Default)]
pub struct Kernels {
    matmul: Choice<matmul::Spec>,
    attention: Choice<attention::Spec>,
    row_wise: Choice<RowAccess>,
    precision: Precision,
}

/// The number types of a program's products. Everything else is in f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Precision {
    /// All in f32.
    #[default]
    F32,
    /// Operands narrowed to f16 and sums in f32, on adapters with matrix units.
    Mixed,
    /// Mixed where the adapter has matrix units, else f32.
    Auto,
}

/// The Specs of one op by shape: those of an earlier run, and those chosen so far.
#[derive(Debug)]
struct Choice<S> {
    earlier: BTreeMap<String, S>,
    chosen: Mutex<BTreeMap<String, S>>,
}

impl<S> Default for Choice<S> {
    fn default() -> Self {
        Choice { earlier: BTreeMap::new(), chosen: Mutex::default() }
    }
}

impl<S: Copy + PartialEq> Choice<S> {
    fn new(earlier: BTreeMap<String, S>) -> Self {
        Choice { earlier, ..Choice::default() }
    }

    /// The earlier Spec of this shape if there is one that the adapter `runs`, else that of the rule.
    fn choose(&self, shape: String, rule: S, runs: impl Fn(S) -> bool) -> S {
        let earlier = self.earlier.get(&shape).copied();
        let spec = earlier.filter(|s| *s == rule || runs(*s)).unwrap_or(rule);
        self.chosen.lock().unwrap_or_else(PoisonError::into_inner).insert(shape, spec);
        spec
    }

    fn chosen(&self) -> BTreeMap<String, S> {
        self.chosen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replaced(&self, op: &str) -> Vec<String> {
        let chosen = self.chosen();
        let differs = |(shape, spec): &(&String, &S)| chosen.get(*shape).is_some_and(|other| other != *spec);
        self.earlier.iter().filter(differs).map(|(shape, _)| format!("{op} {shape}")).collect()
    }
}

impl Kernels {
    /// Chooses every Spec by its op's rule.
    pub fn new() -> Self {
        Kernels::default()
    }

    /// Takes the Specs of an earlier run for the shapes that it has, as far as the adapter can run them; others by the rule.
    pub fn with(earlier: ChosenSpecs) -> Self {
        let ChosenSpecs { matmul, attention, row_wise } = earlier;
        Kernels {
            matmul: Choice::new(matmul),
            attention: Choice::new(attention),
            row_wise: Choice::new(row_wise),
            ..Kernels::new()
        }
    }

    /// The same with another precision.
    pub fn with_precision(self, precision: Precision) -> Self {
        Kernels { precision, ..self }
    }

    /// The Spec for a product with a workspace of `workspace` words for parts of K.
    pub fn matmul(&self, caps: &Caps, form: Form, a: &Matrix, b: &Matrix, workspace: usize) -> matmul::Spec {
        // The rules choose images wherever they fit, so where a rule chooses buffers an image does not fit.
        let rule = match self.precision {
            Precision::F32 => matmul::choose,
            // Without matrix units, this chooses the Specs of f32.
            Precision::Mixed | Precision::Auto => matmul::choose_mixed,
        };
        let sizes = matmul::sizes(form, a, b);
        let rule = rule(caps, form, sizes, workspace);
        let runs =
            |spec: matmul::Spec| spec != matmul::Spec::Image && spec.runs(caps, form) && spec.fits(sizes, workspace);
        self.matmul.choose(format!("{form:?} {} {}", shape(a), shape(b)), rule, runs)
    }

    /// The Spec for attention over N rows in heads of D channels.
    pub fn attention(&self, caps: &Caps, rows: usize, head_dim: usize) -> attention::Spec {
        let runs = |spec| spec != attention::Spec::Image && attention::specs(caps, head_dim).contains(&spec);
        self.attention.choose(format!("N {rows}, D {head_dim}"), attention::choose(caps, rows, head_dim), runs)
    }

    /// How a row-wise kernel reads tensors of `columns` columns.
    pub fn row_wise(&self, caps: &Caps, columns: usize, tensors: &[&Matrix]) -> RowAccess {
        let shapes = tensors.iter().map(|m| shape(m)).collect::<Vec<_>>().join(" ");
        let runs = |access| access != RowAccess::Image && RowAccess::all(caps).contains(&access);
        self.row_wise.choose(shapes, RowAccess::choose(caps, columns, tensors), runs)
    }

    /// How a kernel reads and adds up scalars.
    pub fn scalars(&self, caps: &Caps) -> RowAccess {
        self.row_wise
            .choose("scalars".into(), RowAccess::scalars(caps), |access| RowAccess::all(caps).contains(&access))
    }

    /// All Specs chosen so far.
    pub fn chosen(&self) -> ChosenSpecs {
        ChosenSpecs {
            matmul: self.matmul.chosen(),
            attention: self.attention.chosen(),
            row_wise: self.row_wise.chosen(),
        }
    }

    /// The shapes whose earlier Spec this adapter cannot run, so that the rule chose another.
    pub fn replaced(&self) -> Vec<String> {
        let all =
            [self.matmul.replaced("matmul"), self.attention.replaced("attention"), self.row_wise.replaced("row_wise")];
        all.concat()
    }
}

fn shape(matrix: &Matrix) -> String {
    format!("[{}, {}]", matrix.rows, matrix.columns)
}
