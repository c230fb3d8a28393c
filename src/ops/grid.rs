//! Grids of workgroups.

use crate::dims::GRID_WIDTH;

/// A grid of `n` groups in x and y. A shader computes a group's number as `group.y * GRID_WIDTH + group.x`.
pub(super) fn grid_of(n: u32) -> [u32; 3] {
    if n <= GRID_WIDTH { [n, 1, 1] } else { [GRID_WIDTH, n.div_ceil(GRID_WIDTH), 1] }
}
