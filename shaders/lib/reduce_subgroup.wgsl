// Sums and maxima over a workgroup that is one subgroup of 8, by shuffles with constant distance, which take one or two
// instructions on software drivers, where subgroupAdd is a loop over lanes. Used like the functions of reduce_shared.
fn group_sum(x: f32, lane: u32) -> f32 {
    let s1 = x + subgroupShuffleXor(x, 1u);
    let s2 = s1 + subgroupShuffleXor(s1, 2u);
    return s2 + subgroupShuffleXor(s2, 4u);
}

fn group_max(x: f32, lane: u32) -> f32 {
    let m1 = max(x, subgroupShuffleXor(x, 1u));
    let m2 = max(m1, subgroupShuffleXor(m1, 2u));
    return max(m2, subgroupShuffleXor(m2, 4u));
}
