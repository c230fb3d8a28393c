// AdamW (Loshchilov & Hutter 2019) in the order of torch.optim.AdamW, over the vectors p.first to p.end of flat tensors, of four
// floats each, for GPUs:
//   g ← scale·g;  w ← w - lr·decay·w;  m ← m + (1-β1)(g - m);  v ← β2·v + (1-β2)·g²;  w ← w - rate·m / (√v·root + ε)
// with rate = lr/(1-β1ᵗ) and root = 1/√(1-β2ᵗ).
//
// The host computes rate, root, rest1 = 1-β1 and rest2 = 1-β2 in f64, because 1 - 0.999 in f32 has a relative error of 1e-5;
// p.decay is lr·decay. Gradients are set to zero. When the state is halted, nothing else is written.
//
// Grid: one group per GROUP · PER_LANE vectors, folded into y. A lane loads its vectors, GROUP apart, before it stores one.
// Variant: LATE_DECAY decays after the update, as Hugging Face's 2018 port of OpenAI's Adam.
#import adamw
@group(0) @binding(1) var<storage, read_write> parameter: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> gradient: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> first_moment: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> second_moment: array<vec4<f32>>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i0 = p.first + (group.y * GRID_WIDTH + group.x) * GROUP * PER_LANE + lane;
    #for k in 1..PER_LANE
    let i${k} = i0 + ${k}u * GROUP;
    #end
    #for k in 0..PER_LANE
    var g${k} = vec4<f32>();
    var m${k} = vec4<f32>();
    var v${k} = vec4<f32>();
    var w${k} = vec4<f32>();
    if i${k} < p.end {
        g${k} = gradient[i${k}];
        m${k} = first_moment[i${k}];
        v${k} = second_moment[i${k}];
        w${k} = parameter[i${k}];
    }
    #end
    let scale = state.scale;
    let halted = state.halted != 0u;
    #for k in 0..PER_LANE
    if i${k} < p.end {
        gradient[i${k}] = vec4<f32>();
        if !halted {
            let updated = adamw4(w${k}, g${k} * scale, m${k}, v${k});
            first_moment[i${k}] = updated.m;
            second_moment[i${k}] = updated.v;
            parameter[i${k}] = updated.w;
        }
    }
    #end
}
