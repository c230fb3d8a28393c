//! The operands of a product.

use crate::gpu::{Bind, Matrix, View};
use crate::ops::form::Form;
use crate::ops::rows::{BlockCount, RowCount};

/// What a product does to each sum before it is stored.
#[derive(Clone, Copy, Debug)]
pub enum Epilogue<'a> {
    /// C = sum
    None,
    /// C = sum + bias `[N]`
    Bias(&'a View),
    /// pre [M, N] = sum + bias `[N]`, C = GELU(pre)
    BiasGelu {
        /// `[N]`
        bias: &'a View,
        /// Out: the sum with bias, before GELU [M, N].
        pre: &'a Matrix,
    },
    /// C = sum ∘ GELU'(pre [M, N])
    GeluBackward(&'a Matrix),
    /// C = sum + residual [M, N]
    Residual(&'a Matrix),
}

impl<'a> Epilogue<'a> {
    /// The matrix [M, N] that it reads or writes besides C.
    pub fn matrix(&self) -> Option<&'a Matrix> {
        match self {
            Epilogue::None | Epilogue::Bias(_) => None,
            Epilogue::BiasGelu { pre: m, .. } | Epilogue::GeluBackward(m) | Epilogue::Residual(m) => Some(m),
        }
    }

    /// The same with another matrix.
    pub fn with<'b>(&self, m: &'b Matrix) -> Epilogue<'b>
    where
        'a: 'b,
    {
        match *self {
            Epilogue::None => Epilogue::None,
            Epilogue::Bias(bias) => Epilogue::Bias(bias),
            Epilogue::BiasGelu { bias, .. } => Epilogue::BiasGelu { bias, pre: m },
            Epilogue::GeluBackward(_) => Epilogue::GeluBackward(m),
            Epilogue::Residual(_) => Epilogue::Residual(m),
        }
    }

    pub(super) fn file(&self) -> &'static str {
        match self {
            Epilogue::None => "epilogue_none",
            Epilogue::Bias(_) => "epilogue_bias",
            Epilogue::BiasGelu { .. } => "epilogue_bias_gelu",
            Epilogue::GeluBackward(_) => "epilogue_gelu_backward",
            Epilogue::Residual(_) => "epilogue_residual",
        }
    }
}

/// One of the two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A
    A,
    /// B
    B,
}

/// Operands of a product.
pub struct Matmul<'a> {
    /// Which operand is transposed.
    pub form: Form,
    /// A
    pub a: &'a Matrix,
    /// B
    pub b: &'a Matrix,
    /// C
    pub c: &'a Matrix,
    /// The number of live rows: M of A·B and A·Bᵀ, K of Aᵀ·B.
    pub rows: RowCount,
    /// What is done to each sum.
    pub epilogue: Epilogue<'a>,
    /// C += instead of C =. Takes no epilogue.
    pub accumulate: bool,
    /// The operand that is a gradient of the loss, if one is. Kernels that narrow operands to f16 scale it by
    /// [`StepValues::gradient_scale`](crate::ops::StepValues::gradient_scale).
    pub gradient: Option<Side>,
    /// Workspace for the products of parts of K. Without it, K is not divided.
    pub parts: Option<&'a View>,
}

impl<'a> Matmul<'a> {
    /// The bindings of the kernels that read buffers, with the epilogue's.
    pub(super) fn binds(&self) -> Vec<Bind<'a, BlockCount>> {
        let mut binds = vec![Bind::Read(&self.a.view), Bind::Read(&self.b.view), self.output()];
        self.epilogue_binds(&mut binds);
        binds
    }

    /// The binding of C.
    pub(super) fn output(&self) -> Bind<'a, BlockCount> {
        if self.accumulate { Bind::Update(&self.c.view) } else { Bind::Write(&self.c.view) }
    }

    /// Adds the epilogue's bindings.
    pub(super) fn epilogue_binds(&self, binds: &mut Vec<Bind<'a, BlockCount>>) {
        match self.epilogue {
            Epilogue::None => {}
            Epilogue::Bias(bias) => binds.push(Bind::Read(bias)),
            Epilogue::BiasGelu { bias, pre } => binds.extend([Bind::Read(bias), Bind::Write(&pre.view)]),
            Epilogue::GeluBackward(x) | Epilogue::Residual(x) => binds.push(Bind::Read(&x.view)),
        }
    }
}

/// M, N and K at capacity.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub m: u32,
    pub n: u32,
    pub k: u32,
}

impl Sizes {
    pub fn flops(self, form: Form, rows: u32) -> f64 {
        let (m, k) = if form == Form::AtB { (self.m, rows) } else { (rows, self.k) };
        2.0 * f64::from(m) * f64::from(self.n) * f64::from(k)
    }
}
