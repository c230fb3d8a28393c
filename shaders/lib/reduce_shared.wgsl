// Sums and maxima over a workgroup of GROUP invocations (a power of two) through workgroup memory, in a fixed tree. Every
// invocation has to call them, and each gets the result.
var<workgroup> reduce_scratch: array<f32, GROUP>;

fn group_sum(x: f32, lane: u32) -> f32 {
    workgroupBarrier();
    reduce_scratch[lane] = x;
    for (var width = GROUP / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            reduce_scratch[lane] += reduce_scratch[lane + width];
        }
    }
    workgroupBarrier();
    return reduce_scratch[0];
}

fn group_max(x: f32, lane: u32) -> f32 {
    workgroupBarrier();
    reduce_scratch[lane] = x;
    for (var width = GROUP / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            reduce_scratch[lane] = max(reduce_scratch[lane], reduce_scratch[lane + width]);
        }
    }
    workgroupBarrier();
    return reduce_scratch[0];
}
