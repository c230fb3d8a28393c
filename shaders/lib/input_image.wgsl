// A matrix that a row-wise kernel reads from its image copy.
@group(0) @binding($N) var $NAME: texture_storage_2d<rgba32float, read>;
fn load_$NAME(row: u32, i: u32, packs: u32) -> Floats8 {
    return texels8(textureLoad($NAME, vec2<u32>(2u * i, row)), textureLoad($NAME, vec2<u32>(2u * i + 1u, row)));
}
