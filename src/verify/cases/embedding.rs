//! Cases of embedding and of its backward pass over both tables: repeated ids, ragged positions, rows below capacity.

use super::inputs::{ROW_SIZES, RowSizes, indices, input, ragged, row_access, row_specs, table};
use crate::gpu::Recorder;
use crate::ops::StepValues;
pub use crate::ops::embedding::Table;
use crate::ops::embedding::{Embedding, EmbeddingBackward, backward, embedding};
use crate::reference;
use crate::verify::{Case, Output, Purpose, Run, numbers, wide};

/// Sizes of a case.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Rows, and columns of both tables.
    pub of: RowSizes,
    /// Rows of the table of tokens.
    pub vocab: usize,
    /// Rows of the table of positions.
    pub positions: usize,
}

fn dx(n: usize, c: usize) -> Vec<f32> {
    numbers((n * 31 + c) as u32, n * c)
}

fn ids(live: usize, v: usize) -> Vec<u32> {
    indices(live as u32 + 5, live, v)
}

/// A case of the forward pass.
pub fn forward_case(sizes: Sizes, purpose: Purpose) -> Case {
    let Sizes { of: RowSizes { rows: n, live, columns: c }, vocab: v, positions: p } = sizes;
    let tokens = move || numbers((v + c) as u32, v * c);
    let places = move || numbers((p + c) as u32 + 1, p * c);
    Case {
        op: "embedding",
        variant: "forward".into(),
        shape: vec![("N", n), ("live", live), ("C", c), ("V", v), ("P", p)],
        purpose,
        tolerance: 1e-7,
        reason: "one addition, rounded once",
        flops: (live * c) as f64,
        bytes: 4.0 * (3 * live * c) as f64,
        specs: row_specs(c),
        build: Box::new(move |device, spec| {
            let access = row_access(spec, "embedding")?;
            let x = Output::poisoned(device, "x", n, c)?;
            let mut recorder = Recorder::new(device, StepValues { rows: n as u32, ..StepValues::default() });
            let call = Embedding {
                tokens: &input(device, "tokens", v, c, &tokens())?,
                positions_embed: &input(device, "positions_embed", p, c, &places())?,
                ids: &table(device, "ids", n, &ids(live, v))?,
                positions: &table(device, "positions", n, &ragged(live, p).0)?,
                x: &x.matrix,
            };
            embedding(&mut recorder, access, &call)?;
            let outputs = vec![Output { rows: live, ..x }];
            Ok(Run {
                program: recorder.finish(),
                values: StepValues { rows: live as u32, ..StepValues::default() },
                outputs,
            })
        }),
        oracle: Box::new(move || {
            let (tokens, places) = (wide(&tokens()), wide(&places()));
            vec![reference::embedding::forward(&ids(live, v), &ragged(live, p).0, &tokens, &places, c)]
        }),
    }
}

/// (table row, first, end) an owner, and the rows sorted by owner, in their order.
fn owners(keys: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let mut rows: Vec<u32> = (0..keys.len() as u32).collect();
    rows.sort_by_key(|r| keys[*r as usize]);
    let mut owners: Vec<u32> = Vec::new();
    for (i, row) in rows.iter().enumerate() {
        let key = keys[*row as usize];
        match owners.last_chunk_mut::<3>() {
            Some([owner, _, end]) if *owner == key => *end = i as u32 + 1,
            _ => owners.extend([key, i as u32, i as u32 + 1]),
        }
    }
    (owners, rows)
}

/// A case of one table's backward pass.
pub fn backward_case(whose: Table, sizes: Sizes, purpose: Purpose) -> Case {
    let Sizes { of: RowSizes { rows: n, live, columns: c }, vocab: v, positions: p } = sizes;
    let table_rows = if whose == Table::Tokens { v } else { p };
    let before = move || numbers(77, table_rows * c);
    Case {
        op: "embedding_backward",
        variant: format!("{whose:?}"),
        shape: vec![("N", n), ("live", live), ("C", c), ("V", v), ("P", p)],
        purpose,
        tolerance: 5e-8 * (live as f64).sqrt().max(20.0),
        reason: "a sum of rows in f32, whose rounding grows like √rows",
        flops: (live * c) as f64,
        bytes: 4.0 * (live * c + 2 * table_rows.min(live) * c) as f64,
        specs: row_specs(c),
        build: Box::new(move |device, spec| {
            let access = row_access(spec, "embedding_backward")?;
            let (ids, positions) = (ids(live, v), ragged(live, p).0);
            let (token_owners, token_rows) = owners(&ids);
            let (position_owners, position_rows) = owners(&positions);
            let (list, rows) =
                if whose == Table::Tokens { (&token_owners, &token_rows) } else { (&position_owners, &position_rows) };
            let gradient = Output::starting(device, "gradient", table_rows, c, before())?;
            let capacity = StepValues {
                rows: n as u32,
                token_owners: n.min(v) as u32,
                position_owners: n.min(p) as u32,
                ..StepValues::default()
            };
            let mut recorder = Recorder::new(device, capacity);
            let call = EmbeddingBackward {
                table: whose,
                dx: &input(device, "dx", n, c, &dx(live, c))?,
                owners: &table(device, "owners", 3 * n, list)?,
                rows: &table(device, "rows", n, rows)?,
                gradient: &gradient.matrix,
            };
            backward(&mut recorder, access, &call)?;
            let values = StepValues {
                rows: live as u32,
                token_owners: token_owners.len() as u32 / 3,
                position_owners: position_owners.len() as u32 / 3,
                ..StepValues::default()
            };
            Ok(Run { program: recorder.finish(), values, outputs: vec![gradient] })
        }),
        oracle: Box::new(move || {
            let (ids, positions) = (ids(live, v), ragged(live, p).0);
            let sums = reference::embedding::backward(&wide(&dx(live, c)), &ids, &positions, v, p, c);
            let sums = if whose == Table::Tokens { sums.dtokens } else { sums.dpositions };
            vec![wide(&before()).iter().zip(&sums).map(|(b, s)| b + s).collect()]
        }),
    }
}

/// All cases of the op.
pub fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for of in ROW_SIZES {
        let sizes = Sizes { of, vocab: (of.live / 2).max(1) + 1, positions: of.live.min(40) };
        all.push(forward_case(sizes, Purpose::Small));
        all.push(backward_case(Table::Tokens, sizes, Purpose::Small));
        all.push(backward_case(Table::Positions, sizes, Purpose::Small));
    }
    // Tokens as frequent as in text: hundreds of rows for one owner.
    let frequent = Sizes { of: RowSizes { rows: 1300, live: 1201, columns: 130 }, vocab: 3, positions: 64 };
    all.push(backward_case(Table::Tokens, frequent, Purpose::Small));
    // One owner of so many rows that a turn for each would be more than llvmpipe's loops have.
    let one = Sizes { of: RowSizes { rows: 6000, live: 6000, columns: 768 }, vocab: 1, positions: 64 };
    all.push(backward_case(Table::Tokens, one, Purpose::Small));
    let nano = Sizes { of: RowSizes { rows: 1024, live: 1024, columns: 128 }, vocab: 512, positions: 128 };
    all.push(forward_case(nano, Purpose::Bench));
    all.push(backward_case(Table::Tokens, nano, Purpose::Bench));
    all.push(backward_case(Table::Positions, nano, Purpose::Bench));
    all
}
