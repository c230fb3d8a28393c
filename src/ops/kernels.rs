//! The Specs of a program, asked for by shape: each op's own rule chooses, unless a choice made earlier is laid down here,
//! and what was given is written down. So a run that goes on has the kernels, and the bits, that it began with.

use super::row_access::RowAccess;
use super::{attention, matmul};
use crate::gpu::{Caps, Matrix};
use matmul::Form;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Specs by the shapes they are for.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chosen {
    /// Products, by form and both operands at capacity: `AB [1024, 128] [128, 384]`.
    pub matmul: BTreeMap<String, matmul::Spec>,
    /// Attention, by rows at capacity and the width of a head: `N 1024, D 32`.
    pub attention: BTreeMap<String, attention::Spec>,
    /// Row-wise kernels, by the tensors they read at capacity: `[1024, 128]`; and sums of `scalars`.
    pub row_wise: BTreeMap<String, RowAccess>,
}

/// Who is asked for a Spec when a program is recorded.
#[derive(Debug, Default)]
pub struct Kernels {
    matmul: Choice<matmul::Spec>,
    attention: Choice<attention::Spec>,
    row_wise: Choice<RowAccess>,
}

/// One op's Specs: those of an earlier choice, and those given.
#[derive(Debug)]
struct Choice<S> {
    earlier: BTreeMap<String, S>,
    given: Mutex<BTreeMap<String, S>>,
}

impl<S> Default for Choice<S> {
    fn default() -> Self {
        Choice { earlier: BTreeMap::new(), given: Mutex::default() }
    }
}

impl<S: Copy + PartialEq> Choice<S> {
    fn new(earlier: BTreeMap<String, S>) -> Self {
        Choice { earlier, ..Choice::default() }
    }

    /// The earlier Spec where there is one that `runs`, else the rule's.
    fn give(&self, shape: String, rule: S, runs: impl Fn(S) -> bool) -> S {
        let earlier = self.earlier.get(&shape).copied();
        let spec = earlier.filter(|s| *s == rule || runs(*s)).unwrap_or(rule);
        self.given.lock().unwrap_or_else(PoisonError::into_inner).insert(shape, spec);
        spec
    }

    fn given(&self) -> BTreeMap<String, S> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replaced(&self, op: &str) -> Vec<String> {
        let given = self.given();
        let differs = |(shape, spec): &(&String, &S)| given.get(*shape).is_some_and(|other| other != *spec);
        self.earlier.iter().filter(differs).map(|(shape, _)| format!("{op} {shape}")).collect()
    }
}

impl Kernels {
    /// Every Spec by its op's rule.
    pub fn new() -> Self {
        Kernels::default()
    }

    /// The Specs of an earlier choice, where it has the shape and the adapter can run them; the rule for all else.
    pub fn with(earlier: Chosen) -> Self {
        let Chosen { matmul, attention, row_wise } = earlier;
        Kernels { matmul: Choice::new(matmul), attention: Choice::new(attention), row_wise: Choice::new(row_wise) }
    }

    /// The Spec for a product.
    pub fn matmul(&self, caps: &Caps, form: Form, a: &Matrix, b: &Matrix) -> matmul::Spec {
        // The rules take images wherever they fit, so an image that is not the rule's does not.
        let runs = |spec| spec != matmul::Spec::Image && matmul::specs(caps, form).contains(&spec);
        self.matmul.give(format!("{form:?} {} {}", shape(a), shape(b)), matmul::choose(caps, form, a, b), runs)
    }

    /// The Spec for attention over N rows in heads of D channels.
    pub fn attention(&self, caps: &Caps, rows: usize, head_dim: usize) -> attention::Spec {
        let runs = |spec| spec != attention::Spec::Image && attention::specs(caps, head_dim).contains(&spec);
        self.attention.give(format!("N {rows}, D {head_dim}"), attention::choose(caps, rows, head_dim), runs)
    }

    /// How a row-wise kernel reads tensors of `columns` columns.
    pub fn row_wise(&self, caps: &Caps, columns: usize, tensors: &[&Matrix]) -> RowAccess {
        let shapes = tensors.iter().map(|m| shape(m)).collect::<Vec<_>>().join(" ");
        let runs = |access| access != RowAccess::Image && RowAccess::all(caps).contains(&access);
        self.row_wise.give(shapes, RowAccess::choose(caps, columns, tensors), runs)
    }

    /// How a kernel adds scalars up.
    pub fn scalars(&self, caps: &Caps) -> RowAccess {
        self.row_wise.give("scalars".into(), RowAccess::scalars(caps), |access| RowAccess::all(caps).contains(&access))
    }

    /// All that was given so far.
    pub fn chosen(&self) -> Chosen {
        Chosen { matmul: self.matmul.given(), attention: self.attention.given(), row_wise: self.row_wise.given() }
    }

    /// The shapes whose earlier Spec this adapter cannot run, so that the rule's was given.
    pub fn replaced(&self) -> Vec<String> {
        let all =
            [self.matmul.replaced("matmul"), self.attention.replaced("attention"), self.row_wise.replaced("row_wise")];
        all.concat()
    }
}

fn shape(matrix: &Matrix) -> String {
    format!("[{}, {}]", matrix.rows, matrix.columns)
}
