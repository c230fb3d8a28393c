// Layer norm of A's rows while a product reads them, for matvec on CPU adapters. Without NORM, A itself is read.
struct Norm { mean: f32, rstd: f32 }
#if NORM
@group(0) @binding(${4+EXTRA}) var norms: texture_2d<f32>;
#if KEEP
@group(0) @binding(${5+EXTRA}) var normed: texture_storage_2d<rgba32float, write>;
#end

fn norm_of(row: u32, first: bool, lane: u32) -> Norm {
    var total = vec4<f32>();
    for (var texel = lane; texel * 4u < p.k; texel += 8u) { total += textureLoad(a, vec2<u32>(texel, row)); }
    let mean = group_sum(total.x + total.y + total.z + total.w, lane) / f32(p.k);
    total = vec4<f32>();
    for (var texel = lane; texel * 4u < p.k; texel += 8u) {
        let real = texel * 4u + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.k);
        let d = select(vec4<f32>(), textureLoad(a, vec2<u32>(texel, row)) - mean, real);
        total += d * d;
    }
    let rstd = 1.0 / sqrt(group_sum(total.x + total.y + total.z + total.w, lane) / f32(p.k) + p.eps);
    let norm = Norm(mean, rstd);
    #if KEEP
    // A whole row is written, padding included.
    let end = select(0u, (p.k + 63u) / 64u * 16u, first);
    for (var texel = lane; texel < end; texel += 8u) {
        textureStore(normed, vec2<u32>(texel, select(0xffffffu, row, row < p.m)), load_normed(row, texel, norm));
    }
    #end
    return norm;
}

fn load_normed(row: u32, texel: u32, norm: Norm) -> vec4<f32> {
    let gain = textureLoad(norms, vec2<u32>(texel, 0u), 0);
    let shift = textureLoad(norms, vec2<u32>(texel, 1u), 0);
    return (textureLoad(a, vec2<u32>(texel, row)) - norm.mean) * norm.rstd * gain + shift;
}
#else
fn norm_of(row: u32, first: bool, lane: u32) -> Norm { return Norm(); }

fn load_normed(row: u32, texel: u32, norm: Norm) -> vec4<f32> { return textureLoad(a, vec2<u32>(texel, row)); }
#end
