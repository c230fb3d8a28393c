// Dropout of attention (docs/spec.md section 5): the column is the position of the key in its sequence. Eight keys from position
// `first` on are in three Philox blocks of four words. keep_one, keep4 and keep8 give 1/(1-rate) for a kept key and 0 for a
// dropped one.
#import philox
struct Keep8 { a: vec4<f32>, b: vec4<f32> }

fn dropout_word(w0: vec4<u32>, w1: vec4<u32>, w2: vec4<u32>, i: u32) -> u32 {
    let w = select(select(w2, w1, i < 8u), w0, i < 4u);
    return select(select(w.w, w.z, (i & 3u) == 2u), select(w.y, w.x, (i & 3u) == 0u), (i & 3u) < 2u);
}

fn keep_one(first: u32, row: u32, sequence: u32, place: u32, key: vec2<u32>, threshold: u32, scale: f32) -> f32 {
    let w = philox(vec4<u32>(first / 4u, row, sequence, place), key);
    return select(0.0, scale, dropout_word(w, w, w, first & 3u) >= threshold);
}

// Of four keys: one Philox block if `first` is a multiple of 4, which is so unless a local block begins elsewhere.
fn keep4(first: u32, row: u32, sequence: u32, place: u32, key: vec2<u32>, threshold: u32, scale: f32) -> vec4<f32> {
    var w = philox(vec4<u32>(first / 4u, row, sequence, place), key);
    let o = first & 3u;
    if o != 0u {
        let next = philox(vec4<u32>(first / 4u + 1u, row, sequence, place), key);
        w = vec4<u32>(dropout_word(w, next, next, o), dropout_word(w, next, next, o + 1u),
                      dropout_word(w, next, next, o + 2u), dropout_word(w, next, next, o + 3u));
    }
    return select(vec4<f32>(), vec4<f32>(scale), w >= vec4<u32>(threshold));
}

// Of four keys, the lowest four bits: 1 for a kept key.
fn kept_bits(first: u32, row: u32, sequence: u32, place: u32, key: vec2<u32>, threshold: u32) -> u32 {
    let kept = keep4(first, row, sequence, place, key, threshold, 1.0) > vec4<f32>();
    return u32(kept.x) | u32(kept.y) << 1u | u32(kept.z) << 2u | u32(kept.w) << 3u;
}

// As keep4, from the lowest four bits.
fn keep_of_bits(bits: u32, scale: f32) -> vec4<f32> {
    return select(vec4<f32>(), vec4<f32>(scale), (vec4<u32>(bits) & vec4<u32>(1u, 2u, 4u, 8u)) != vec4<u32>());
}

fn keep8(first: u32, row: u32, sequence: u32, place: u32, key: vec2<u32>, threshold: u32, scale: f32) -> Keep8 {
    let w0 = philox(vec4<u32>(first / 4u, row, sequence, place), key);
    let w1 = philox(vec4<u32>(first / 4u + 1u, row, sequence, place), key);
    let w2 = philox(vec4<u32>(first / 4u + 2u, row, sequence, place), key);
    let o = first & 3u;
    let limit = vec4<u32>(threshold);
    let a = vec4<u32>(dropout_word(w0, w1, w2, o), dropout_word(w0, w1, w2, o + 1u),
                      dropout_word(w0, w1, w2, o + 2u), dropout_word(w0, w1, w2, o + 3u));
    let b = vec4<u32>(dropout_word(w0, w1, w2, o + 4u), dropout_word(w0, w1, w2, o + 5u),
                      dropout_word(w0, w1, w2, o + 6u), dropout_word(w0, w1, w2, o + 7u));
    return Keep8(select(vec4<f32>(), vec4<f32>(scale), a >= limit), select(vec4<f32>(), vec4<f32>(scale), b >= limit));
}
